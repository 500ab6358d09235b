/** Long transfers through what happens to them: links that fail, packets that are lost, edits, the end of the agent. */
import { writeFileSync } from 'node:fs'

import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { bootstrapText, clusterOf, listenerOn } from '../fixtures/envoy-files.ts'
import { forEachEngine } from '../fixtures/engines.ts'
import { eventually } from '../fixtures/eventually.ts'
import {
  REDIRECT_ALL,
  SERVER_PORT,
  VIRTUAL_INBOUND,
  startNamespaceProxy,
} from '../fixtures/namespace-proxy.ts'
import { LAB, requireNamespaces } from '../fixtures/namespaces.ts'

import type { Test } from 'tap'
import type { HostTransfer, NamespaceHost } from '../fixtures/namespace-host.ts'

const MIB = 1_048_576
/** Slow enough that something can happen in the middle, on a machine that stalls too: four seconds. */
const PACED = { totalBytes: 16 * MIB, paceMs: 16 } as const
/** An edit is noticed after a second: six seconds. */
const SLOW = { totalBytes: 16 * MIB, paceMs: 24 } as const
const LOSSY = { totalBytes: 2 * MIB, paceMs: 0 } as const

/** What replaces the configuration in mid-transfer: nothing of it is what the transfer came by. */
const OTHER_CONFIG = bootstrapText(
  [listenerOn('other', [['127.0.0.1', 15_007]], 'other')],
  [clusterOf('other', [['127.0.0.1', SERVER_PORT]])],
)

/** One transfer over each family. */
function startTransfers(
  host: NamespaceHost,
  plan: { readonly totalBytes: number; readonly paceMs: number },
): Promise<readonly HostTransfer[]> {
  return Promise.all(
    FAMILIES.map((family) => host.transfer({ host: LAB.server[family], port: SERVER_PORT, ...plan })),
  )
}

/** Resolves when every transfer is under way, and none of them near its end. */
async function untilUnderWay(transfers: readonly HostTransfer[]): Promise<void> {
  await eventually('the transfers are under way', async () => {
    const received = await Promise.all(transfers.map((transfer) => transfer.received()))
    return received.every((bytes) => bytes > MIB)
  })
}

async function arrives(t: Test, transfers: readonly HostTransfer[], totalBytes: number): Promise<void> {
  for (const { result } of transfers)
    t.strictSame(await result, { receivedBytes: totalBytes, isSame: true, end: 'fin' })
}

if (requireNamespaces(t)) {
  t.setTimeout(180_000)
  forEachEngine(t, 'a transfer', async (t, engine) => {
    const { agent, clientHost, serverHost, node, server, file } = await startNamespaceProxy(t, engine, {
      config: VIRTUAL_INBOUND,
      rules: REDIRECT_ALL,
      env: { CONNECTION_TERMINATION_DEADLINE: '30s' },
    })
    for (const family of FAMILIES) await serverHost.listen(LAB.server[family], SERVER_PORT, 'echo')

    for (const side of ['to-server', 'to-client'] as const) {
      await t.test(`arrives whole when the link ${side} goes down and up again`, async (t) => {
        const transfers = await startTransfers(clientHost, PACED)
        await untilUnderWay(transfers)
        node.ip(`link set ${side} down`)
        const during = await Promise.all(transfers.map((transfer) => transfer.received()))
        t.ok(
          during.every((bytes) => bytes < PACED.totalBytes),
          'the link went down in the middle',
        )
        await new Promise((resolve) => setTimeout(resolve, 300))
        node.ip(`link set ${side} up`)
        await arrives(t, transfers, PACED.totalBytes)
      })
    }

    await t.test('arrives whole when packets are lost', async (t) => {
      server.nft(`
        table inet trouble {
          chain input {
            type filter hook input priority filter; policy accept;
            tcp dport ${SERVER_PORT} numgen inc mod 50 == 10 counter drop
          }
        }`)
      await arrives(t, await startTransfers(clientHost, LOSSY), LOSSY.totalBytes)
      t.match(server.run('nft', 'list', 'ruleset'), /counter packets [1-9]/, 'packets were lost')
      server.run('nft', 'flush', 'ruleset')
    })

    await t.test('rule 12: arrives whole when the configuration changes in its middle', async (t) => {
      const transfers = await startTransfers(clientHost, SLOW)
      await untilUnderWay(transfers)
      writeFileSync(file, OTHER_CONFIG)
      await eventually('the listener is gone', async () => !(await agent.readyz()).includes('virtualInbound'))
      const during = await Promise.all(transfers.map((transfer) => transfer.received()))
      t.ok(
        during.every((bytes) => bytes < SLOW.totalBytes),
        'the edit came in the middle',
      )
      await arrives(t, transfers, SLOW.totalBytes)
      writeFileSync(file, VIRTUAL_INBOUND.text)
      await eventually('the listener is back', async () => (await agent.readyz()).includes('virtualInbound'))
    })

    await t.test('rule 13: arrives whole when the agent is asked to end in its middle', async (t) => {
      const transfers = await startTransfers(clientHost, PACED)
      await untilUnderWay(transfers)
      agent.program.signal('SIGTERM')
      await agent.program.logged('SIGTERM: draining')
      for (const family of FAMILIES) {
        await eventually('new clients are turned away', async () => {
          const { end } = await clientHost.exchange(LAB.server[family], SERVER_PORT, 'hello')
          return end === 'refused'
        })
      }
      await arrives(t, transfers, PACED.totalBytes)
      t.strictSame(await agent.program.exit, { code: 0, signal: null })
      t.match(agent.program.stderr, 'every connection has ended')
    })
  })
}
