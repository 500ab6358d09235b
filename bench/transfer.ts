/** A large transfer in both directions at once over one connection, byte-exact or an error. */
import { STANDARD_SERVICES, withLab } from './lib/lab.ts'
import { rowOf } from './lib/row.ts'
import { proveWay } from './lib/window.ts'

import type { Family } from '../src/core/family.ts'
import type { Bench } from './lib/bench.ts'
import type { Lab, Via } from './lib/lab.ts'
import type { Row } from './lib/row.ts'

const BITS_PER_BYTE = 8

/** Rows `transfer-{family}` in Gbit/s, both directions together. Run once: it is a check before it is a measure. */
export const measureTransfer: Bench = (plan) =>
  withLab(STANDARD_SERVICES, plan.lab, async (lab) => {
    const rows: Row[] = []
    for (const family of lab.families) {
      const control = await transferExactly(lab, { family, via: 'direct', bytes: plan.transferBytes })
      const proxied = await transferExactly(lab, { family, via: 'proxy', bytes: plan.transferBytes })
      rows.push(
        rowOf(
          {
            id: `transfer-${family}`,
            title: `${plan.transferBytes / 1_024 / 1_024} MiB each way, every byte compared`,
            family,
            unit: 'Gbit/s',
            isHigherBetter: true,
          },
          [{ control, proxied }],
        ),
      )
    }
    return rows
  })

/**
 * Moves `bytes` each way over one connection and compares every one at both ends. Resolves with the Gbit/s of both
 * directions together, rejects with the first difference.
 */
export async function transferExactly(
  lab: Lab,
  { family, via, bytes }: { readonly family: Family; readonly via: Via; readonly bytes: number },
): Promise<number> {
  const counters = await lab.proxy.counters()
  await lab.server.call('expectTransfer', { bytes })
  const startedAtMs = performance.now()
  const [atClient, atServer] = await Promise.all([
    lab.load.call('transfer', { target: lab.target('transfer', family, via), bytes }),
    lab.server.call('transferVerdict', null),
  ])
  const seconds = (performance.now() - startedAtMs) / 1_000
  for (const [end, { problem }] of [
    ['client', atClient],
    ['server', atServer],
  ] as const) {
    if (problem !== undefined) throw new Error(`transfer over ${family}, ${via}: at the ${end}, ${problem}`)
  }
  await proveWay(lab, { family, via }, counters, { connections: 1, receivedBytes: bytes, sentBytes: bytes })
  return (2 * bytes * BITS_PER_BYTE) / seconds / 1e9
}
