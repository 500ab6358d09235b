/**
 * Istio's istio_tcp_* metrics by workload, with ztunnel's labels: adds up what the TrafficCounters of all threads have
 * counted. Series of a workload that has gone are forgotten after a while, and their number is limited.
 */
import { CLOSE_REASONS } from '../../proxy/close-reason.ts'
import { TRAFFIC_COLUMNS } from '../../proxy/record-batch.ts'
import { TRAFFIC_LABELS } from './metrics-schema.ts'
import { namedLabels, UNKNOWN, withResponseFlags } from './traffic-labels.ts'

import type { Clock } from '../../core/clock.ts'
import type { CloseReason } from '../../proxy/close-reason.ts'
import type { TrafficBatch, TrafficSeries } from '../../proxy/record-batch.ts'
import type { Sample } from './scraped-metric.ts'

/** The four counters of one set of labels. */
export type WorkloadCounter = 'opened' | 'closed' | 'sent' | 'received'

export interface WorkloadMetricsDeps {
  readonly clock: Clock
  /** Whether a workload is in the mesh now. */
  readonly hasWorkload: (uid: string) => boolean
}

export interface WorkloadMetricsOptions {
  /** Series beyond this share one; default 10,000. */
  readonly maxSeries?: number
  /** How long the series of a workload stay after it has gone; default 300,000. */
  readonly keepGoneMs?: number
}

interface Series extends Record<WorkloadCounter, number> {
  readonly kind: 'own' | 'overflow'
  readonly key: string
  readonly labels: Readonly<Record<string, string>>
  readonly workloads: readonly string[]
  /** Connections that still add to it. */
  live: number
  isForgotten: boolean
}

/** A series as one thread knows it. */
interface Announced extends TrafficSeries {
  series: Series | undefined
  /** Connections of the thread that still add to it. */
  live: number
}

/** Series beyond this share one. */
export const DEFAULT_MAX_SERIES = 10_000
const DEFAULT_KEEP_GONE_MS = 300_000
const OVERFLOW = 'overflow'

/** What is published by workload. */
export class WorkloadMetrics {
  readonly #clock: Clock
  readonly #hasWorkload: (uid: string) => boolean
  readonly #maxSeries: number
  readonly #keepGoneMs: number
  readonly #series = new Map<string, Series>()
  readonly #overflow = new Map<string, Series>()
  readonly #byWorkload = new Map<string, Set<Series>>()
  /** Only of those that have series. */
  readonly #goneSinceMs = new Map<string, number>()
  readonly #announced = new Map<string, Map<number, Announced>>()

  constructor(deps: WorkloadMetricsDeps, options: WorkloadMetricsOptions = {}) {
    this.#clock = deps.clock
    this.#hasWorkload = deps.hasWorkload
    this.#maxSeries = options.maxSeries ?? DEFAULT_MAX_SERIES
    this.#keepGoneMs = options.keepGoneMs ?? DEFAULT_KEEP_GONE_MS
  }

  /** Adds what a thread has counted since its last batch. Batches of one thread come in their order. */
  merge(thread: string, { announced, rows, forgotten }: TrafficBatch): void {
    let known = this.#announced.get(thread)
    if (known === undefined) {
      known = new Map()
      this.#announced.set(thread, known)
    }
    for (const series of announced) known.set(series.id, { ...series, series: undefined, live: 0 })
    for (let start = 0; start < rows.length; start += TRAFFIC_COLUMNS.length) {
      const [id = 0, opened = 0, closed = 0, sent = 0, received = 0, live = 0] = rows.subarray(start)
      const announcement = known.get(id)
      if (announcement === undefined)
        throw new TypeError(`thread ${thread} counts for series ${id}, which is not known`)
      const series = this.#seriesOf(announcement)
      series.opened += opened
      series.closed += closed
      series.sent += sent
      series.received += received
      series.live += live
      announcement.live += live
    }
    for (const id of forgotten) known.delete(id)
  }

  /** A thread died. Its open connections count as closed for `reason`. */
  threadGone(thread: string, reason: CloseReason): void {
    const known = this.#announced.get(thread) ?? new Map<number, Announced>()
    this.#announced.delete(thread)
    for (const { series, labels, workloads, live } of known.values()) {
      if (series === undefined || live === 0) continue
      series.live -= live
      const flagged = withResponseFlags(labels, CLOSE_REASONS[reason].responseFlag)
      this.#seriesWith(flagged, workloads).closed += live
    }
  }

