/** Peers that fall silent for good, without FIN or RST: what keepalive and user timeouts are for. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { UNSUPPORTED_VARIABLES } from '../../src/agent/settings/settings-schema.ts'
import { ENGINES, forEachEngine } from '../fixtures/engines.ts'
import { eventually } from '../fixtures/eventually.ts'
import { REDIRECT_ALL, VIRTUAL_INBOUND, startNamespaceProxy } from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Namespace } from '../fixtures/namespaces.ts'

/** Whose host falls silent on connections to the port; on the third one data is under way to the server. */
const PORTS = { client: 9_001, server: 9_002, serverWithData: 9_003 } as const

const KEEPALIVE = { KEEPALIVE_TIME: '1s', KEEPALIVE_INTERVAL: '1s', KEEPALIVE_RETRIES: '2' } as const
/** The node engine leaves interval and count to libuv: 1 s and 10. */
const LONGEST_MS = { node: 16_000, linux: 8_000 } as const

/** Why the kernel ended the connection: nobody answered, or nobody could be asked any more. */
const GIVEN_UP = /^(timeout|unreachable)$/

/** In builds that cannot set it on any engine. */
const isUserTimeoutRefused = UNSUPPORTED_VARIABLES.some(({ name }) => name === 'USER_TIMEOUT_ENABLED')

/** Everything from and to the port is lost. */
function silence(host: Namespace, ...ports: readonly number[]): void {
  const drop = `tcp dport { ${ports.join()} } drop; tcp sport { ${ports.join()} } drop`.split('; ').join('\n')
  host.nft(`
    table inet silence {
      chain input {
        type filter hook input priority filter; policy accept;
        ${drop}
      }
      chain output {
        type filter hook output priority filter; policy accept;
        ${drop}
      }
    }`)
}

if (requireNamespaces(t)) {
  // They wait for the kernel most of the time.
  t.jobs = ENGINES.length
  forEachEngine(t, 'a peer that falls silent', async (t, engine) => {
    const hasUserTimeout = engine.kind === 'linux' && !isUserTimeoutRefused
    const { agent, client, clientHost, server, serverHost } = await startNamespaceProxy(t, engine, {
      config: VIRTUAL_INBOUND,
      rules: REDIRECT_ALL,
      env: { ...KEEPALIVE, ...(hasUserTimeout && { USER_TIMEOUT_ENABLED: 'true' }) },
    })
    const before = agent.descriptors()
    const open = await Promise.all(
      FAMILIES.map(async (family) => {
        const host = LAB.server[family]
        for (const port of Object.values(PORTS)) await serverHost.listen(host, port)
        const connections = {
          client: await clientHost.open(host, PORTS.client),
          server: await clientHost.open(host, PORTS.server),
          serverWithData: await clientHost.open(host, PORTS.serverWithData),
        }
        for (const connection of Object.values(connections)) await connection.ask('hello')
        return { family, host, connections }
      }),
    )
    silence(client, PORTS.client)
    silence(server, PORTS.server, PORTS.serverWithData)
    // Keepalive says nothing while data waits to be acknowledged; without a user timeout that takes 15 minutes.
    if (hasUserTimeout)
      for (const { connections } of open)
        connections.serverWithData.ask('into the void').catch(() => undefined)
    const longestMs = LONGEST_MS[engine.kind]

    for (const { family, host, connections } of open) {
      const logged = (port: number): Promise<object> =>
        agent.logOf((line) => line['dst.original'] === socketText(host, port))

      await t.test(`a client over ${family}: its server gets RST`, async (t) => {
        await eventually(
          'the server has seen an end',
          async () => (await serverHost.clientEnds(host, PORTS.client)).length > 0,
          longestMs,
        )
        t.strictSame(await serverHost.clientEnds(host, PORTS.client), ['rst'])
        t.match(await logged(PORTS.client), { close_reason: 'downstream_reset', error: GIVEN_UP })
      })

      await t.test(`a server over ${family}: its client gets RST`, async (t) => {
        t.equal(await connections.server.ended, 'rst')
        t.match(await logged(PORTS.server), { close_reason: 'upstream_reset', error: GIVEN_UP })
      })
    }

    for (const { family, connections } of open) {
      await t.test(`a server over ${family} with data under way: its client gets RST`, async (t) => {
        t.equal(await connections.serverWithData.ended, 'rst')
      })
    }
    await agent.hasNoMoreThan(before)
  })
}
