/** Memory of connections that do nothing. */
import { setTimeout as sleep } from 'node:timers/promises'

import { FAMILIES } from '../../src/core/family.ts'
import { redirect } from '../lab/redirection.ts'
import { requireSuccess, untilQuiet } from '../lab/window.ts'
import { PLAIN, withProxy } from '../proxies/running-proxy.ts'

import type { Family } from '../../src/core/family.ts'
import type { Lab } from '../lab/lab.ts'
import type { RunningProxy } from '../proxies/running-proxy.ts'
import type { Measure } from './measure.ts'

/** Opened and closed before the first reading, so that code and caches are not counted as connections. */
const WARM_UP_CONNECTIONS = 500
const SETTLE_MS = 1_000

/** Row `idle-rss`. Processes are new in each round: memory that was freed before hides growth. */
export const measureIdle: Measure = async ({ lab, programs, rounds, idleConnections, figures }) => {
  for (let round = 0; round < rounds; round++) {
    for (const family of FAMILIES) {
      for (const program of programs) {
        const bytes = await withProxy(lab, program, PLAIN, (proxy) =>
          measureIdleBytes(lab, proxy, family, idleConnections),
        )
        figures.add(
          {
            id: 'idle-rss',
            title: `${idleConnections.toLocaleString('en')} idle connections, RSS for each`,
            family,
            unit: 'kB',
            isHigherBetter: false,
          },
          program.name,
          bytes / 1_000,
        )
      }
    }
  }
}

/**
 * What the proxy grows by for each of `count` connections. Rejects unless each of them is answered when it is opened
 * and again at the end.
 */
export async function measureIdleBytes(
  lab: Lab,
  proxy: RunningProxy,
  family: Family,
  count: number,
): Promise<number> {
  const plan = { load: 'hold', service: 'echo', family, proxy } as const
  await redirect(lab.namespaces, proxy.capturePorts)
  const warmUp = await lab.startClient({ ...plan, count: Math.min(count, WARM_UP_CONNECTIONS) })
  await warmUp.stop()
  await untilQuiet(lab)
  await sleep(SETTLE_MS)
  const rssBefore = await proxy.rssBytes()
  const client = await lab.startClient({ ...plan, count })
  try {
    await sleep(SETTLE_MS)
    const rssAfter = await proxy.rssBytes()
    const asked = await client.askAll()
    requireSuccess(plan, asked)
    if (asked.completed < 2 * count) throw new Error(`${count} connections gave ${asked.completed} answers`)
    await client.stop()
    await untilQuiet(lab)
    return (rssAfter - rssBefore) / count
  } finally {
    await client.close()
  }
}
