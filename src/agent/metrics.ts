/** The agent's Prometheus registry: every family of metrics-schema.ts, filled from the counters of others at scrape. */
import { Registry } from 'prom-client'

import { FAMILIES } from '../core/family.ts'
import { FALLBACK_REASONS } from '../proxy/connection-record.ts'
import { CONNECT_BUCKETS_SECONDS, LISTENER_STATES } from '../proxy/proxy-stats.ts'
import { METRICS } from './metrics-schema.ts'
import { registerScraped } from './scraped-metric.ts'

import type { Family } from '../core/family.ts'
import type { ConnectTimes, ProxyStats } from '../proxy/proxy-stats.ts'
import type { MetricKey } from './metrics-schema.ts'
import type { ProcessReadings } from './process-stats.ts'
import type { Sample, SampleReader } from './scraped-metric.ts'
import type { WorkloadMetrics } from './workload-metrics.ts'

/** The source of the configuration as metrics see it. */
export interface SourceReadings {
  readonly isConnected: boolean
  readonly messages: Iterable<{ readonly type: string; readonly result: string; readonly count: number }>
  readonly resources: Iterable<{ readonly type: string; readonly count: number }>
}

export interface MetricsDeps {
  readonly stats: ProxyStats
  /** Brings the bytes of live connections into `stats`; called once per scrape. */
  readonly foldStats: () => void
  readonly workloads: WorkloadMetrics
  readonly unhealthyEndpoints: () => Readonly<Record<Family, number>>
  readonly source: () => SourceReadings
  readonly process: ProcessReadings
  readonly droppedLogLines: () => number
}

export interface MetricsOptions {
  readonly version: string
  /** The families that may be used. */
  readonly families: readonly Family[]
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

  constructor(deps: MetricsDeps, options: MetricsOptions) {
    this.#deps = deps
    this.#options = options
    const readers: Readonly<Record<MetricKey, SampleReader>> = {
      ...this.#agentReaders(),
      ...workloadReaders(deps.workloads),
      ...proxyReaders(deps.stats),
    }
    for (const key of metricKeys()) registerScraped(this.#registry, METRICS[key], readers[key])
  }

  /** All families in the text format, with the numbers of this moment. */
  async scrape(): Promise<Scrape> {
    this.#deps.foldStats()
    this.#deps.workloads.update()
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() }
  }

  #agentReaders() {
    const { process, source, unhealthyEndpoints, droppedLogLines } = this.#deps
    const { version, families } = this.#options
    return {
      build: () => [sample({ component: 'twinstack', tag: version }, 1)],
      endpointFamilyUnhealthy: () => perFamily(unhealthyEndpoints()),
      dualStackEnabled: () => [sample({}, families.length === FAMILIES.length ? 1 : 0)],
      xdsConnected: () => [sample({}, source().isConnected ? 1 : 0)],
      xdsMessages: () =>
        Array.from(source().messages, ({ type, result, count }) => sample({ type, result }, count)),
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
      workerBusyRatio: () => Array.from(process.busyRatios(), ([worker, ratio]) => sample({ worker }, ratio)),
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

function proxyReaders(stats: ProxyStats) {
  return {
    listenerState: () => listenerStates(stats),
    downstreamConnections: () => perListener(stats, 'accepted'),
    downstreamActive: () => perListener(stats, 'active'),
    upstreamAttempts: () =>
      FAMILIES.flatMap((family) =>
        Object.entries(stats.attempts[family]).map(([result, count]) => sample({ family, result }, count)),
      ),
    upstreamConnections: () =>
      FAMILIES.flatMap((downstream) =>
        FAMILIES.map((upstream) =>
          sample(
            { downstream_family: downstream, upstream_family: upstream },
            stats.upstreamConnections[downstream][upstream].count,
          ),
        ),
      ),
    familyFallbacks: () => fallbacks(stats),
    upstreamConnectSeconds: () =>
      FAMILIES.flatMap((family) => connectTimes(family, stats.connectTimes[family])),
    bytes: () => bytes(stats),
    connectionsEnded: () =>
      Object.entries(stats.closedConnections).map(([reason, count]) => sample({ reason }, count)),
  } satisfies Partial<Record<MetricKey, SampleReader>>
}

function listenerStates(stats: ProxyStats): readonly Sample[] {
  return [...stats.listeners].flatMap(([listener, byFamily]) =>
    FAMILIES.flatMap((family) => {
      const current = byFamily[family].state
      if (current === undefined) return []
      return LISTENER_STATES.map((state) => sample({ listener, family, state }, state === current ? 1 : 0))
    }),
  )
}

function perListener(stats: ProxyStats, count: 'accepted' | 'active'): readonly Sample[] {
  return [...stats.listeners].flatMap(([listener, byFamily]) =>
    FAMILIES.map((family) => sample({ listener, family }, byFamily[family][count])),
  )
}

/** Both changes of family with every reason, so that a rate is there before the first fallback. */
function fallbacks(stats: ProxyStats): readonly Sample[] {
  const counted = stats.fallbacks
  return [
    { from: 'ipv4', to: 'ipv6' },
    { from: 'ipv6', to: 'ipv4' },
  ].flatMap(({ from, to }) =>
    FALLBACK_REASONS.map((reason) => {
      const found = counted.find((each) => each.from === from && each.reason === reason)
      return sample({ from, to, reason }, found?.count ?? 0)
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

function bytes(stats: ProxyStats): readonly Sample[] {
  return FAMILIES.flatMap((family) => {
    const { downstream, upstream } = stats.bytes[family]
    return [
      sample({ family, side: 'downstream', direction: 'received' }, downstream.received),
      sample({ family, side: 'downstream', direction: 'sent' }, downstream.sent),
      sample({ family, side: 'upstream', direction: 'received' }, upstream.received),
      sample({ family, side: 'upstream', direction: 'sent' }, upstream.sent),
    ]
  })
}

function perFamily(values: Readonly<Record<Family, number>>): readonly Sample[] {
  return FAMILIES.map((family) => sample({ family }, values[family]))
}

function optional(value: number | undefined): readonly Sample[] {
  return value === undefined ? [] : [sample({}, value)]
}

function sample(labels: Readonly<Record<string, string>>, value: number): Sample {
  return { labels, value }
}

function metricKeys(): readonly MetricKey[] {
  const isKey = (key: string): key is MetricKey => key in METRICS
  return Object.keys(METRICS).filter(isKey)
}
