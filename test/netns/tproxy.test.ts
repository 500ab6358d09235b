/** Connections that nft hands to a transparent listener (TPROXY): no address is rewritten on their way. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { filterChain, typed } from '../xds-client/resources/envoy-documents.ts'
import { bootstrapText, clusterOf, listenerOn, writeFile } from '../fixtures/envoy-files.ts'
import { ENGINES, forEachEngine } from '../fixtures/engines.ts'
import { CAPTURE_PORT, SERVER_PORT, startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'
import { runProgram } from '../fixtures/program.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { NamespaceLab } from '../fixtures/namespaces.ts'

/** Where connections arrive whose upstream ones are made from the client's address. */
const PRESERVING_PORT = 15_007
/** An application behind it that listens on both families, and two that listen on one. */
const PRESERVED_PORT = 9_005
const ONLY_PORTS = { ipv4: 9_006, ipv6: 9_007 } as const

const CONFIG = {
  dialect: 'envoy',
  text: bootstrapText(
    [
      listenerOn(
        'captured',
        [
          ['0.0.0.0', CAPTURE_PORT],
          ['::', CAPTURE_PORT],
        ],
        'original',
        { transparent: true, filter_chains: [filterChain('original')] },
      ),
      listenerOn(
        'preserving',
        [
          ['0.0.0.0', PRESERVING_PORT],
          ['::', PRESERVING_PORT],
        ],
        'twins',
        {
          transparent: true,
          listener_filters: [typed('filters.listener.original_src.v3.OriginalSrc')],
          filter_chains: [
            filterChain('original', { filter_chain_match: { destination_port: PRESERVED_PORT } }),
            ...FAMILIES.map((family) =>
              filterChain(`only-${family}`, { filter_chain_match: { destination_port: ONLY_PORTS[family] } }),
            ),
          ],
        },
      ),
    ],
    [
      { name: 'original', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' },
      ...FAMILIES.map((family) =>
        clusterOf(
          `only-${family}`,
          FAMILIES.map((each) => [LAB.server[each], ONLY_PORTS[family]] as const),
        ),
      ),
    ],
  ),
} as const

const MARK = 1
const TABLE = 100

/** Packets of captured connections, and answers to transparent sockets, are delivered here whatever their address. */
const RULES = `
table inet capture {
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname "to-server" meta l4proto tcp socket transparent 1 meta mark set ${MARK} accept
    iifname "to-client" tcp dport ${PRESERVED_PORT}-${ONLY_PORTS.ipv6} tproxy to :${PRESERVING_PORT} meta mark set ${MARK} accept
    iifname "to-client" tcp dport != ${CAPTURE_PORT} tproxy to :${CAPTURE_PORT} meta mark set ${MARK} accept
  }
}`

function deliverMarked({ node }: NamespaceLab): void {
  for (const family of ['-4', '-6'] as const) {
    node.run('ip', family, 'rule', 'add', 'fwmark', String(MARK), 'lookup', String(TABLE))
    node.run('ip', family, 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', String(TABLE))
  }
}

if (requireNamespaces(t)) {
  t.test('rule 4: the node engine refuses a transparent listener by name', async (t) => {
    const file = writeFile(t.testdir(), 'envoy.json', CONFIG.text)
    const { code, stderr } = await runProgram(t, ['agent', '-c', file], { env: { TWINSTACK_ENGINE: 'node' } })
    t.equal(code, 1)
    t.match(stderr, /listener captured is transparent, which this engine cannot do \(IP_TRANSPARENT/)
  })

  forEachEngine(
    t,
    'a connection that TPROXY captures',
    async (t, engine) => {
      const { agent, clientHost, serverHost } = await startNamespaceProxy(t, engine, {
        config: CONFIG,
        rules: RULES,
        prepare: deliverMarked,
      })
      for (const family of FAMILIES) {
        await serverHost.listen(LAB.server[family], SERVER_PORT)
        await serverHost.listen(LAB.server[family], PRESERVED_PORT)
        await serverHost.listen(LAB.server[family], ONLY_PORTS[family])
      }

      for (const family of FAMILIES) {
        await t.test(`rule 4: arrives over ${family} where it was going`, async (t) => {
          const { received, end } = await clientHost.exchange(LAB.server[family], SERVER_PORT, 'hello')
          t.equal(received, `${LAB.server[family]} ${SERVER_PORT} from ${LAB.nodeAtServer[family]}: hello`)
          t.equal(end, 'fin')
          const destination = socketText(LAB.server[family], SERVER_PORT)
          t.match(await agent.logOf((line) => line['dst.original'] === destination), {
            family,
            'dst.addr': destination,
            listener: 'captured',
            close_reason: 'finished',
          })
        })

        await t.test(`rule 9: the server sees the address of the client over ${family}`, async (t) => {
          const { received } = await clientHost.exchange(LAB.server[family], PRESERVED_PORT, 'hello')
          t.equal(received, `${LAB.server[family]} ${PRESERVED_PORT} from ${LAB.client[family]}: hello`)
        })

        await t.test(`rule 9: after a fallback from ${family} the server sees the node`, async (t) => {
          const other = otherFamily(family)
          const port = ONLY_PORTS[other]
          const { received } = await clientHost.exchange(LAB.server[family], port, 'hello')
          t.equal(received, `${LAB.server[other]} ${port} from ${LAB.nodeAtServer[other]}: hello`)
        })

        await t.test(`rule 8: gets RST over ${family} when nobody listens there`, async (t) => {
          const outcome = await clientHost.exchange(LAB.server[family], SERVER_PORT + 1, 'hello')
          t.match(outcome, { received: '', end: 'rst' })
        })

        await t.test(`rule 4: that was made to the proxy itself over ${family} is closed`, async (t) => {
          const outcome = await clientHost.exchange(LAB.node[family], CAPTURE_PORT, 'hello')
          t.match(outcome, { received: '', end: 'rst' })
          const own = socketText(LAB.node[family], CAPTURE_PORT)
          await agent.logOf(
            (line) => line['dst.original'] === own && line['close_reason'] === 'destination_is_proxy',
          )
        })
      }
    },
    ENGINES.filter(({ kind }) => kind === 'linux'),
  )
}
