/** A node that loses a family: IPv6 is switched off in its namespace, and on again. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { ABSENT_PROBE_MS } from '../../src/proxy/listener-set.ts'
import { bootstrapText, clusterOf, listenerOn } from '../fixtures/envoy-files.ts'
import { ENGINES, forEachEngine } from '../fixtures/engines.ts'
import { eventually } from '../fixtures/eventually.ts'
import { SERVER_PORT, startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

import type { Family } from '../../src/core/family.ts'
import type { ListenerState } from '../../src/proxy/listener-ledger.ts'
import type { NamespaceProxy } from '../fixtures/namespace-proxy.ts'
import type { Namespace } from '../fixtures/namespaces.ts'

const PORT = 8_000

/** The proxy listens on the node's own addresses: a wildcard can be bound without an address. */
const CONFIG = {
  dialect: 'envoy',
  text: bootstrapText(
    [
      listenerOn(
        'web',
        FAMILIES.map((family) => [LAB.node[family], PORT]),
        'web',
      ),
    ],
    [
      clusterOf(
        'web',
        FAMILIES.map((family) => [LAB.server[family], SERVER_PORT]),
      ),
    ],
  ),
} as const

function disableIpv6(host: Namespace): void {
  host.sysctl('net.ipv6.conf.all.disable_ipv6=1')
}

function enableIpv6(host: Namespace): void {
  host.sysctl('net.ipv6.conf.all.disable_ipv6=0', 'net.ipv6.conf.lo.disable_ipv6=0')
  host.ip(
    `addr add ${LAB.node.ipv6}/64 dev to-client nodad`,
    `addr add ${LAB.nodeAtServer.ipv6}/64 dev to-server nodad`,
  )
}

function isIn({ agent }: NamespaceProxy, family: Family, state: ListenerState): Promise<number> {
  return agent.metric(`twinstack_listener_state{listener="web",family="${family}",state="${state}"}`)
}

/** What a client over the family gets from the application. */
async function answerOver({ clientHost }: NamespaceProxy, family: Family): Promise<string> {
  return (await clientHost.exchange(LAB.node[family], PORT, 'hello')).received
}

function nativeAnswer(family: Family): string {
  return `${LAB.server[family]} ${SERVER_PORT} from ${LAB.nodeAtServer[family]}: hello`
}

if (requireNamespaces(t)) {
  // Most of their time these wait for the probe: side by side they wait once.
  t.jobs = ENGINES.length
  t.setTimeout(180_000)
  forEachEngine(
    t,
    'rule 2: IPv4 serves while IPv6 is absent, and IPv6 is found when it is there',
    async (t, engine) => {
      const lab = await startNamespaceProxy(t, engine, {
        config: CONFIG,
        prepare: ({ node }) => {
          disableIpv6(node)
        },
      })
      const { agent, serverHost, node } = lab
      for (const family of FAMILIES) await serverHost.listen(LAB.server[family], SERVER_PORT)
      const absent = await agent.listener('web', 'ipv6')
      t.match(absent, { state: 'absent', text: /EADDRNOTAVAIL$/ })
      t.strictSame([await isIn(lab, 'ipv6', 'absent'), await isIn(lab, 'ipv6', 'bound')], [1, 0])
      t.match(await agent.readyz(), /^ready\n/, 'nobody has said that IPv6 is required')
      t.equal(await answerOver(lab, 'ipv4'), nativeAnswer('ipv4'))

      enableIpv6(node)
      await eventually(
        'IPv6 is bound',
        async () => (await agent.listener('web', 'ipv6')).state === 'bound',
        ABSENT_PROBE_MS + 5_000,
      )
      t.strictSame([await isIn(lab, 'ipv6', 'absent'), await isIn(lab, 'ipv6', 'bound')], [0, 1])
      for (const family of FAMILIES) t.equal(await answerOver(lab, family), nativeAnswer(family))
    },
  )

  forEachEngine(t, 'rule 2: IPv4 is not disturbed when IPv6 goes away and comes back', async (t, engine) => {
    const lab = await startNamespaceProxy(t, engine, { config: CONFIG })
    const { agent, clientHost, serverHost, node } = lab
    for (const family of FAMILIES) await serverHost.listen(LAB.server[family], SERVER_PORT)
    const connection = await clientHost.open(LAB.node.ipv4, PORT)
    t.match(await connection.ask('before'), /: before$/)
    disableIpv6(node)
    t.match(await connection.ask('without IPv6'), /: without IPv6$/)
    t.equal(await answerOver(lab, 'ipv4'), nativeAnswer('ipv4'))
    t.match(await agent.readyz(), /^ready\n/)

    enableIpv6(node)
    t.equal(await answerOver(lab, 'ipv6'), nativeAnswer('ipv6'), 'the socket was not lost')
    t.match(await connection.ask('after'), /: after$/)
  })
}
