/** One measurement: load for a while, readings at both ends of a window, and the proof of the way that the bytes took. */
import { setTimeout as sleep } from 'node:timers/promises'

import { sawAtLeast, sawNothing, subtractCounters } from './proxy-counters.ts'

import type { Family } from '../../src/core/family.ts'
import type { LoadKind } from '../roles/load-runs.ts'
import type { ServerSample } from '../roles/server.ts'
import type { Lab, Via } from './lab.ts'
import type { ProcessSample } from './process-sample.ts'
import type { FamilyCounters, ProxyCounters } from './proxy-counters.ts'

export interface WindowPlan {
  readonly service: string
  readonly family: Family
  readonly via: Via
  readonly kind: LoadKind
  readonly connections: number
  readonly seconds: number
}

/** What happened between the two readings. Rates are by the clock of the process that counted. */
export interface WindowResult {
  readonly serverBytesPerSecond: number
  readonly loadBytesPerSecond: number
  readonly completedPerSecond: number
  /** NaN when nothing completed. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** Processor seconds that the proxy used per second. */
  readonly proxyCpuShare: number
}

/** Compilers and TCP windows get this share of the window before it opens, and not more than the limit. */
const WARM_UP_SHARE = 0.3
const WARM_UP_LIMIT_SECONDS = 0.3
/** How long the proxy may take to learn of the last bytes. */
const PROOF_LIMIT_MS = 5_000
const PROOF_INTERVAL_MS = 10

/** Runs the load and measures it. Rejects when the proxy's own counters do not agree with the way that was asked for. */
export async function measureWindow(lab: Lab, plan: WindowPlan): Promise<WindowResult> {
  const target = lab.target(plan.service, plan.family, plan.via)
  const { server: serverAtStart, counters: countersAtStart } = await untilQuiet(lab)

  await lab.load.call('start', { kind: plan.kind, target, connections: plan.connections })
  await sleep(Math.min(plan.seconds * WARM_UP_SHARE, WARM_UP_LIMIT_SECONDS) * 1_000)
  const opened = await readAll(lab, lab.load.call('mark', null))
  await sleep(plan.seconds * 1_000)
  const closed = await readAll(lab, lab.load.call('stop', null))

  const { server: serverAtEnd } = await untilQuiet(lab)
  await proveWay(lab, plan, countersAtStart, {
    connections: serverAtEnd.connections - serverAtStart.connections,
    receivedBytes: serverAtEnd.receivedBytes - serverAtStart.receivedBytes,
    sentBytes: closed.load.receivedBytes,
  })
  const loadSeconds = (closed.load.atMs - opened.load.atMs) / 1_000
  const serverSeconds = (closed.server.atMs - opened.server.atMs) / 1_000
  const proxySeconds = (closed.proxy.atMs - opened.proxy.atMs) / 1_000
  return {
    serverBytesPerSecond: (closed.server.receivedBytes - opened.server.receivedBytes) / serverSeconds,
    loadBytesPerSecond: (closed.load.receivedBytes - opened.load.receivedBytes) / loadSeconds,
    completedPerSecond: (closed.load.completed - opened.load.completed) / loadSeconds,
    p50Ms: closed.load.p50Ms ?? NaN,
    p99Ms: closed.load.p99Ms ?? NaN,
    proxyCpuShare: (closed.proxy.cpuSeconds - opened.proxy.cpuSeconds) / proxySeconds,
  }
}

/**
 * Resolves when the proxy has counted at least what both ends have seen, or, on the direct way, nothing at all. The
 * control must not touch the proxy, and the proxied run must not go round it.
 */
export async function proveWay(
  lab: Lab,
  { via, family }: Pick<WindowPlan, 'via' | 'family'>,
  before: ProxyCounters,
  least: FamilyCounters,
): Promise<ProxyCounters> {
  const deadlineMs = performance.now() + PROOF_LIMIT_MS
  for (;;) {
    const seen = subtractCounters(await lab.proxy.counters(), before)
    const isProven =
      via === 'direct'
        ? lab.families.every((each) => sawNothing(seen, each))
        : sawAtLeast(seen, family, least)
    if (isProven) return seen
    if (via === 'direct' || performance.now() > deadlineMs) {
      const expected = via === 'direct' ? 'nothing' : JSON.stringify(least)
      throw new Error(
        `the proxy counted ${JSON.stringify(seen.byFamily)} where the ends saw ${expected} over ${family}`,
      )
    }
    await sleep(PROOF_INTERVAL_MS)
  }
}

/** Resolves when no connection of an earlier run is left anywhere, so that none of them is counted in the next one. */
async function untilQuiet(
  lab: Lab,
): Promise<{ readonly server: ServerSample; readonly counters: ProxyCounters }> {
  const deadlineMs = performance.now() + PROOF_LIMIT_MS
  // A connection can be on its way from the proxy to the server: it must be quiet twice.
  for (let quietReadings = 0; ;) {
    const counters = await lab.proxy.counters()
    const server = await lab.server.call('sample', { collect: false })
    const open = counters.activeConnections + server.openConnections
    quietReadings = open === 0 ? quietReadings + 1 : 0
    if (quietReadings === 2) return { server, counters }
    if (performance.now() > deadlineMs)
      throw new Error(`${open} connections are left of a run that has ended`)
    await sleep(PROOF_INTERVAL_MS)
  }
}

interface Readings<Load> {
  readonly server: ServerSample
  readonly load: Load
  readonly proxy: ProcessSample
}

async function readAll<Load>(lab: Lab, readLoad: Promise<Load>): Promise<Readings<Load>> {
  const [server, load, proxy] = await Promise.all([
    lab.server.call('sample', { collect: false }),
    readLoad,
    lab.proxy.sample({ collect: false }),
  ])
  return { server, load, proxy }
}
