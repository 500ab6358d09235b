/**
 * Istio's istio_tcp_* metrics by workload, with ztunnel's labels. Bytes are counted while connections live. Series of
 * a workload that has gone are forgotten after a while, and their number is limited.
 */
import { CLOSE_REASONS } from '../proxy/close-reason.ts'
import { TRAFFIC_LABELS } from './metrics-schema.ts'

import type { Clock } from '../core/clock.ts'
import type { WorkloadLabels } from '../mesh/endpoint.ts'
import type {
  ClosedConnectionRecord,
  ConnectionObserver,
  ConnectionRecord,
} from '../proxy/connection-record.ts'
import type { TrafficLabel } from './metrics-schema.ts'
import type { Sample } from './scraped-metric.ts'

/** The four counters of one set of labels. */
export type WorkloadCounter = 'opened' | 'closed' | 'sent' | 'received'

export interface WorkloadMetricsDeps {
  readonly clock: Clock
  /** The live connections with their bytes so far. */
  readonly liveConnections: () => Iterable<ConnectionRecord>
}

export interface WorkloadMetricsOptions {
  /** Series beyond this share one; default 10,000. */
  readonly maxSeries?: number
  /** How long the series of a workload stay after it has gone; default 300,000. */
  readonly keepGoneMs?: number
}

interface Series extends Record<WorkloadCounter, number> {
  readonly key: string
  readonly labels: Readonly<Record<string, string>>
  readonly workloads: readonly string[]
  /** Connections that still add to it. */
  live: number
}

interface LiveConnection {
  readonly series: Series
  /** What of its bytes the series has. */
  sent: number
  received: number
}

/** Series beyond this share one. */
export const DEFAULT_MAX_SERIES = 10_000
const DEFAULT_KEEP_GONE_MS = 300_000
const UNKNOWN = 'unknown'
const OVERFLOW = 'overflow'
const NO_FLAGS = '-'

/**
 * Counts by workload. A connection is opened with response_flags `-` and closed with those of its close reason, as
 * ztunnel does. What a router rejects is not counted here.
 */
export class WorkloadMetrics implements ConnectionObserver {
  readonly #clock: Clock
  readonly #liveConnections: () => Iterable<ConnectionRecord>
  readonly #maxSeries: number
  readonly #keepGoneMs: number
  readonly #series = new Map<string, Series>()
  readonly #overflow = new Map<string, Series>()
  readonly #byWorkload = new Map<string, Set<Series>>()
  readonly #goneSinceMs = new Map<string, number>()
  readonly #live = new Map<number, LiveConnection>()

  constructor(deps: WorkloadMetricsDeps, options: WorkloadMetricsOptions = {}) {
    this.#clock = deps.clock
    this.#liveConnections = deps.liveConnections
    this.#maxSeries = options.maxSeries ?? DEFAULT_MAX_SERIES
    this.#keepGoneMs = options.keepGoneMs ?? DEFAULT_KEEP_GONE_MS
  }

  connected(record: ConnectionRecord): void {
    const series = this.#seriesOf(record, NO_FLAGS)
    series.opened++
    series.live++
    this.#live.set(record.id, { series, sent: 0, received: 0 })
  }

  closed(record: ClosedConnectionRecord): void {
    const live = this.#live.get(record.id)
    if (live !== undefined) {
      addBytes(live, record)
      live.series.live--
      this.#live.delete(record.id)
    } else if (record.upstream === undefined) return
    else this.#seriesOf(record, NO_FLAGS).opened++
    this.#seriesOf(record, CLOSE_REASONS[record.closeReason].responseFlag).closed++
  }