  /**
   * Workloads have come, changed or left. The series of one that has left go after a while, unless it comes back or has
   * connections still. Costs the number of workloads that changed or of those that have series, whichever is less.
   */
  workloadsChanged(changed: ReadonlySet<string>): void {
    const isFew = changed.size <= this.#byWorkload.size
    for (const uid of isFew ? changed : this.#byWorkload.keys()) {
      if (!(isFew ? this.#byWorkload : changed).has(uid)) continue
      if (this.#hasWorkload(uid)) this.#goneSinceMs.delete(uid)
      else this.#goneSinceMs.set(uid, this.#clock.nowMs())
    }
  }

  /** How many sets of labels are held, without the overflow. */
  get seriesCount(): number {
    return this.#series.size
  }

  /** Forgets the series of workloads that have been gone for long enough. */
  forgetGone(): void {
    const nowMs = this.#clock.nowMs()
    for (const [uid, sinceMs] of this.#goneSinceMs) {
      if (nowMs - sinceMs < this.#keepGoneMs) continue
      for (const series of this.#byWorkload.get(uid) ?? []) if (series.live === 0) this.#forget(series)
    }
  }

  /** The series of one counter. */
  *samples(counter: WorkloadCounter): Iterable<Sample> {
    for (const map of [this.#series, this.#overflow]) {
      for (const series of map.values()) {
        if (isCounted(series, counter)) yield { labels: series.labels, value: series[counter] }
      }
    }
  }

  /** Where a thread's numbers go. What has overflowed stays there until its connections have ended. */
  #seriesOf(announced: Announced): Series {
    const held = announced.series
    const canStay = held !== undefined && !held.isForgotten && (held.kind === 'own' || announced.live > 0)
    if (canStay) return held
    announced.series = this.#seriesWith(announced.labels, announced.workloads)
    return announced.series
  }

  #seriesWith(labels: readonly string[], workloads: readonly string[]): Series {
    const key = JSON.stringify(labels)
    const held = this.#series.get(key)
    if (held !== undefined) return held
    if (this.#series.size >= this.#maxSeries) this.forgetGone()
    if (this.#series.size >= this.#maxSeries) return this.#overflowOf(labels[0] ?? UNKNOWN)
    const series = newSeries('own', key, namedLabels(labels), workloads)
    this.#series.set(key, series)
    for (const uid of workloads) {
      const ofWorkload = this.#byWorkload.get(uid)
      if (ofWorkload === undefined) this.#byWorkload.set(uid, new Set([series]))
      else ofWorkload.add(series)
      // Connections and batches outlive a workload: nobody will say of this one that it has left.
      if (!this.#hasWorkload(uid) && !this.#goneSinceMs.has(uid))
        this.#goneSinceMs.set(uid, this.#clock.nowMs())
    }
    return series
  }

  #overflowOf(reporter: string): Series {
    let series = this.#overflow.get(reporter)
    if (series === undefined) {
      const labels = namedLabels(TRAFFIC_LABELS.map(() => OVERFLOW))
      series = newSeries('overflow', reporter, { ...labels, reporter }, [])
      this.#overflow.set(reporter, series)
    }
    return series
  }

  #forget(series: Series): void {
    series.isForgotten = true
    this.#series.delete(series.key)
    for (const uid of series.workloads) {
      const ofWorkload = this.#byWorkload.get(uid)
      ofWorkload?.delete(series)
      if (ofWorkload?.size !== 0) continue
      this.#byWorkload.delete(uid)
      this.#goneSinceMs.delete(uid)
    }
  }
}

function newSeries(
  kind: Series['kind'],
  key: string,
  labels: Readonly<Record<string, string>>,
  workloads: readonly string[],
): Series {
  return {
    kind,
    key,
    labels,
    workloads,
    opened: 0,
    closed: 0,
    sent: 0,
    received: 0,
    live: 0,
    isForgotten: false,
  }
}

/** Bytes belong to the series with which a connection was opened, and are there with it from the start. */
function isCounted(series: Series, counter: WorkloadCounter): boolean {
  return counter === 'closed' ? series.closed > 0 : series.opened > 0
}
