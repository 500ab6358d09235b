/** One measurement: a load for a while, readings at both ends of a window, and the proof of the way the bytes took. */
import { setTimeout as sleep } from 'node:timers/promises'

import { FAMILIES } from '../../src/core/family.ts'
import { readWays, redirect } from './redirection.ts'

import type { ClientCounts, ClientRun } from './client-run.ts'
import type { Lab, LoadPlan } from './lab.ts'
import type { CapturePorts } from './redirection.ts'
import type { ServerCounts } from './server-program.ts'

/** What a window has to know of a proxy. */
export interface MeasuredProxy {
  readonly name: string
  /** Where the node captures for it; absent: the client's own namespace does, and the node only routes. */
  readonly capturePorts?: CapturePorts
  cpuSeconds(): Promise<number>
}

export interface WindowPlan extends LoadPlan {
  /** `undefined` is the control: the node only routes. */
  readonly proxy: MeasuredProxy | undefined
  readonly seconds: number
  /** Connections of other loads that stay open meanwhile (0). */
  readonly otherConnections?: number
}

/** What happened between the two readings. Rates are by the clock of the process that counted. */
export interface WindowResult {
  /** To the application, as it has counted them. */
  readonly uploadBytesPerSecond: number
  /** From the application, as the client has counted them. */
  readonly downloadBytesPerSecond: number
  readonly completedPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
  /** Processor seconds that the proxy used; 0 without one. */
  readonly cpuSeconds: number
  readonly uploadBytes: number
  readonly downloadBytes: number
  readonly completed: number
}

/** TCP windows, caches and compilers get this long before the window opens. */
const WARM_UP_MS = 400
/** Connections of an earlier load are gone from the server after this. */
const QUIET_LIMIT_MS = 10_000
const POLL_INTERVAL_MS = 10
/** One connection in this many may fail, as under a load of tens of thousands a second one now and then does. */
const COMPLETED_PER_ERROR = 1_000

/** Runs a load and measures it. Rejects when it failed, or when the bytes did not take the way that was asked for. */
export async function measureWindow(lab: Lab, plan: WindowPlan): Promise<WindowResult> {
  const serverBefore = await untilQuiet(lab, plan.otherConnections)
  await redirect(lab.namespaces, plan.proxy?.capturePorts)
  const client = await lab.startClient(plan)
  try {
    await sleep(WARM_UP_MS)
    const opened = await readAll(lab, plan, client.mark())
    await sleep(plan.seconds * 1_000)
    const closed = await readAll(lab, plan, client.stop())
    requireSuccess(plan, closed.client)
    await requireWay(lab, plan, {
      uploadBytes: closed.server.receivedBytes - serverBefore.receivedBytes,
      downloadBytes: closed.client.receivedBytes,
    })
    return difference(opened, closed)
  } finally {
    await client.close()
  }
}

/**
 * Resolves when the kernel has counted at least these bytes on the way that was asked for and none on the other one:
 * the control must not touch a proxy, and a measure of a proxy must not go round it.
 */
export async function requireWay(
  lab: Lab,
  { proxy, family }: Pick<WindowPlan, 'proxy' | 'family'>,
  least: { readonly uploadBytes: number; readonly downloadBytes: number },
): Promise<void> {
  const ways = await readWays(lab.namespaces)
  const { toProxy, fromProxy, pastProxy } = ways[family]
  const isOtherFamilySilent = FAMILIES.every(
    (each) => each === family || Object.values(ways[each]).every((bytes: number) => bytes === 0),
  )
  const isProven =
    proxy?.capturePorts === undefined
      ? toProxy + fromProxy === 0 && pastProxy >= least.uploadBytes + least.downloadBytes
      : pastProxy === 0 && toProxy >= least.uploadBytes && fromProxy >= least.downloadBytes
  if (isProven && isOtherFamilySilent) return
  throw new Error(
    `${proxy?.name ?? 'no proxy'} over ${family}: the ends counted ${JSON.stringify(least)}, ` +
      `the kernel ${JSON.stringify(ways)}`,
  )
}

/** Rejects when a load has failed more often than now and then. */
export function requireSuccess(
  { proxy, family, load }: Pick<WindowPlan, 'proxy' | 'family' | 'load'>,
  { errors, completed, firstError }: ClientCounts,
): void {
  if (errors * COMPLETED_PER_ERROR <= completed) return
  throw new Error(
    `${proxy?.name ?? 'no proxy'}, ${load} over ${family}: ${errors} connections failed, the first with ${firstError}`,
  )
}

/** Resolves when the server has no connection of an earlier load, and only `others` of loads that go on. */
export async function untilQuiet(lab: Lab, others = 0): Promise<ServerCounts> {
  const deadlineMs = performance.now() + QUIET_LIMIT_MS
  for (;;) {
    const counts = await lab.server.counts()
    if (counts.open <= others) return counts
    if (performance.now() > deadlineMs)
      throw new Error(`${counts.open - others} connections are left of a load that has ended`)
    await sleep(POLL_INTERVAL_MS)
  }
}

interface Readings {
  readonly client: ClientCounts
  readonly server: ServerCounts
  readonly cpuSeconds: number
}

async function readAll(
  lab: Lab,
  { proxy }: WindowPlan,
  readClient: ReturnType<ClientRun['mark']>,
): Promise<Readings> {
  const [cpuSeconds, client, server] = await Promise.all([
    proxy?.cpuSeconds() ?? 0,
    readClient,
    lab.server.counts(),
  ])
  return { cpuSeconds, client, server }
}

function difference(opened: Readings, closed: Readings): WindowResult {
  const clientSeconds = (closed.client.atNs - opened.client.atNs) / 1e9
  const serverSeconds = (closed.server.atNs - opened.server.atNs) / 1e9
  const uploadBytes = closed.server.receivedBytes - opened.server.receivedBytes
  const downloadBytes = closed.client.receivedBytes - opened.client.receivedBytes
  const completed = closed.client.completed - opened.client.completed
  const { p50Us, p99Us, p999Us } = closed.client
  return {
    uploadBytesPerSecond: uploadBytes / serverSeconds,
    downloadBytesPerSecond: downloadBytes / clientSeconds,
    completedPerSecond: completed / clientSeconds,
    p50Us,
    p99Us,
    p999Us,
    cpuSeconds: closed.cpuSeconds - opened.cpuSeconds,
    uploadBytes,
    downloadBytes,
    completed,
  }
}
