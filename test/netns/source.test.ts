/** The addresses that the proxy connects from, and those that it cannot connect from. */
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { bootstrapText, clusterOf, listenerOn } from '../fixtures/envoy-files.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { SERVER_PORT, startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

import type { Message } from '../xds-client/resources/envoy-documents.ts'

/** A second address of the node towards the server, and one that the node has not. */
const SECOND = { ipv4: '10.244.2.6', ipv6: 'fd00:10:244:2::6' } as const
const FOREIGN = { ipv4: '192.0.2.6', ipv6: '2001:db8::6' } as const

const PORTS = {
  own: 8_001,
  foreign: 8_002,
  'foreign-ipv4': 8_003,
  'foreign-ipv6': 8_004,
  kernel: 8_005,
} as const
type Case = keyof typeof PORTS
const CASES = ['own', 'foreign', 'foreign-ipv4', 'foreign-ipv6', 'kernel'] as const

function source(ipv4: string, ipv6: string): Message {
  const address = (text: string): Message => ({ address: text, port_value: 0 })
  return {
    upstream_bind_config: {
      source_address: address(ipv4),
      extra_source_addresses: [{ address: address(ipv6) }],
    },
  }
}

const SOURCES: Readonly<Record<Case, Message>> = {
  own: source(SECOND.ipv4, SECOND.ipv6),
  foreign: source(FOREIGN.ipv4, FOREIGN.ipv6),
  'foreign-ipv4': source(FOREIGN.ipv4, SECOND.ipv6),
  'foreign-ipv6': source(SECOND.ipv4, FOREIGN.ipv6),
  kernel: {},
}

const CONFIG = {
  dialect: 'envoy',
  text: bootstrapText(
    CASES.map((name) =>
      listenerOn(
        name,
        FAMILIES.map((family) => [LAB.node[family], PORTS[name]]),
        name,
      ),
    ),
    CASES.map((name) =>
      clusterOf(
        name,
        FAMILIES.map((family) => [LAB.server[family], SERVER_PORT]),
        SOURCES[name],
      ),
    ),
  ),
} as const

/** Ports of the node's, so that it runs out of them. */
const FIRST_PORT = 20_000
const LOCAL_PORTS = 64

if (requireNamespaces(t)) {
  forEachEngine(t, 'source addresses', async (t, engine) => {
    const { agent, clientHost, serverHost, node } = await startNamespaceProxy(t, engine, {
      config: CONFIG,
      prepare: (lab) => {
        lab.node.ip(
          `addr add ${SECOND.ipv4}/24 dev to-server`,
          `addr add ${SECOND.ipv6}/64 dev to-server nodad`,
        )
      },
    })
    for (const family of FAMILIES) await serverHost.listen(LAB.server[family], SERVER_PORT)
    const before = agent.descriptors()

    for (const family of FAMILIES) {
      await t.test(`rule 9: the one of the upstream's family is used over ${family}`, async (t) => {
        const { received } = await clientHost.exchange(LAB.node[family], PORTS.own, 'hello')
        t.equal(received, `${LAB.server[family]} ${SERVER_PORT} from ${SECOND[family]}: hello`)
      })

      await t.test(`rule 9: one that is not there costs ${family} only its own family`, async (t) => {
        const name = `foreign-${family}` as const
        const other = otherFamily(family)
        const { received } = await clientHost.exchange(LAB.node[family], PORTS[name], 'hello')
        t.equal(received, `${LAB.server[other]} ${SERVER_PORT} from ${SECOND[other]}: hello`)
        t.match(await agent.logOf((line) => line['listener'] === name && line['family'] === family), {
          attempts: /^\S+ source_unavailable \d+ms, \S+ connected/,
          fallback: `${family} to ${other}: failed`,
        })
      })

      await t.test(`rule 8: where no source is there a client over ${family} gets RST`, async (t) => {
        const outcome = await clientHost.exchange(LAB.node[family], PORTS.foreign, 'hello')
        t.match(outcome, { received: '', end: 'rst' })
        t.match(await agent.logOf((line) => line['listener'] === 'foreign' && line['family'] === family), {
          close_reason: 'upstream_failed',
          attempts: /^\S+ source_unavailable \d+ms, \S+ source_unavailable \d+ms$/,
        })
      })
    }

    await t.test(
      'when the ports of one family are used up, the other family serves, then nobody',
      async (t) => {
        const last = FIRST_PORT + LOCAL_PORTS - 1
        node.sysctl(`net.ipv4.ip_local_port_range=${FIRST_PORT} ${last}`)
        const held = await clientHost.hold(LAB.node.ipv4, PORTS.kernel, 4 * LOCAL_PORTS)
        t.ok(held > LOCAL_PORTS && held <= 2 * LOCAL_PORTS, `${held} connections`)
        const outcome = await clientHost.exchange(LAB.node.ipv4, PORTS.kernel, 'hello')
        t.match(outcome, { received: '', end: 'rst' })
        t.match(
          await agent.logOf(
            (line) => line['listener'] === 'kernel' && line['close_reason'] === 'upstream_failed',
          ),
          {
            attempts: /^\S+ source_unavailable \d+ms, \S+ source_unavailable \d+ms$/,
          },
        )
        await clientHost.release()
        await agent.hasNoMoreThan(before)
        t.match(await clientHost.exchange(LAB.node.ipv6, PORTS.own, 'hello'), { end: 'fin' }, 'it recovers')
      },
    )
  })
}
