/** Captured pods in a mesh that a real istiod tells of: who they are to each other, what is refused, how they come and go. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { ECHO_ANSWER, EchoCalls } from '../fixtures/echo-calls.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { ADMIN_PORT, capturedPods, knownPolicies, knownWorkloads } from './ambient-state.ts'
import { becomes } from './becomes.ts'
import { CapturedMesh, clusterPod } from './captured-mesh.ts'
import { forEachIstio } from './istio-binaries.ts'
import { CALLS, DUAL_VIPS, ECHO_PORT, denySleep, uidOf } from './scenario.ts'

import type { Family } from '../../src/core/family.ts'
import type { LabPod } from '../fixtures/pod-lab.ts'
import type { ControlPlane } from './control-plane.ts'

/** As the sample has them, in its order. */
const NAMESPACES = ['dual-stack', 'ipv4', 'ipv6'] as const
const PLAIN_TEXT = { TWINSTACK_ALLOW_PLAINTEXT: 'true' }
const LATE_POD = { namespace: 'dual-stack', name: 'tcp-echo-2', node: 1, serviceAccount: 'tcp-echo' }
/** What the cluster has of a pod that is reached at other addresses. */
const TRANSLATED: Readonly<Record<Family, string>> = { ipv4: '10.250.0.9', ipv6: 'fd00:10:250::9' }

/** What istioctl shows of an agent, each row with one space between its cells. */
async function readTables(
  controlPlane: ControlPlane,
  host: NamespaceHost,
): Promise<{ readonly workloads: readonly string[]; readonly connections: readonly string[] }> {
  const dump = await host.get(ADMIN_PORT, '/config_dump')
  const read = async (...args: readonly string[]): Promise<readonly string[]> => {
    const table = await controlPlane.istioctl(['ztunnel-config', ...args, '--file', '-'], dump)
    return table.split('\n').map((row) => row.trim().replace(/ +/g, ' '))
  }
  const [workloads, connections] = await Promise.all([read('workload'), read('connections', '--raw')])
  return { workloads, connections }
}

