/** The lab of pods is what its tests take it for: everything reaches everything, and rules capture it. */
import { statSync } from 'node:fs'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { PROBE_SOURCE } from '../fixtures/in-pod-rules.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { createPodLab, setNames } from '../fixtures/pod-lab.ts'
import { ECHO_PORT, nc, startTcpEcho } from '../fixtures/pod-programs.ts'

import type { PodSpec } from '../fixtures/pod-lab.ts'

const PODS: readonly PodSpec[] = [
  { namespace: 'dual-stack', name: 'sleep' },
  { namespace: 'dual-stack', name: 'near' },
  { namespace: 'dual-stack', name: 'far', node: 1 },
  { namespace: 'ipv4', name: 'far', node: 1, families: ['ipv4'] },
  { namespace: 'ipv6', name: 'far', node: 1, families: ['ipv6'] },
  { namespace: 'ipv6', name: 'near', families: ['ipv6'] },
]

if (requireNamespaces(t, ['nc'])) {
  const startedAt = performance.now()
  const lab = createPodLab(t, { pods: PODS })
  t.comment(`${PODS.length} pods in ${Math.round(performance.now() - startedAt)} ms`)
  const client = lab.pod('dual-stack/sleep')
  const servers = lab.pods.filter((pod) => pod !== client)

  t.test('every host reaches every pod in the families that both have', async (t) => {
    await Promise.all(servers.map((pod) => startTcpEcho(t, pod)))
    for (const from of [client, lab.outside, ...lab.nodes]) {
      const calls = servers.flatMap((pod) =>
        FAMILIES.flatMap((family) => pod.addresses[family] ?? []).map(async (address) => {
          const { stdout } = await nc(from.network, ['-N', '-w', 15, address, ECHO_PORT], 'dualstack')
          t.equal(stdout, 'hello dualstack\n', `${from.network.name} to ${address}`)
        }),
      )
      await Promise.all(calls)
    }
  })

  t.test('a pod has no address of a family that it was not given', async (t) => {
    t.throws(() => lab.pod('ipv4/far').address('ipv6'), /has no ipv6/)
    t.equal(lab.pod('ipv4/far').network.run('cat', '/proc/net/if_inet6'), '')
    t.notMatch(lab.pod('ipv6/far').network.run('ip', '-4', 'addr'), /inet (?!127\.)/)
    const inside = client.network.run('stat', '-L', '-c', '%i', '/proc/self/ns/net')
    t.equal(statSync(client.netns).ino, Number(inside), 'the file is of the namespace')
  })

  t.test('names are those that the lab gives, and none else', async (t) => {
    const far = lab.pod('dual-stack/far')
    await startTcpEcho(t, far)
    setNames(client, [{ name: 'tcp-echo.dual-stack', addresses: [far.address('ipv6'), far.address('ipv4')] }])
    for (const flags of [['-4'], ['-6'], []]) {
      const { stdout } = await nc(
        client.network,
        [...flags, '-N', '-w', 15, 'tcp-echo.dual-stack', ECHO_PORT],
        'dualstack',
      )
      t.equal(stdout, 'hello dualstack\n', `nc ${flags.join('')}`)
    }
    const unknown = await nc(client.network, ['-w', 3, 'elsewhere.example', ECHO_PORT], '')
    t.match(unknown, { code: 1, stderr: /not known|No address|resolution/ })
  })

  t.test(
    'rules capture what leaves a pod and what comes into it, but no probe and no loopback',
    async (t) => {
      const far = lab.pod('dual-stack/far')
      const [clientHost, farHost, outsideHost, nodeHost] = await Promise.all(
        [client, far, lab.outside, far.node].map(({ network }) => NamespaceHost.start(t, network)),
      )
      if (!clientHost || !farHost || !outsideHost || !nodeHost) throw new TypeError('four hosts were started')
      client.redirect()
      far.redirect()
      for (const wildcard of ['0.0.0.0', '::']) {
        await clientHost.listen(wildcard, 15_001)
        await clientHost.listen(wildcard, ECHO_PORT)
        await farHost.listen(wildcard, 15_006)
        await farHost.listen(wildcard, ECHO_PORT)
      }
      for (const family of FAMILIES) {
        const loopback = family === 'ipv4' ? '127.0.0.1' : '::1'
        const service = family === 'ipv4' ? '10.96.0.10' : 'fd00:96::10'
        for (const destination of [far.address(family), service]) {
          const { received } = await clientHost.exchange(destination, ECHO_PORT, 'out')
          t.equal(received, `${loopback} 15001 from ${client.address(family)}: out`)
        }
        const inbound = await outsideHost.exchange(far.address(family), ECHO_PORT, 'in')
        t.equal(
          inbound.received,
          `${far.address(family)} 15006 from ${lab.outside.addresses[family] ?? ''}: in`,
        )
        const local = await clientHost.exchange(loopback, ECHO_PORT, 'local')
        t.equal(local.received, `${loopback} ${ECHO_PORT} from ${loopback}: local`)
        const own = await clientHost.exchange(client.address(family), ECHO_PORT, 'own')
        t.equal(own.received, `${client.address(family)} ${ECHO_PORT} from ${client.address(family)}: own`)
        const probe = await nc(
          far.node.network,
          ['-N', '-w', 15, '-s', PROBE_SOURCE[family], far.address(family), ECHO_PORT],
          'probe',
        )
        t.equal(
          probe.stdout,
          `${far.address(family)} ${ECHO_PORT} from ${PROBE_SOURCE[family]}: probe\n`,
          'a probe',
        )
      }
    },
  )

  t.test('a pod that is removed is gone, and another one has its name', async (t) => {
    const spec = { namespace: 'shop', name: 'cart' }
    const first = lab.addPod(spec)
    t.throws(() => lab.addPod(spec), /already/)
    lab.removePod('shop/cart')
    t.notMatch(first.node.network.run('ip', 'link'), /pod-7/)
    const second = lab.addPod(spec)
    t.not(second.pod.uid, first.pod.uid)
    await startTcpEcho(t, second)
    const { stdout } = await nc(
      lab.outside.network,
      ['-N', '-w', 15, second.address('ipv6'), ECHO_PORT],
      'again',
    )
    t.equal(stdout, 'hello again\n')
  })
}
