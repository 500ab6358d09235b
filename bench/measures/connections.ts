/** New connections: how many per second, and how long one takes from connect to the first answer. */
import { STANDARD_SERVICES, withLab } from '../lib/lab.ts'
import { measureRounds } from '../lib/rounds.ts'
import { rowOf } from '../lib/row.ts'

import type { Family } from '../../src/core/family.ts'
import type { Bench } from '../lib/bench.ts'
import type { Row } from '../lib/row.ts'
import type { WindowRound } from '../lib/rounds.ts'

/** Connections under way at a time: enough to keep every process busy. */
const CONCURRENT = 32

/**
 * Rows `connections-{family}` per second, and `setup-{p50,p99}-{family}` in ms. Set-up is timed one connection after
 * the other: with more at a time the waiting in line would be most of it.
 */
export const measureConnections: Bench = (plan) =>
  withLab(STANDARD_SERVICES, plan.lab, async (lab) => {
    const rows: Row[] = []
    const window = { service: 'echo', kind: 'connect-request-close', seconds: plan.seconds } as const
    for (const family of lab.families) {
      const measured = await measureRounds(lab, plan.rounds, { ...window, family, connections: CONCURRENT })
      rows.push(rateRow(family, measured))
    }
    for (const family of lab.families) {
      const measured = await measureRounds(lab, plan.rounds, { ...window, family, connections: 1 })
      rows.push(setupRow(family, 'p50', measured), setupRow(family, 'p99', measured))
    }
    return rows
  })

function rateRow(family: Family, measured: readonly WindowRound[]): Row {
  return rowOf(
    {
      id: `connections-${family}`,
      title: 'new connections',
      family,
      unit: '1/s',
      isHigherBetter: true,
      costUnit: 'cpu-µs each',
    },
    measured.map(({ control, proxied }) => ({
      control: control.completedPerSecond,
      proxied: proxied.completedPerSecond,
      cost: (proxied.proxyCpuShare / proxied.completedPerSecond) * 1e6,
    })),
  )
}

function setupRow(family: Family, which: 'p50' | 'p99', measured: readonly WindowRound[]): Row {
  const key = which === 'p50' ? 'p50Ms' : 'p99Ms'
  return rowOf(
    {
      id: `setup-${which}-${family}`,
      title: `connect to first answer, ${which}`,
      family,
      unit: 'ms',
      isHigherBetter: false,
    },
    measured.map(({ control, proxied }) => ({ control: control[key], proxied: proxied[key] })),
  )
}
