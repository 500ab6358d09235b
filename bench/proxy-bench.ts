/** twinstack against other proxies: all of them in one lab, every figure of all of them in the same minutes. */
import os from 'node:os'

import { readDescriptorLimit } from '../src/agent/metrics/process-stats.ts'
import { Lab } from './lab/lab.ts'
import { measureBulk } from './measures/bulk.ts'
import { measureConnections, measureSetup } from './measures/connections.ts'
import { measureIdle } from './measures/idle.ts'
import { measureFallback } from './measures/fallback.ts'
import { measureObserved } from './measures/observed.ts'
import { measureRequests } from './measures/requests.ts'
import { measureSlowReaders } from './measures/slow-readers.ts'
import { measureTransfer } from './measures/transfer.ts'
import { measureWorkers } from './measures/workers.ts'
import { ENVOY } from './proxies/envoy.ts'
import { HAPROXY, HAPROXY_1M } from './proxies/haproxy.ts'
import { NGINX } from './proxies/nginx.ts'
import { PLAIN, RunningProxy } from './proxies/running-proxy.ts'
import { baselineProgram, twinstackProgram } from './proxies/twinstack.ts'
import { CONTROL, Figures } from './report/figures.ts'
import { judge } from './report/goals.ts'
import { readMachineFacts } from './report/machine-facts.ts'

import type { Measure } from './measures/measure.ts'
import type { BenchOptions, MeasureName, PeerName } from './options.ts'
import type { ProxyProgram } from './proxies/proxy-program.ts'
import type { Contender, Report } from './report/report.ts'

const MEASURES: Readonly<Record<MeasureName, Measure>> = {
  bulk: measureBulk,
  connections: measureConnections,
  requests: measureRequests,
  setup: measureSetup,
  idle: measureIdle,
  slow: measureSlowReaders,
  fallback: measureFallback,
  workers: measureWorkers,
  observed: measureObserved,
  transfer: measureTransfer,
}

const PEERS: Readonly<Record<PeerName, ProxyProgram>> = {
  haproxy: HAPROXY,
  'haproxy-1m': HAPROXY_1M,
  nginx: NGINX,
  envoy: ENVOY,
}

/** What a proxy has open beside connections. */
const OWN_DESCRIPTORS = 200
const BYTES_PER_MIB = 1_024 * 1_024

export interface ProxyBenchDeps {
  /** Tells the operator what is going on. */
  readonly note: (text: string) => void
  /** Ends the run when the operator asks for it; the lab is removed all the same. */
  readonly signal: AbortSignal
}

/** Runs the measures that are asked for. One that fails a check is told as a failure: a wrong number is worse than none. */
export async function runProxyBench(
  options: BenchOptions,
  { note, signal }: ProxyBenchDeps,
): Promise<Report> {
  const startedAt = new Date().toISOString()
  const machine = readMachineFacts()
  const engines = options.engines.map((engine) =>
    twinstackProgram({
      engine,
      ...(options.profileFolder !== undefined && { profileFolder: options.profileFolder }),
    }),
  )
  const { peers, leftOut } = await findPeers(candidatesOf(options))
  for (const reason of leftOut) note(`left out: ${reason}`)
  const programs = [...engines, ...peers]
  const figures = new Figures()
  const idleConnections = affordableConnections(options.idleConnections, note)
  const failures: string[] = []
  const lab = await Lab.start()
  const proxies: RunningProxy[] = []
  try {
    for (const program of programs) proxies.push(await RunningProxy.start(lab, program, PLAIN))
    for (const name of options.only) {
      note(`${name} …`)
      const measured = MEASURES[name]({
        ...options,
        ...{ lab, figures, programs, engines, proxies, note },
        idleConnections,
        transferBytes: options.transferMib * BYTES_PER_MIB,
        cores: os.availableParallelism(),
      })
      // One measure that fails does not cost the operator the others.
      await untilAborted(signal, measured).catch((reason: unknown) => {
        signal.throwIfAborted()
        failures.push(`${name}: ${reason instanceof Error ? reason.message : String(reason)}`)
        note(failures.at(-1) ?? '')
      })
    }
  } finally {
    await Promise.all(proxies.map((proxy) => proxy.close()))
    await lab.close()
  }
  const rows = figures.rows()
  return {
    startedAt,
    machine,
    rounds: options.rounds,
    seconds: options.seconds,
    contenders: await describeContenders(engines, peers),
    leftOut,
    failures,
    rows,
    verdicts: judge(rows, engines[0]?.name ?? ''),
  }
}

/** What twinstack is to be measured beside. */
function candidatesOf({ engines, baselineFolder, peers }: BenchOptions): readonly ProxyProgram[] {
  const baseline =
    baselineFolder === undefined ? [] : [baselineProgram(baselineFolder, { engine: engines[0] ?? 'auto' })]
  return [...baseline, ...peers.map((name) => PEERS[name])]
}

/** The peers that are here, and why the others are not. */
async function findPeers(
  candidates: readonly ProxyProgram[],
): Promise<{ readonly peers: readonly ProxyProgram[]; readonly leftOut: readonly string[] }> {
  const peers: ProxyProgram[] = []
  const leftOut: string[] = []
  for (const program of candidates) {
    const missing = await program.missing()
    if (missing === undefined) peers.push(program)
    else leftOut.push(missing)
  }
  return { peers, leftOut }
}

/** As many idle connections as were asked for, or as descriptors allow: a proxy needs two for each. */
function affordableConnections(asked: number, note: (text: string) => void): number {
  const limit = readDescriptorLimit() ?? Infinity
  // twinstack accepts no more at 90 % of the limit; round numbers read better.
  const affordable = Math.floor((limit * 0.89 - OWN_DESCRIPTORS) / 200) * 100
  if (affordable < asked) note(`${affordable} idle connections: the limit of descriptors is ${limit}`)
  return Math.min(asked, affordable)
}

async function describeContenders(
  engines: readonly ProxyProgram[],
  peers: readonly ProxyProgram[],
): Promise<readonly Contender[]> {
  const describe = async (program: ProxyProgram, kind: Contender['kind']): Promise<Contender> => ({
    name: program.name,
    description: await program.describe(),
    kind,
  })
  return [
    { name: CONTROL, description: 'the node only routes', kind: 'control' },
    ...(await Promise.all(engines.map((program) => describe(program, 'twinstack')))),
    ...(await Promise.all(peers.map((program) => describe(program, 'peer')))),
  ]
}

/** Settles like `work`, or rejects at once when the operator has had enough. */
async function untilAborted(signal: AbortSignal, work: Promise<void>): Promise<void> {
  signal.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const abort = (): void => {
      reject(new Error('stopped'))
    }
    signal.addEventListener('abort', abort)
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort)
    })
  })
}
