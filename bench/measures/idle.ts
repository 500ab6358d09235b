/** Memory of connections that do nothing: what the process grows by, after a warm-up and with garbage collected. */
import { setTimeout as sleep } from 'node:timers/promises'

import { STANDARD_SERVICES, withLab } from '../lib/lab.ts'
import { rowOf } from '../lib/row.ts'
import { proveWay } from '../lib/window.ts'

import type { Family } from '../../src/core/family.ts'
import type { Bench, BenchPlan } from '../lib/bench.ts'
import type { Lab, Via } from '../lib/lab.ts'
import type { ProcessSample } from '../lib/process-sample.ts'
import type { Round, Row } from '../lib/row.ts'

/** Opened and closed before the first reading, so that code and caches are not counted as connections. */
const WARM_UP_CONNECTIONS = 200
const SETTLE_MS = 200
/** One collection frees what the previous one found unreachable by finalizers. */
const COLLECTIONS = 2

/**
 * Rows `idle-memory-{family}` in kB per connection. The control is a bare node:net server with one socket for each
 * connection; the proxy has two. Processes are new in each round: memory that was freed before hides growth.
 */
export const measureIdle: Bench = async (plan) => {
  const rounds = new Map<Family, Round[]>(plan.lab.families.map((family) => [family, []]))
  for (let round = 0; round < plan.rounds; round++) {
    for (const [family, done] of rounds) {
      const control = await growthPerConnection(plan, family, 'direct')
      const proxied = await growthPerConnection(plan, family, 'proxy')
      done.push({ control, proxied })
    }
  }
  return [...rounds].map(([family, done]) => idleRow(family, done))
}

function growthPerConnection(plan: BenchPlan, family: Family, via: Via): Promise<number> {
  return withLab(STANDARD_SERVICES, plan.lab, async (lab) => {
    await hold(lab, family, via, WARM_UP_CONNECTIONS)
    await lab.load.call('stop', null)
    const before = await settledSample(lab, via)
    const counters = await lab.proxy.counters()
    await hold(lab, family, via, plan.idleConnections)
    const after = await settledSample(lab, via)
    await proveWay(lab, { family, via }, counters, {
      connections: plan.idleConnections,
      receivedBytes: 0,
      sentBytes: 0,
    })
    return (after.rssBytes - before.rssBytes) / plan.idleConnections / 1_000
  })
}

async function hold(lab: Lab, family: Family, via: Via, connections: number): Promise<void> {
  await lab.load.call('start', { kind: 'hold', target: lab.target('echo', family, via), connections })
}

/** Reads the process that holds the server's end of the clients' connections. */
async function settledSample(lab: Lab, via: Via): Promise<ProcessSample> {
  const sample = (collect: boolean): Promise<ProcessSample> =>
    via === 'direct' ? lab.server.call('sample', { collect }) : lab.proxy.sample({ collect })
  for (let collection = 0; collection < COLLECTIONS; collection++) {
    await sample(true)
    await sleep(SETTLE_MS)
  }
  return await sample(false)
}

function idleRow(family: Family, rounds: readonly Round[]): Row {
  return rowOf(
    {
      id: `idle-memory-${family}`,
      title: 'memory per idle connection (control: one socket in a bare server)',
      family,
      unit: 'kB',
      isHigherBetter: false,
    },
    rounds,
  )
}
