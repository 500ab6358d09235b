/** Throughput: one connection and eight, to the server and from it. */
import { STANDARD_SERVICES, withLab } from '../lib/lab.ts'
import { measureRounds } from '../lib/rounds.ts'
import { rowOf } from '../lib/row.ts'

import type { Bench } from '../lib/bench.ts'
import type { Lab } from '../lib/lab.ts'
import type { Row } from '../lib/row.ts'
import type { WindowPlan, WindowResult } from '../lib/window.ts'

const BITS_PER_BYTE = 8
const BYTES_PER_GB = 1e9

const DIRECTIONS = [
  {
    name: 'upload',
    service: 'sink',
    kind: 'send',
    rateOf: (result: WindowResult) => result.serverBytesPerSecond,
  },
  {
    name: 'download',
    service: 'source',
    kind: 'receive',
    rateOf: (result: WindowResult) => result.loadBytesPerSecond,
  },
] as const

const CONNECTION_COUNTS = [1, 8] as const

/** Rows `bulk-{upload,download}-{1,8}-{family}` in Gbit/s, with processor seconds of the proxy per GB. */
export const measureBulk: Bench = (plan) =>
  withLab(STANDARD_SERVICES, plan.lab, async (lab) => {
    const rows: Row[] = []
    for (const direction of DIRECTIONS) {
      for (const connections of CONNECTION_COUNTS) {
        for (const family of lab.families) {
          rows.push(
            await measureDirection(lab, plan.rounds, direction, {
              connections,
              family,
              seconds: plan.seconds,
            }),
          )
        }
      }
    }
    return rows
  })

async function measureDirection(
  lab: Lab,
  rounds: number,
  { name, service, kind, rateOf }: (typeof DIRECTIONS)[number],
  plan: Pick<WindowPlan, 'connections' | 'family' | 'seconds'>,
): Promise<Row> {
  const measured = await measureRounds(lab, rounds, { ...plan, service, kind })
  return rowOf(
    {
      id: `bulk-${name}-${plan.connections}-${plan.family}`,
      title: `${name}, ${plan.connections} ${plan.connections === 1 ? 'connection' : 'connections'}`,
      family: plan.family,
      unit: 'Gbit/s',
      isHigherBetter: true,
      costUnit: 'cpu-s/GB',
    },
    measured.map(({ control, proxied }) => ({
      control: gigabits(rateOf(control)),
      proxied: gigabits(rateOf(proxied)),
      cost: proxied.proxyCpuShare / (rateOf(proxied) / BYTES_PER_GB),
    })),
  )
}

function gigabits(bytesPerSecond: number): number {
  return (bytesPerSecond * BITS_PER_BYTE) / 1e9
}
