/** Connections that nft redirects to an Envoy-style capture listener: where they were going. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import {
  CAPTURE_PORT,
  REDIRECT_ALL,
  SERVER_PORT,
  VIRTUAL_INBOUND,
  startNamespaceProxy,
} from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'

if (requireNamespaces(t)) {
  forEachEngine(t, 'a redirected connection', async (t, engine) => {
    const options = { config: VIRTUAL_INBOUND, rules: REDIRECT_ALL }
    const { agent, clientHost, serverHost } = await startNamespaceProxy(t, engine, options)
    for (const family of FAMILIES) await serverHost.listen(LAB.server[family], SERVER_PORT)

    await t.test('rule 4: arrives where it was going, in its family', async (t) => {
      for (const family of FAMILIES) {
        t.equal((await agent.listener('virtualInbound', family)).state, 'bound')
        const { received, end } = await clientHost.exchange(LAB.server[family], SERVER_PORT, 'hello')
        // The server's own view: its address as the client dialled it, and the node as its peer.
        t.equal(received, `${LAB.server[family]} ${SERVER_PORT} from ${LAB.nodeAtServer[family]}: hello`)
        t.equal(end, 'fin')
        const destination = socketText(LAB.server[family], SERVER_PORT)
        t.match(await agent.logOf((line) => line['dst.original'] === destination), {
          family,
          upstream_family: family,
          'dst.addr': destination,
          listener: 'virtualInbound',
          close_reason: 'finished',
          bytes_recv: 5,
        })
      }
    })

    await t.test('rule 8: gets RST when nobody listens where it was going', async (t) => {
      for (const family of FAMILIES) {
        const { received, end } = await clientHost.exchange(LAB.server[family], SERVER_PORT + 1, 'hello')
        t.strictSame({ received, end }, { received: '', end: 'rst' })
        const line = await agent.logOf(
          (each) => each['close_reason'] === 'upstream_refused' && each['family'] === family,
        )
        t.match(line['attempts'], /^\S+:9001 refused \d+ms$/)
      }
    })

    await t.test('rule 4: that nobody redirected is closed, not looped', async (t) => {
      for (const family of FAMILIES) {
        const { end } = await clientHost.exchange(LAB.node[family], CAPTURE_PORT, 'hello')
        t.equal(end, 'rst')
        const own = socketText(LAB.node[family], CAPTURE_PORT)
        await agent.logOf(
          (line) => line['dst.original'] === own && line['close_reason'] === 'destination_is_proxy',
        )
      }
      const series = 'twinstack_connections_closed_total{reason="destination_is_proxy"}'
      t.equal(await agent.metric(series), FAMILIES.length)
    })
  })
}
