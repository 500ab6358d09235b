/** The agent's Prometheus registry: every family of metrics-schema.ts, filled from the counters of others at scrape. */
import { Registry } from 'prom-client'

import { FAMILIES } from '../../core/family.ts'

import { ATTEMPT_RESULTS } from '../../proxy/connection-record.ts'
import { LISTENER_STATES } from '../../proxy/listener-ledger.ts'
import {
  CLOSE_REASON_NAMES,
  CONNECT_BUCKETS_SECONDS,
  SPLICE_FALLBACK_REASONS,
} from '../../proxy/stats-slots.ts'
import { BusyRatios } from './busy-ratios.ts'
import { METRICS } from './metrics-schema.ts'
import { podReaders } from './pod-metrics.ts'
import { registerScraped } from './scraped-metric.ts'

import type { Family } from '../../core/family.ts'
import type { ConnectTimes, ProxyTotals } from '../../proxy/proxy-totals.ts'
import type { Transport } from '../../proxy/transport.ts'
import type { OnDemandReadings } from '../../xds-client/sinks/on-demand.ts'
import type { MetricKey } from './metrics-schema.ts'
import type { PodReadings } from './pod-metrics.ts'
import type { ProcessReadings } from './process-stats.ts'
import type { Sample, SampleReader } from './scraped-metric.ts'
import type { WorkloadMetrics } from './workload-metrics.ts'

/** The source of the configuration as metrics see it. */
export interface SourceReadings {
  readonly isConnected: boolean
  readonly messages: Iterable<{ readonly type: string; readonly result: string; readonly count: number }>
  readonly resources: Iterable<{ readonly type: string; readonly count: number }>
  /** Streams that were opened anew, by why the last one ended. */
  readonly reconnects: Iterable<{ readonly reason: string; readonly count: number }>
  /** Absent where the mesh is known as a whole. */
  readonly onDemand?: OnDemandReadings
}

export interface MetricsDeps {
  readonly totals: ProxyTotals
  /** Has every thread bring its numbers up to date; called once per scrape, and bounded in time. */
  readonly refresh: () => Promise<void>
  readonly workloads: WorkloadMetrics
  readonly unhealthyEndpoints: () => Readonly<Record<Family, number>>
  readonly source: () => SourceReadings
  /** `undefined` where no pods are captured in their network namespaces. */
  readonly pods: () => PodReadings | undefined
  readonly process: ProcessReadings
  readonly engine: Pick<Transport, 'engine' | 'capabilities'>
  /** Threads that died and were started anew. */
  readonly workerRestarts: () => number
  readonly droppedLogLines: () => number
}

export interface MetricsOptions {
  readonly version: string
  /** The families that may be used. */
  readonly families: readonly Family[]
  /** Destinations that ask for mTLS may be reached in plain text, all of them or some. */
  readonly plaintextPermitted: boolean
}

/** A scrape: the text and its media type. */
export interface Scrape {
  readonly contentType: string
  readonly text: string
}

/** What Prometheus sees. */
export class Metrics {
  readonly #deps: MetricsDeps
  readonly #options: MetricsOptions
  readonly #registry = new Registry()
  readonly #busyRatios: BusyRatios

  constructor(deps: MetricsDeps, options: MetricsOptions) {
    this.#deps = deps
    this.#options = options
    this.#busyRatios = new BusyRatios(() => deps.totals.loads)
    const readers: Readonly<Record<MetricKey, SampleReader>> = {
      ...this.#agentReaders(),
      ...workloadReaders(deps.workloads),
      ...proxyReaders(deps.totals),
      ...podReaders(deps.pods),
    }
    for (const key of metricKeys()) registerScraped(this.#registry, METRICS[key], readers[key])
  }

  /** All families in the text format, with the numbers of this moment. */
  async scrape(): Promise<Scrape> {
    await this.#deps.refresh()
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() }
  }

  #agentReaders() {
    const { process, source, engine, unhealthyEndpoints, workerRestarts, droppedLogLines } = this.#deps
    const { version, families, plaintextPermitted } = this.#options
    return {
      build: () => [sample({ component: 'twinstack', tag: version }, 1)],
      endpointFamilyUnhealthy: () => perFamily(unhealthyEndpoints()),
      dualStackEnabled: () => [sample({}, families.length === FAMILIES.length ? 1 : 0)],
      xdsConnected: () => [sample({}, source().isConnected ? 1 : 0)],
      xdsMessages: () =>
        Array.from(source().messages, ({ type, result, count }) => sample({ type, result }, count)),
      xdsReconnects: () => Array.from(source().reconnects, ({ reason, count }) => sample({ reason }, count)),
      onDemandAddresses: () => {
        const { onDemand } = source()
        if (onDemand === undefined) return []
        return [
          sample({ state: 'pending' }, onDemand.pending),
          sample({ state: 'unknown' }, onDemand.unknown),
        ]
      },
      onDemandUnanswered: () => {
        const { onDemand } = source()
        if (onDemand === undefined) return []
        return [
          sample({ reason: 'timeout' }, onDemand.timedOut),
          sample({ reason: 'overflow' }, onDemand.overflowed),
        ]
      },
      plaintextPermitted: () => [sample({}, plaintextPermitted ? 1 : 0)],
      xdsResources: () => Array.from(source().resources, ({ type, count }) => sample({ type }, count)),
      accessLogDropped: () => [sample({}, droppedLogLines())],
      openDescriptors: () => optional(process.openDescriptors()),
      maxDescriptors: () => optional(process.maxDescriptors()),
      residentBytes: () => [sample({}, process.residentBytes())],
      cpuSeconds: () => [sample({}, process.cpuSeconds())],
      eventLoopLag: () => {
        const { p50, p99 } = process.eventLoopLag()
        return [sample({ quantile: '0.5' }, p50), sample({ quantile: '0.99' }, p99)]
      },
      workerBusyRatio: () =>
        Array.from([...process.busyRatios(), ...this.#busyRatios.take()], ([worker, ratio]) =>
          sample({ worker }, ratio),
        ),
      workerRestarts: () => [sample({}, workerRestarts())],
      engine: () => [sample({ engine: engine.engine }, 1)],
      capability: () =>
        Object.entries(engine.capabilities).map(([key, { isAvailable }]) =>
          sample({ name: snakeCase(key) }, isAvailable ? 1 : 0),
        ),
    } satisfies Partial<Record<MetricKey, SampleReader>>
  }
}