if (requireNamespaces(t, ['nc'])) {
  forEachIstio(t, 'captured pods', async (t, binaries) => {
    const mesh = await CapturedMesh.start(t, binaries)
    const { lab, nodes, cluster, controlPlane } = mesh
    const sleep = lab.pod('default/sleep')
    const near = lab.pod('dual-stack/tcp-echo-0')
    const far = lab.pod('dual-stack/tcp-echo-1')
    const [client, outside] = await Promise.all(
      [sleep, lab.outside].map(({ network }) => NamespaceHost.start(t, network)),
    )
    if (!client || !outside) throw new TypeError('two hosts were started')
    const echo = new EchoCalls()

    /** What comes back from a pod at each of its addresses, or how that ends. */
    const ask = (pod: LabPod, from: NamespaceHost): readonly Promise<string>[] =>
      FAMILIES.map(async (family) => {
        const { received, end } = await from.exchange(pod.address(family), ECHO_PORT, 'dualstack\n')
        return received === '' ? end : received
      })
    const answers = (pod: LabPod, from: NamespaceHost): Promise<readonly string[]> =>
      Promise.all(ask(pod, from))

    await t.test('rule 15: a pod on mTLS is refused where plain text is not permitted', async (t) => {
      const { logged } = await mesh.startAgents(t)
      for (const family of FAMILIES) {
        for (const host of [DUAL_VIPS[family], far.address(family)]) {
          const port = echo.nextPort()
          const { received, end } = await client.exchange(host, ECHO_PORT, 'dualstack\n', port)
          t.strictSame({ received, end }, { received: '', end: 'rst' })
          const line = await logged('outbound', socketText(sleep.address(family), port))
          t.match(line, { close_reason: 'mtls_required', 'src.workload': 'sleep' })
        }
      }
    })

    await t.test('where plain text is permitted', async (t) => {
      const running = await mesh.startAgents(t, PLAIN_TEXT)
      const { agents, logged } = running

      await t.test('the example prints its three answers', async (t) => {
        for (const namespace of NAMESPACES) {
          const { stdout } = await echo.call(sleep, [`tcp-echo.${namespace}`])
          t.equal(stdout, ECHO_ANSWER)
          t.comment(`echo dualstack | nc tcp-echo.${namespace} ${ECHO_PORT}: ${stdout.trimEnd()}`)
        }
      })

      await t.test('rule 5: services answer by each address of theirs', (t) =>
        echo.callCaptured(
          t,
          running,
          CALLS.map(({ service, family, host }) => ({ from: sleep, family, service, host })),
        ),
      )

      await t.test('rule 5: pods on both nodes answer by each of their addresses', (t) =>
        echo.callCaptured(
          t,
          running,
          lab.pods
            .filter((pod) => pod !== sleep)
            .flatMap((pod) => FAMILIES.map((family) => ({ from: sleep, family, host: pod.address(family) }))),
        ),
      )

      await t.test('istioctl reads who the pods are and what connections each has', async (t) => {
        const open = await Promise.all(FAMILIES.map((family) => client.open(far.address(family), ECHO_PORT)))
        for (const connection of open) t.equal(await connection.ask('open\n'), 'hello open\n')
        const [nearTables, farTables] = await Promise.all(
          nodes.map(({ host }) => readTables(controlPlane, host)),
        )
        if (!nearTables || !farTables) throw new TypeError('there are two nodes')
        for (const pod of lab.pods) {
          const { namespace, name } = pod.pod
          const addresses = FAMILIES.map((family) => pod.address(family)).join()
          const cells = [namespace, name, addresses, pod.node.name, 'None', 'HBONE']
          for (const { workloads } of [nearTables, farTables]) t.ok(workloads.includes(cells.join(' ')), name)
        }
        for (const family of FAMILIES) {
          const local = socketText(sleep.address(family), '')
          const remote = socketText(far.address(family), ECHO_PORT)
          const outbound = nearTables.connections.filter((row) =>
            row.startsWith(`sleep.default Outbound ${local}`),
          )
          // Newer versions of istioctl say the protocol behind it.
          t.match(outbound.join(), ` ${remote} ${remote}`)
          const inbound = farTables.connections.filter((row) =>
            row.startsWith(`${far.pod.name}.dual-stack Inbound ${remote} ${local}`),
          )
          t.equal(inbound.length, 1, inbound.join())
        }
        for (const connection of open) await connection.finish()
      })

      await t.test('a policy ends and turns away what it denies, until it is gone', async (t) => {
        const pods = [near, far]
        const open = await Promise.all(
          pods.flatMap((pod) => FAMILIES.map((family) => client.open(pod.address(family), ECHO_PORT))),
        )
        for (const connection of open) t.equal(await connection.ask('before\n'), 'hello before\n')
        await cluster.apply([denySleep(FAMILIES.map((family) => sleep.address(family)))])
        for (const { ended } of open) t.equal(await ended, 'rst')
        for (const pod of pods) {
          t.strictSame(await answers(pod, client), ['rst', 'rst'])
          t.strictSame(await answers(pod, outside), [ECHO_ANSWER, ECHO_ANSWER], 'others are not meant')
        }
        for (const reason of ['policy_changed', 'policy_denied']) {
          for (const agent of agents)
            await agent.logOf((line) => line['close_reason'] === reason, FAMILIES.length)
        }

        await cluster.delete('authorizationpolicy', 'dual-stack', 'deny-sleep')
        for (const { host } of nodes) await becomes(t, 'no policy', () => knownPolicies(host), {})
        for (const pod of pods)
          await becomes(t, 'answered', () => answers(pod, client), [ECHO_ANSWER, ECHO_ANSWER])
      })

      const before = agents.map((agent) => agent.descriptors())
      const late = await mesh.addPod(t, LATE_POD)
      const { host: lateHost, podServer } = mesh.nodeOf(late)

      await t.test('a pod that istiod does not know yet lets callers wait, and nobody else', async (t) => {
        t.match(await podServer.add(late.pod, late.netns), { outcome: 'ack', error: '' })
        t.match(await capturedPods(lateHost), { [late.pod.uid]: `Up ${late.pod.namespace}/${late.pod.name}` })
        // Before they call: they wait for seconds, and each run of kubectl takes its time.
        await cluster.createPods(clusterPod(late))
        let answered = 0
        const waiting = [client, outside].flatMap((from) =>
          ask(late, from).map(async (answer) => {
            const text = await answer
            answered++
            return text
          }),
        )
        // Asked after them by the same hosts: had they not waited, they would have been answered by now.
        for (const from of [client, outside])
          t.strictSame(await answers(far, from), [ECHO_ANSWER, ECHO_ANSWER])
        t.equal(answered, 0)
        await cluster.runPods(clusterPod(late))
        t.strictSame(await Promise.all(waiting), Array(4).fill(ECHO_ANSWER))
        for (const { host } of nodes)
          await becomes(
            t,
            'the workload',
            async () => uidOf(clusterPod(late)) in (await knownWorkloads(host)),
            true,
          )
      })

      await t.test('a pod is known by its name where istiod has other addresses of it', async (t) => {
        await cluster.setPods({ ...clusterPod(late), addresses: TRANSLATED })
        const line = `${Object.values(TRANSLATED).join(' ')} HBONE`
        for (const { host } of nodes)
          await becomes(
            t,
            'other addresses',
            async () => (await knownWorkloads(host))[uidOf(clusterPod(late))],
            line,
          )
        for (const family of FAMILIES) {
          const port = echo.nextPort()
          const { received } = await outside.exchange(late.address(family), ECHO_PORT, 'dualstack\n', port)
          t.equal(received, ECHO_ANSWER)
          const client = socketText(lab.outside.addresses[family] ?? '', port)
          t.match(await logged('inbound', client), { family, 'dst.workload': late.pod.name })
        }
      })

      await t.test('a pod that is deleted is gone everywhere', async (t) => {
        await cluster.deletePod(clusterPod(late))
        t.match(await podServer.delete(late.pod.uid), { outcome: 'ack', error: '' })
        t.notOk(late.pod.uid in (await capturedPods(lateHost)))
        for (const { host } of nodes) {
          await becomes(
            t,
            'no workload',
            async () => uidOf(clusterPod(late)) in (await knownWorkloads(host)),
            false,
          )
        }
        t.strictSame(await answers(late, outside), ['refused', 'refused'], 'nobody listens there')
        lab.removePod(`${LATE_POD.namespace}/${LATE_POD.name}`)
        for (const [index, agent] of agents.entries()) await agent.hasNoMoreThan(before[index] ?? [])
        for (const { service, family, host } of CALLS)
          await echo.callCaptured(t, running, [{ from: sleep, family, service, host }])
      })
    })
  })
}
