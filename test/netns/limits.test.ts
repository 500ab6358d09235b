/** Many short connections: with a descriptor table that is nearly full, and with clients that reset at once. */
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { REFUSE_AT_SHARE } from '../../src/proxy/descriptor-budget.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { eventually } from '../fixtures/eventually.ts'
import {
  REDIRECT_ALL,
  SERVER_PORT,
  VIRTUAL_INBOUND,
  activeConnections,
  startNamespaceProxy,
} from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

import type { ChurnPlan, ChurnResult } from '../fixtures/churn.ts'
import type { NamespaceProxy } from '../fixtures/namespace-proxy.ts'

const DESCRIPTOR_LIMIT = 2_048
/** How many more connections fit beside those that are held; the churn goes over that again and again. */
const ROOM = 10
const CHURN = { total: 10_000, concurrency: 60, kind: 'exchange' } as const
const RESETS = { total: 2_000, concurrency: 50, kind: 'reset' } as const

/** The same over both families at once. */
async function churn(
  { clientHost }: NamespaceProxy,
  plan: Pick<ChurnPlan, 'total' | 'concurrency' | 'kind'>,
): Promise<ChurnResult> {
  const [ipv4, ipv6] = await Promise.all([
    clientHost.churn({ ...plan, host: LAB.server.ipv4, port: SERVER_PORT }),
    clientHost.churn({ ...plan, host: LAB.server.ipv6, port: SERVER_PORT }),
  ])
  return {
    answered: ipv4.answered + ipv6.answered,
    reset: ipv4.reset + ipv6.reset,
    refused: ipv4.refused + ipv6.refused,
    cut: ipv4.cut + ipv6.cut,
  }
}

async function untilIdle({ agent }: NamespaceProxy, before: readonly string[]): Promise<void> {
  for (const family of FAMILIES)
    await eventually(
      'no connection is open',
      async () => (await agent.metric(activeConnections(family))) === 0,
    )
  await agent.hasNoMoreThan(before)
}

if (requireNamespaces(t)) {
  // 20,000 connections on each engine take a while where other tests run beside them.
  t.setTimeout(180_000)
  forEachEngine(t, 'with many connections', async (t, engine) => {
    const lab = await startNamespaceProxy(t, engine, {
      config: VIRTUAL_INBOUND,
      rules: REDIRECT_ALL,
      env: { TWINSTACK_ACCESS_LOG: 'off' },
      descriptorLimit: DESCRIPTOR_LIMIT,
    })
    const { agent, clientHost, serverHost } = lab
    for (const family of FAMILIES) await serverHost.listen(LAB.server[family], SERVER_PORT)
    t.equal(await agent.metric('process_max_fds'), DESCRIPTOR_LIMIT)
    // What an engine opens once and keeps is there after the first connections.
    t.match(await churn(lab, { total: 20, concurrency: 20, kind: 'exchange' }), { answered: 40 })
    const before = agent.descriptors()

    await t.test(
      'rule 14: those beyond the limit of descriptors get RST, are counted, and it recovers',
      async (t) => {
        const open = await agent.metric('process_open_fds')
        const held = Math.floor((DESCRIPTOR_LIMIT * REFUSE_AT_SHARE - open) / 2) - ROOM
        const { ipv4, ipv6 } = LAB.server
        t.equal(await clientHost.hold(ipv4, SERVER_PORT, Math.floor(held / 2)), Math.floor(held / 2))
        t.equal(await clientHost.hold(ipv6, SERVER_PORT, Math.ceil(held / 2)), Math.ceil(held / 2))
        const churning = churn(lab, CHURN)
        await eventually('the agent says why it is not ready', async () =>
          /^not ready\n {2}connection limit: \d+ of 2048 descriptors are open/.test(await agent.readyz()),
        )
        const { answered, reset, refused, cut } = await churning
        t.comment(`${answered} answered, ${reset} reset`)
        t.ok(answered > 0 && reset > 0)
        t.strictSame(
          { total: answered + reset, refused, cut },
          { total: 2 * CHURN.total, refused: 0, cut: 0 },
        )
        // The client sees the reset before it is counted.
        await eventually(
          `${reset} are counted`,
          async () =>
            (await agent.metric('twinstack_connections_closed_total{reason="connection_limit"}')) === reset,
        )

        await clientHost.release()
        await untilIdle(lab, before)
        await eventually('the agent is ready', async () => (await agent.readyz()).startsWith('ready\n'))
        t.match(await churn(lab, { total: 20, concurrency: 20, kind: 'exchange' }), { answered: 40 })
      },
    )

    await t.test('clients that reset at once disturb nobody and leave nothing behind', async (t) => {
      const [others] = await Promise.all([
        churn(lab, { total: 500, concurrency: 10, kind: 'exchange' }),
        churn(lab, RESETS),
      ])
      t.strictSame(others, { answered: 1_000, reset: 0, refused: 0, cut: 0 })
      await untilIdle(lab, before)
      t.equal(await agent.metric('twinstack_connections_closed_total{reason="internal"}'), 0)
    })
  })
}