function workloadReaders(workloads: WorkloadMetrics) {
  return {
    connectionsOpened: () => workloads.samples('opened'),
    connectionsClosed: () => workloads.samples('closed'),
    sentBytes: () => workloads.samples('sent'),
    receivedBytes: () => workloads.samples('received'),
  } satisfies Partial<Record<MetricKey, SampleReader>>
}

function proxyReaders(totals: ProxyTotals) {
  return {
    listenerState: () => listenerStates(totals),
    downstreamConnections: () => perListener(totals, 'accepted'),
    downstreamActive: () => perListener(totals, 'active'),
    upstreamAttempts: () =>
      FAMILIES.flatMap((family) =>
        ATTEMPT_RESULTS.map((result) => sample({ family, result }, totals.attempts(family, result))),
      ),
    upstreamConnections: () =>
      FAMILIES.flatMap((downstream) =>
        FAMILIES.map((upstream) =>
          sample(
            { downstream_family: downstream, upstream_family: upstream },
            totals.upstreamConnections(downstream, upstream),
          ),
        ),
      ),
    // All of them, so that a rate is there before the first fallback.
    familyFallbacks: () =>
      totals.fallbacks.map(({ from, to, reason, count }) => sample({ from, to, reason }, count)),
    upstreamConnectSeconds: () =>
      FAMILIES.flatMap((family) => connectTimes(family, totals.connectTimes(family))),
    bytes: () => bytes(totals),
    spliceFallbacks: () =>
      SPLICE_FALLBACK_REASONS.map((reason) => sample({ reason }, totals.spliceFallbacks(reason))),
    connectionsEnded: () => CLOSE_REASON_NAMES.map((reason) => sample({ reason }, totals.closed(reason))),
  } satisfies Partial<Record<MetricKey, SampleReader>>
}

function listenerStates({ listeners }: ProxyTotals): readonly Sample[] {
  return [...listeners.counts].flatMap(([listener, byFamily]) =>
    FAMILIES.flatMap((family) => {
      const current = byFamily[family].state
      if (current === undefined) return []
      return LISTENER_STATES.map((state) => sample({ listener, family, state }, state === current ? 1 : 0))
    }),
  )
}

function perListener({ listeners }: ProxyTotals, what: 'accepted' | 'active'): readonly Sample[] {
  return [...listeners.counts].flatMap(([listener, byFamily]) =>
    FAMILIES.flatMap((family) => {
      const count = byFamily[family][what]
      return count === undefined ? [] : [sample({ listener, family }, count)]
    }),
  )
}

function connectTimes(family: Family, times: ConnectTimes): readonly Sample[] {
  const { name } = METRICS.upstreamConnectSeconds
  let below = 0
  const buckets = times.buckets.map((count, index): Sample => {
    below += count
    const bound = CONNECT_BUCKETS_SECONDS[index]
    const le = bound === undefined ? '+Inf' : String(bound)
    return { metricName: `${name}_bucket`, labels: { family, le }, value: below }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: { family }, value: times.sumSeconds },
    { metricName: `${name}_count`, labels: { family }, value: times.count },
  ]
}

function bytes(totals: ProxyTotals): readonly Sample[] {
  return FAMILIES.flatMap((family) => [
    sample({ family, side: 'downstream', direction: 'received' }, totals.bytes(family, 'downstreamReceived')),
    sample({ family, side: 'downstream', direction: 'sent' }, totals.bytes(family, 'downstreamSent')),
    sample({ family, side: 'upstream', direction: 'received' }, totals.bytes(family, 'upstreamReceived')),
    sample({ family, side: 'upstream', direction: 'sent' }, totals.bytes(family, 'upstreamSent')),
  ])
}

function perFamily(values: Readonly<Record<Family, number>>): readonly Sample[] {
  return FAMILIES.map((family) => sample({ family }, values[family]))
}

function optional(value: number | undefined): readonly Sample[] {
  return value === undefined ? [] : [sample({}, value)]
}

/** A name of the code as Prometheus writes names. */
function snakeCase(camelCase: string): string {
  return camelCase.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function sample(labels: Readonly<Record<string, string>>, value: number): Sample {
  return { labels, value }
}

function metricKeys(): readonly MetricKey[] {
  const isKey = (key: string): key is MetricKey => key in METRICS
  return Object.keys(METRICS).filter(isKey)
}
