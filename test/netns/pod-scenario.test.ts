/**
 * Istio's tcp-echo example, captured: its services in the namespaces dual-stack, ipv4 and ipv6 answer clients on both nodes,
 * by every name and address that they have.
 *
 * https://github.com/istio/istio/tree/master/samples/tcp-echo
 */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { ECHO_ANSWER, EchoCalls } from '../fixtures/echo-calls.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { setNames } from '../fixtures/pod-lab.ts'
import { meshNames } from '../fixtures/pod-mesh.ts'
import { ECHO_PORT, startTcpEcho } from '../fixtures/pod-programs.ts'
import { socketText } from '../fixtures/socket-text.ts'
import { ECHO_PODS, ECHO_SERVICES, SLEEP_POD, echoVip } from '../fixtures/tcp-echo-scenario.ts'

import type { PodSpec } from '../fixtures/pod-lab.ts'

/** As the sample has them, in its order. */
const NAMESPACES = ['dual-stack', 'ipv4', 'ipv6'] as const
const FAR_SLEEP_POD: PodSpec = { ...SLEEP_POD, name: 'sleep-1', node: 1 }
const PODS = [SLEEP_POD, FAR_SLEEP_POD, ...ECHO_PODS]
const echo = new EchoCalls()

if (requireNamespaces(t, ['nc'])) {
  t.test('tcp-echo in three namespaces, marked for HBONE and permitted in plain text', async (t) => {
    const lab = await CapturedLab.start(t, {
      nodes: 2,
      pods: PODS,
      mesh: { services: ECHO_SERVICES, hbonePods: PODS.map(({ namespace, name }) => `${namespace}/${name}`) },
      env: { TWINSTACK_ALLOW_PLAINTEXT: 'true' },
    })
    const { pods } = lab.lab
    const near = lab.pod('default/sleep')
    const far = lab.pod('default/sleep-1')
    const clients = [near, far]
    const servers = pods.filter((pod) => !clients.includes(pod))
    await Promise.all(servers.map((pod) => startTcpEcho(t, pod)))
    for (const pod of pods) setNames(pod, meshNames({ pods, services: ECHO_SERVICES }, pod.pod.namespace))

    await t.test('the example prints its three answers', async (t) => {
      for (const namespace of NAMESPACES) {
        const host = `tcp-echo.${namespace}`
        const { stdout } = await echo.call(near, [host])
        t.equal(stdout, ECHO_ANSWER)
        t.comment(`echo dualstack | nc ${host} ${ECHO_PORT}: ${stdout.trimEnd()}`)
      }
    })

    /** The families of each service. */
    const services = NAMESPACES.flatMap((service) =>
      FAMILIES.flatMap((family) => {
        const vip = echoVip(service, family)
        return vip === undefined ? [] : [{ service, family, vip }]
      }),
    )
    t.equal(services.length, 4)

    await t.test(
      'rule 5: services answer by name over each family of theirs, to clients on both nodes',
      (t) =>
        echo.callCaptured(
          t,
          lab,
          clients.flatMap((from) =>
            services.map(({ service, family }) => ({ from, family, service, host: `tcp-echo.${service}` })),
          ),
        ),
    )

    await t.test('rule 5: services answer by each address of theirs', (t) =>
      echo.callCaptured(
        t,
        lab,
        services.map(({ service, family, vip }) => ({ from: near, family, service, host: vip })),
      ),
    )

    await t.test('rule 5: headless services answer over each family of theirs', (t) =>
      echo.callCaptured(
        t,
        lab,
        services.map(({ service, family }) => ({ from: far, family, host: `tcp-echo-headless.${service}` })),
      ),
    )

    // Each server is on the node of one client, and not on that of the other.
    for (const from of clients) {
      await t.test(`rule 5: pods on both nodes answer ${from.pod.name} by each of their addresses`, (t) =>
        echo.callCaptured(
          t,
          lab,
          servers.flatMap((pod) => FAMILIES.map((family) => ({ from, family, host: pod.address(family) }))),
        ),
      )
    }

    await t.test('a host that is not captured reaches each pod as itself', async (t) => {
      const { outside } = lab.lab
      const targets = servers.flatMap((pod) =>
        FAMILIES.map((family) => ({ family, host: pod.address(family) })),
      )
      await Promise.all(
        targets.map(async ({ family, host }) => {
          const { stdout, port } = await echo.call(outside, [host])
          t.equal(stdout, ECHO_ANSWER, host)
          const inbound = await lab.logged('inbound', socketText(outside.addresses[family] ?? '', port))
          t.match(inbound, { family, upstream_family: family, source_preserved: 'true' })
          t.notOk('src.workload' in inbound, 'nobody of the mesh')
        }),
      )
    })
  })

  t.test(
    'rule 15: pods that are marked for HBONE are refused where plain text is not permitted',
    async (t) => {
      const [server] = ECHO_PODS
      const [service] = ECHO_SERVICES
      if (server === undefined || service === undefined)
        throw new TypeError('the scenario has pods and services')
      const key = `${server.namespace}/${server.name}`
      const lab = await CapturedLab.start(t, {
        pods: [SLEEP_POD, server],
        mesh: { services: [service], hbonePods: [key] },
      })
      await startTcpEcho(t, lab.pod(key))
      const sleep = lab.pod('default/sleep')
      const client = await NamespaceHost.start(t, sleep.network)
      for (const family of FAMILIES) {
        for (const host of [service.vips[family] ?? '', lab.pod(key).address(family)]) {
          const port = echo.nextPort()
          const { received, end } = await client.exchange(host, ECHO_PORT, 'dualstack\n', port)
          t.strictSame({ received, end }, { received: '', end: 'rst' })
          const line = await lab.logged('outbound', socketText(sleep.address(family), port))
          t.match(line, { close_reason: 'mtls_required', error: /name it in TWINSTACK_ALLOW_PLAINTEXT/ })
          t.notOk('attempts' in line, 'nothing was tried')
        }
      }
    },
  )
}
