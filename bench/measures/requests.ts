/** Small requests and answers on connections that stay. */
import { STANDARD_SERVICES, withLab } from '../lib/lab.ts'
import { measureRounds } from '../lib/rounds.ts'
import { rowOf } from '../lib/row.ts'

import type { Bench } from '../lib/bench.ts'
import type { Row } from '../lib/row.ts'

const CONNECTIONS = 32

/** Rows `requests-{family}` per second. */
export const measureRequests: Bench = (plan) =>
  withLab(STANDARD_SERVICES, plan.lab, async (lab) => {
    const rows: Row[] = []
    for (const family of lab.families) {
      const measured = await measureRounds(lab, plan.rounds, {
        service: 'echo',
        kind: 'request-response',
        connections: CONNECTIONS,
        family,
        seconds: plan.seconds,
      })
      rows.push(
        rowOf(
          {
            id: `requests-${family}`,
            title: 'requests on open connections',
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
        ),
      )
    }
    return rows
  })
