/** A node proxy driven by a real istiod: what it knows from the start, whom it connects to, what it refuses. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { ADMIN_PORT, knownPolicies, knownServices, knownWorkloads } from './ambient-state.ts'
import { becomes } from './becomes.ts'
import { answeredBy, answererOf } from './calls.ts'
import { forEachIstio } from './istio-binaries.ts'
import { startNodeProxy } from './mesh-agents.ts'
import { createMeshLab } from './mesh-lab.ts'
import {
  CALLS,
  DENY_SLEEP,
  DUAL_VIPS,
  ECHO_PORT,
  INBOUND_PORT,
  IPV4_VIPS,
  IPV6_VIP,
  PLAIN_POD,
  PODS,
  PROXY,
  SLEEP,
  uidOf,
} from './scenario.ts'

import type { Pod } from './cluster.ts'

const [FIRST_POD] = PODS.dual

/** How a workload is shown. */
function workloadLine({ addresses, isCaptured }: Pod): string {
  return [...FAMILIES.flatMap((family) => addresses[family] ?? []), isCaptured ? 'HBONE' : 'TCP'].join(' ')
}

if (requireNamespaces(t)) {
  forEachIstio(t, 'a node proxy', async (t, binaries) => {
    const lab = await createMeshLab(t, binaries)
    const { cluster, clientHost, controlPlane, nodeHost } = lab
    await cluster.setPods(PLAIN_POD)
    await controlPlane.startIstiod()

    await t.test('from the start', async (t) => {
      const agent = await startNodeProxy(t, lab)

      await t.test('knows each pod once, with its addresses of both families', async (t) => {
        const pods = [SLEEP, PROXY, PLAIN_POD, ...PODS.dual, ...PODS.ipv4, ...PODS.ipv6]
        const expected = Object.fromEntries(pods.map((pod) => [uidOf(pod), workloadLine(pod)]))
        // The API server is a workload too, as an address without a pod.
        const readPods = async (): Promise<object> => {
          const workloads = Object.entries(await knownWorkloads(nodeHost))
          return Object.fromEntries(workloads.filter(([uid]) => uid.includes('//Pod/')))
        }
        await becomes(t, 'the pods', readPods, expected)
      })

      await t.test('knows each service once, with its addresses of both families', async (t) => {
        // The cluster has services of its own too.
        const readServices = async (): Promise<object> => {
          const services = Object.entries(await knownServices(nodeHost))
          return Object.fromEntries(services.filter(([name]) => name.startsWith('tcp-echo.')))
        }
        await becomes(t, 'the services', readServices, {
          'tcp-echo.dual-stack.svc.cluster.local': `Dual ${DUAL_VIPS.ipv6} ${DUAL_VIPS.ipv4} tcp-echo-0 tcp-echo-1 tcp-echo-4`,
          'tcp-echo.ipv4.svc.cluster.local': `IPv4 ${IPV4_VIPS.ipv4} tcp-echo-0`,
          'tcp-echo.ipv6.svc.cluster.local': `IPv6 ${IPV6_VIP} tcp-echo-0`,
        })
      })

      await t.test('is read by istioctl', async (t) => {
        const dump = await nodeHost.get(ADMIN_PORT, '/config_dump')
        const read = (table: string): Promise<string> =>
          controlPlane.istioctl(['ztunnel-config', table, '--file', '-'], dump)
        const { ipv4, ipv6 } = FIRST_POD.addresses
        t.match(
          await read('workload'),
          new RegExp(`dual-stack +tcp-echo-0 +${ipv4},${ipv6} +node-b +None +HBONE`),
        )
        const vips = `${DUAL_VIPS.ipv6},${DUAL_VIPS.ipv4}`
        t.match(await read('service'), new RegExp(`dual-stack +tcp-echo +${vips} +None +3/3`))
      })

      for (const family of FAMILIES) {
        await t.test(`rule 15: ${family} to a pod on mTLS gets RST`, async (t) => {
          const host = FIRST_POD.addresses[family]
          t.equal(await answererOf(clientHost, host), 'rst')
          const asked = socketText(host, ECHO_PORT)
          t.match(await agent.logOf((line) => line['dst.original'] === asked), {
            close_reason: 'mtls_required',
          })
        })

        await t.test(`${family} to a pod that takes plain connections is carried`, async (t) => {
          const host = PLAIN_POD.addresses[family]
          t.equal(await answererOf(clientHost, host), host)
        })
      }
    })

    await t.test('where addresses are asked for on demand', async (t) => {
      await startNodeProxy(t, lab, { XDS_ON_DEMAND: 'true' })
      t.notOk(uidOf(FIRST_POD) in (await knownWorkloads(nodeHost)), 'pods of other nodes are not known yet')
      for (const family of FAMILIES) {
        const host = PLAIN_POD.addresses[family]
        t.equal(await answererOf(clientHost, host), host, 'the connection waits for the answer')
        const refused = FIRST_POD.addresses[family]
        t.equal(await answererOf(clientHost, refused), 'rst', 'rule 15: what is learnt is heeded at once')
      }
      t.ok(uidOf(FIRST_POD) in (await knownWorkloads(nodeHost)))
      t.ok(uidOf(PLAIN_POD) in (await knownWorkloads(nodeHost)))
    })

    await cluster.deletePod(PLAIN_POD)

    await t.test('where plain text is permitted', async (t) => {
      const agent = await startNodeProxy(t, lab, { TWINSTACK_ALLOW_PLAINTEXT: 'true' })
      await becomes(
        t,
        'the agent knows the services',
        async () => (await knownServices(nodeHost))['tcp-echo.dual-stack.svc.cluster.local'],
        `Dual ${DUAL_VIPS.ipv6} ${DUAL_VIPS.ipv4} tcp-echo-0 tcp-echo-1`,
      )

      for (const { service, family, host, pods } of CALLS) {
        await t.test(`rule 5: ${family} to tcp-echo in ${service} is answered over ${family}`, async (t) => {
          await answeredBy(t, clientHost, { host, family, pods })
          const asked = socketText(host, ECHO_PORT)
          t.match(await agent.logOf((line) => line['dst.original'] === asked), {
            family,
            upstream_family: family,
            'src.workload': SLEEP.name,
            'dst.service': `tcp-echo.${service}.svc.cluster.local`,
          })
        })
      }

      await t.test(
        'a policy that is added ends and turns away what it denies, until it is gone',
        async (t) => {
          const open = await Promise.all(
            FAMILIES.map((family) => clientHost.open(FIRST_POD.addresses[family], INBOUND_PORT)),
          )
          for (const connection of open) t.match(await connection.ask('before'), /: before$/)
          await cluster.apply([DENY_SLEEP])
          await becomes(t, 'the policy', () => knownPolicies(nodeHost), { 'deny-sleep': 'Deny' })
          for (const { ended } of open) t.equal(await ended, 'rst')
          for (const host of Object.values(FIRST_POD.addresses))
            await becomes(t, 'refused', () => answererOf(clientHost, host, INBOUND_PORT), 'rst')
          await agent.logOf((line) => line['close_reason'] === 'policy_denied', FAMILIES.length)

          await cluster.delete('authorizationpolicy', 'dual-stack', 'deny-sleep')
          await becomes(t, 'no policy', () => knownPolicies(nodeHost), {})
          for (const family of FAMILIES) {
            const host = FIRST_POD.addresses[family]
            await becomes(t, 'answered', () => answererOf(clientHost, host, INBOUND_PORT), host)
          }
        },
      )
    })

    await controlPlane.killIstiod()
    await controlPlane.startIstiod({ isDualStack: false })

    await t.test('with the dual-stack flag off', async (t) => {
      const env = { TWINSTACK_ALLOW_PLAINTEXT: 'true', ISTIO_DUAL_STACK: 'false' }
      const agent = await startNodeProxy(t, lab, env)
      await becomes(
        t,
        'the agent knows both families all the same',
        async () => (await knownWorkloads(nodeHost))[uidOf(FIRST_POD)],
        workloadLine(FIRST_POD),
      )
      const listeners = (await agent.readyz()).split('\n').filter((line) => /^ {2}outbound /.test(line))
      t.match(listeners, [/ipv4 .* bound/])
      t.equal(listeners.length, 1)
      await answeredBy(t, clientHost, { host: DUAL_VIPS.ipv4, family: 'ipv4', pods: PODS.dual })
      // Nobody listens where the connection is redirected to.
      t.match(await answererOf(clientHost, DUAL_VIPS.ipv6), /^(?:refused|rst)$/)
    })
  })
}
