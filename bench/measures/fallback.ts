/**
 * What it costs a client when the application listens on the other family only: the connection that finds out, the
 * next one, which knows, and for comparison one to an application that has the client's family.
 */
import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { STANDARD_SERVICES, withLab } from '../lib/lab.ts'
import { rowOf } from '../lib/row.ts'
import { median } from '../lib/statistics.ts'
import { proveWay } from '../lib/window.ts'

import type { Family } from '../../src/core/family.ts'
import type { Bench } from '../lib/bench.ts'
import type { Lab, LabService } from '../lib/lab.ts'
import type { Row } from '../lib/row.ts'

/** Each can be found out only once, so a round needs several of them. */
const SERVICES_PER_FAMILY = 8
/** Connections before the first that is timed: code that runs for the first time is slow. */
const WARM_UP_CONNECTIONS = 100

const TITLES = {
  native: 'connect to first answer, application has the family',
  first: 'the same, application lacks it: first connection',
  second: 'the same, application lacks it: second connection',
} as const

type Which = keyof typeof TITLES

type FallbackTimes = Readonly<Record<Which | 'direct', number>>

/** Rows `fallback-{native,first,second}-{family of the client}` in ms. None on a machine with one family. */
export const measureFallback: Bench = async (plan) => {
  if (FAMILIES.some((family) => !plan.lab.families.includes(family))) return []
  const services = [...STANDARD_SERVICES, ...FAMILIES.flatMap(servicesFor)]
  const times = new Map<Family, FallbackTimes[]>(FAMILIES.map((family) => [family, []]))
  for (let round = 0; round < plan.rounds; round++) {
    await withLab(services, plan.lab, async (lab) => {
      for (const [family, done] of times) done.push(await timeFallback(lab, family))
    })
  }
  return [...times].flatMap(([family, done]) =>
    (['native', 'first', 'second'] as const).map((which) => fallbackRow(family, which, done)),
  )
}

function servicesFor(family: Family): readonly LabService[] {
  return Array.from({ length: SERVICES_PER_FAMILY }, (_, index) => ({
    name: nameOf(family, index),
    behaviour: 'echo',
    boundFamilies: [otherFamily(family)],
  }))
}

function nameOf(family: Family, index: number): string {
  return `lacks-${family}-${index}`
}

async function timeFallback(lab: Lab, family: Family): Promise<FallbackTimes> {
  const time = (service: string, clients: Family, via: 'direct' | 'proxy'): Promise<number> =>
    lab.load.call('timeConnection', lab.target(service, clients, via))
  for (let index = 0; index < WARM_UP_CONNECTIONS; index++) {
    await time('echo', family, 'proxy')
    await time('echo', family, 'direct')
  }
  const counters = await lab.proxy.counters()
  const times = { direct: [], native: [], first: [], second: [] } satisfies Record<string, number[]>
  const taken: Readonly<Record<Which | 'direct', number[]>> = times
  for (let index = 0; index < SERVICES_PER_FAMILY; index++) {
    const service = nameOf(family, index)
    taken.direct.push(await time(service, otherFamily(family), 'direct'))
    taken.native.push(await time('echo', family, 'proxy'))
    taken.first.push(await time(service, family, 'proxy'))
    taken.second.push(await time(service, family, 'proxy'))
  }
  const seen = await proveWay(lab, { family, via: 'proxy' }, counters, {
    connections: 3 * SERVICES_PER_FAMILY,
    receivedBytes: 0,
    sentBytes: 0,
  })
  if (seen.fallbacks < 2 * SERVICES_PER_FAMILY)
    throw new Error(`${seen.fallbacks} connections fell back, not ${2 * SERVICES_PER_FAMILY}`)
  return {
    direct: median(taken.direct),
    native: median(taken.native),
    first: median(taken.first),
    second: median(taken.second),
  }
}

function fallbackRow(family: Family, which: Which, times: readonly FallbackTimes[]): Row {
  return rowOf(
    {
      id: `fallback-${which}-${family}`,
      title: TITLES[which],
      family,
      unit: 'ms',
      isHigherBetter: false,
      ...(which !== 'native' && { costUnit: 'ms more than native' }),
    },
    times.map((each) => ({
      control: each.direct,
      proxied: each[which],
      ...(which !== 'native' && { cost: each[which] - each.native }),
    })),
  )
}