  /** A workload left the mesh: its series go after a while, unless it comes back or has connections still. */
  workloadRemoved(uid: string): void {
    if (this.#byWorkload.has(uid)) this.#goneSinceMs.set(uid, this.#clock.nowMs())
  }

  /** A workload is in the mesh (again). */
  workloadSeen(uid: string): void {
    this.#goneSinceMs.delete(uid)
  }

  /** How many sets of labels are held, without the overflow. */
  get seriesCount(): number {
    return this.#series.size
  }

  /** Brings the counters up to date; call it once before `samples` are read. Costs O(live connections). */
  update(): void {
    for (const record of this.#liveConnections()) {
      const live = this.#live.get(record.id)
      if (live !== undefined) addBytes(live, record)
    }
    this.#forgetGone()
  }

  /** The series of one counter. */
  *samples(counter: WorkloadCounter): Iterable<Sample> {
    for (const map of [this.#series, this.#overflow]) {
      for (const series of map.values()) {
        if (isCounted(series, counter)) yield { labels: series.labels, value: series[counter] }
      }
    }
  }

  #seriesOf(record: ConnectionRecord, responseFlags: string): Series {
    const labels = trafficLabels(record, responseFlags)
    const key = JSON.stringify(Object.values(labels))
    const held = this.#series.get(key)
    if (held !== undefined) return held
    if (this.#series.size >= this.#maxSeries) this.#forgetGone()
    if (this.#series.size >= this.#maxSeries) return this.#overflowOf(labels['reporter'] ?? UNKNOWN)
    const ends = [record.labels.source, record.upstream?.endpoint?.workload]
    const workloads = ends.flatMap((end) => (end === undefined || end.uid === '' ? [] : [end.uid]))
    const series = newSeries(key, labels, workloads)
    this.#series.set(key, series)
    for (const uid of workloads) {
      const ofWorkload = this.#byWorkload.get(uid)
      if (ofWorkload === undefined) this.#byWorkload.set(uid, new Set([series]))
      else ofWorkload.add(series)
    }
    return series
  }

  #overflowOf(reporter: string): Series {
    let series = this.#overflow.get(reporter)
    if (series === undefined) {
      const labels = Object.fromEntries(TRAFFIC_LABELS.map((label) => [label, OVERFLOW]))
      series = newSeries(reporter, { ...labels, reporter }, [])
      this.#overflow.set(reporter, series)
    }
    return series
  }

  #forgetGone(): void {
    const nowMs = this.#clock.nowMs()
    for (const [uid, sinceMs] of this.#goneSinceMs) {
      if (nowMs - sinceMs < this.#keepGoneMs) continue
      const ofWorkload = this.#byWorkload.get(uid) ?? new Set()
      for (const series of ofWorkload) if (series.live === 0) this.#forget(series)
      if (ofWorkload.size === 0) this.#goneSinceMs.delete(uid)
    }
  }

  #forget(series: Series): void {
    this.#series.delete(series.key)
    for (const uid of series.workloads) {
      const ofWorkload = this.#byWorkload.get(uid)
      ofWorkload?.delete(series)
      if (ofWorkload?.size === 0) this.#byWorkload.delete(uid)
    }
  }
}

function newSeries(
  key: string,
  labels: Readonly<Record<string, string>>,
  workloads: readonly string[],
): Series {
  return { key, labels, workloads, opened: 0, closed: 0, sent: 0, received: 0, live: 0 }
}

/** Bytes belong to the series with which a connection was opened, and are there with it from the start. */
function isCounted(series: Series, counter: WorkloadCounter): boolean {
  return counter === 'closed' ? series.closed > 0 : series.opened > 0
}

/** `sent` is what the client was sent: Istio counts the response, whichever end reports. */
function addBytes(live: LiveConnection, { bytes }: ConnectionRecord): void {
  live.series.sent += bytes.downstreamSent - live.sent
  live.series.received += bytes.downstreamReceived - live.received
  live.sent = bytes.downstreamSent
  live.received = bytes.downstreamReceived
}

function trafficLabels(record: ConnectionRecord, responseFlags: string): Readonly<Record<string, string>> {
  const { source, service } = record.labels
  const destination = record.upstream?.endpoint?.workload
  const labels: Partial<Record<TrafficLabel, string>> = {
    reporter: record.direction === 'inbound' ? 'destination' : 'source',
    source_workload: orUnknown(source?.name),
    source_canonical_service: orUnknown(source?.canonicalName),
    source_canonical_revision: orUnknown(source?.canonicalRevision),
    source_workload_namespace: orUnknown(source?.namespace),
    // Identities are known to a connection with mTLS only.
    source_principal: UNKNOWN,
    source_app: orUnknown(source?.canonicalName),
    source_version: orUnknown(source?.canonicalRevision),
    source_cluster: orUnknown(source?.cluster),
    destination_service: orUnknown(service?.hostname),
    destination_service_namespace: orUnknown(service?.namespace),
    destination_service_name: orUnknown(service?.name),
    destination_workload: orUnknown(destination?.name),
    destination_canonical_service: orUnknown(destination?.canonicalName),
    destination_canonical_revision: orUnknown(destination?.canonicalRevision),
    destination_workload_namespace: orUnknown(destination?.namespace),
    destination_principal: UNKNOWN,
    destination_app: orUnknown(destination?.canonicalName),
    destination_version: orUnknown(destination?.canonicalRevision),
    destination_cluster: orUnknown(destination?.cluster),
    request_protocol: 'tcp',
    response_flags: responseFlags,
    connection_security_policy: UNKNOWN,
    ...((source !== undefined || destination !== undefined) && localityLabels(source, destination)),
  }
  return labels
}

function localityLabels(
  source: WorkloadLabels | undefined,
  destination: WorkloadLabels | undefined,
): Readonly<Partial<Record<TrafficLabel, string>>> {
  return {
    source_region: orUnknown(source?.locality.region),
    source_zone: orUnknown(source?.locality.zone),
    destination_region: orUnknown(destination?.locality.region),
    destination_zone: orUnknown(destination?.locality.zone),
  }
}

function orUnknown(value: string | undefined): string {
  return value === undefined || value === '' ? UNKNOWN : value
}
