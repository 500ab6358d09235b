/** The mistake that operators make: the proxy's own connections are redirected to it too. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { eventually } from '../fixtures/eventually.ts'
import {
  CAPTURE_PORT,
  REDIRECT_ALL,
  SERVER_PORT,
  VIRTUAL_INBOUND,
  acceptedConnections,
  activeConnections,
  startNamespaceProxy,
} from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'

const REDIRECT_OWN = `
table inet capture {
  chain output {
    type nat hook output priority -100; policy accept;
    tcp dport ${SERVER_PORT} redirect to :${CAPTURE_PORT}
  }
}`

/** Clients that come at once, and how many of the proxy's connections each may cause beside its own. */
const CLIENTS = 50
const LOOPED_AT_MOST = 4

if (requireNamespaces(t)) {
  forEachEngine(t, 'a redirection of everything', async (t, engine) => {
    const rules = REDIRECT_ALL + REDIRECT_OWN
    const { agent, clientHost } = await startNamespaceProxy(t, engine, { config: VIRTUAL_INBOUND, rules })
    const before = agent.descriptors()

    for (const family of FAMILIES) {
      await t.test(
        `rule 4: a client over ${family} gets RST, and its connection does not go round`,
        async (t) => {
          const { received, end } = await clientHost.exchange(LAB.server[family], SERVER_PORT, 'hello')
          t.strictSame({ received, end }, { received: '', end: 'rst' })
          await eventually(
            'every connection has ended',
            async () => (await agent.metric(activeConnections(family))) === 0,
          )
          const made = await agent.metric(acceptedConnections(family))
          t.ok(made >= 2 && made <= 1 + LOOPED_AT_MOST, `${made} connections`)
          const line = await agent.logOf(
            (each) => each['close_reason'] === 'destination_is_proxy' && each['family'] === family,
          )
          t.ok(String(line['src.addr']).startsWith(socketText(LAB.nodeAtServer[family], '')))
          t.match(line, {
            'dst.original': socketText(LAB.server[family], SERVER_PORT),
            error: /exempt its own connections from the redirection/,
          })
        },
      )
    }

    await t.test(`rule 4: ${CLIENTS} clients that leave at once leave nothing behind`, async (t) => {
      for (const family of FAMILIES) {
        const acceptedBefore = await agent.metric(acceptedConnections(family))
        await clientHost.churn({
          host: LAB.server[family],
          port: SERVER_PORT,
          total: CLIENTS,
          concurrency: CLIENTS,
          kind: 'reset',
        })
        await eventually(
          'every connection has ended',
          async () => (await agent.metric(activeConnections(family))) === 0,
        )
        const made = (await agent.metric(acceptedConnections(family))) - acceptedBefore
        t.ok(made <= CLIENTS * (1 + LOOPED_AT_MOST), `${made} connections`)
      }
      await agent.hasNoMoreThan(before)
    })
  })
}
