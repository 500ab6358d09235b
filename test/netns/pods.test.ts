/** Pods that are captured in their own network namespaces: who reaches whom, over which family, as who. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { CapturedLab } from '../fixtures/captured-pods.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { requireNamespaces } from '../fixtures/namespaces.ts'
import { ECHO_PORT, startTcpEcho } from '../fixtures/pod-programs.ts'
import { socketText } from '../fixtures/socket-text.ts'

const CLIENT = { namespace: 'shop', name: 'client' }
const SERVICE = {
  namespace: 'shop',
  name: 'echo',
  pods: ['shop/server'],
  families: FAMILIES,
  vips: { ipv4: '10.96.0.10', ipv6: 'fd00:96::10' },
  ports: { 80: ECHO_PORT },
}

t.test('rule 5: pods reach a service and each other over the family that they use', async (t) => {
  if (!requireNamespaces(t)) return
  const lab = await CapturedLab.start(t, {
    pods: [CLIENT, { namespace: 'shop', name: 'server' }],
    mesh: { services: [SERVICE] },
  })
  const server = lab.pod('shop/server')
  await startTcpEcho(t, server)
  const client = await NamespaceHost.start(t, lab.pod('shop/client').network)
  for (const family of FAMILIES) {
    t.match(await client.exchange(SERVICE.vips[family], 80, 'by service\n'), {
      received: 'hello by service\n',
    })
    t.match(await client.exchange(server.address(family), ECHO_PORT, 'by pod\n'), {
      received: 'hello by pod\n',
    })
    const { agent } = lab.only
    const outbound = await agent.logOf(
      (line) =>
        line['direction'] === 'outbound' && line['family'] === family && line['dst.service'] !== undefined,
    )
    t.match(outbound, {
      upstream_family: family,
      'src.workload': 'client',
      'dst.workload': 'server',
      source: new RegExp(lab.pod('shop/client').address(family)),
    })
    const inbound = await agent.logOf((line) => line['direction'] === 'inbound' && line['family'] === family)
    t.match(inbound, { upstream_family: family, source_preserved: 'true', 'src.workload': 'client' })
    t.equal(inbound['dst.addr'], socketText(server.address(family), ECHO_PORT))
  }
})
