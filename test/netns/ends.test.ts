/** How connections end, as both ends see it: FIN as FIN, RST as RST, and no port left waiting after a RST. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { eventually } from '../fixtures/eventually.ts'
import {
  REDIRECT_ALL,
  VIRTUAL_INBOUND,
  activeConnections,
  startNamespaceProxy,
} from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'
import { socketText } from '../fixtures/socket-text.ts'

import type { Namespace } from '../fixtures/namespaces.ts'

const PORTS = {
  answerAtEnd: 9_001,
  finishFirst: 9_002,
  describe: 9_003,
  resetOnData: 9_004,
  holdOpen: 9_005,
} as const
const BEHAVIOURS = ['answerAtEnd', 'finishFirst', 'describe', 'resetOnData', 'holdOpen'] as const

/** Connections of a burst of resets. */
const RESETS = 200

/** Sockets of a host that wait for the end of TIME_WAIT, without those of the scrapes on loopback. */
function timeWaits(host: Namespace): readonly string[] {
  const lines = host.run('ss', '-Htan', 'state', 'time-wait').split('\n')
  return lines.filter((line) => line !== '' && !line.includes('127.0.0.1'))
}

if (requireNamespaces(t)) {
  forEachEngine(t, 'the end of a connection', async (t, engine) => {
    const { agent, clientHost, serverHost, node } = await startNamespaceProxy(t, engine, {
      config: VIRTUAL_INBOUND,
      rules: REDIRECT_ALL,
    })
    const before = agent.descriptors()
    for (const family of FAMILIES) {
      for (const behaviour of BEHAVIOURS)
        await serverHost.listen(LAB.server[family], PORTS[behaviour], behaviour)
    }

    for (const family of FAMILIES) {
      const host = LAB.server[family]

      await t.test(`rule 11: RST of a client over ${family} is RST at the server`, async (t) => {
        const connection = await clientHost.open(host, PORTS.describe)
        await connection.ask('hello')
        await connection.reset()
        await eventually('the server has seen an end', async () => {
          return (await serverHost.clientEnds(host, PORTS.describe)).length > 0
        })
        t.strictSame(await serverHost.clientEnds(host, PORTS.describe), ['rst'])
        await agent.logOf((line) => line['close_reason'] === 'downstream_reset' && line['family'] === family)
      })

      await t.test(`rule 11: RST of a server is RST at the client over ${family}`, async (t) => {
        const { received, end } = await clientHost.exchange(host, PORTS.resetOnData, 'hello')
        t.strictSame({ received, end }, { received: '', end: 'rst' })
        await agent.logOf((line) => line['close_reason'] === 'upstream_reset' && line['family'] === family)
      })

      await t.test(`rule 11: RST over ${family} after FIN of the other end still passes`, async (t) => {
        const connection = await clientHost.open(host, PORTS.finishFirst)
        t.equal(await connection.ended, 'fin')
        await connection.reset()
        await eventually('the server has seen an end', async () => {
          return (await serverHost.clientEnds(host, PORTS.finishFirst)).length > 0
        })
        t.strictSame(await serverHost.clientEnds(host, PORTS.finishFirst), ['rst'])
      })

      await t.test(`no port of the proxy waits after resets over ${family}`, async (t) => {
        t.strictSame(timeWaits(node), [], 'after the resets above')
        const target = { host, total: RESETS, concurrency: 20 }
        await clientHost.churn({ ...target, port: PORTS.holdOpen, kind: 'reset' })
        const { reset } = await clientHost.churn({ ...target, port: PORTS.resetOnData, kind: 'exchange' })
        t.equal(reset, RESETS)
        await eventually(
          'no connection is open',
          async () => (await agent.metric(activeConnections(family))) === 0,
        )
        t.strictSame(timeWaits(node), [])
      })
    }

    // FIN leaves ports waiting, as it must: these come after the count of those that resets leave.
    for (const family of FAMILIES) {
      const host = LAB.server[family]

      await t.test(`rule 11: a client over ${family} that has sent FIN gets its answer`, async (t) => {
        const { received, end } = await clientHost.exchange(host, PORTS.answerAtEnd, 'hello')
        t.strictSame({ received, end }, { received: 'after FIN: hello', end: 'fin' })
        t.strictSame(await serverHost.clientEnds(host, PORTS.answerAtEnd), ['fin'])
      })

      await t.test(`rule 11: a server that has sent FIN still reads its client over ${family}`, async (t) => {
        const { received, end } = await clientHost.exchange(host, PORTS.finishFirst, 'hello')
        t.strictSame({ received, end }, { received: 'first', end: 'fin' })
        t.match(
          await agent.logOf((line) => line['dst.original'] === socketText(host, PORTS.finishFirst), 2),
          {
            close_reason: 'finished',
            bytes_recv: 5,
            bytes_sent: 5,
          },
        )
      })
    }

    await t.test('no descriptor is left', async () => {
      await agent.hasNoMoreThan(before)
    })
  })
}
