/**
 * Counts connections and their bytes by workload, beside the connections: in a worker thread, or in the only one.
 * What it has counted leaves it as differences, which WorkloadMetrics adds up and publishes.
 */
import { CLOSE_REASONS } from '../../proxy/close-reason.ts'
import { TRAFFIC_COLUMNS } from '../../proxy/record-batch.ts'
import { trafficLabelValues } from './traffic-labels.ts'

import type { Clock } from '../../core/clock.ts'
import type { WorkloadLabels } from '../../mesh/endpoint.ts'
import type { RouteLabels } from '../../mesh/router.ts'
import type {
  ClosedConnectionRecord,
  ConnectionObserver,
  ConnectionRecord,
} from '../../proxy/connection-record.ts'
import type { TrafficBatch, TrafficSeries } from '../../proxy/record-batch.ts'
import type { RelayBytes } from '../../proxy/transport.ts'
import type { Reporter } from './traffic-labels.ts'

/** How long a series without connections is kept in case that there are more. */
export const KEEP_IDLE_MS = 300_000
const SWEEP_INTERVAL_MS = 60_000
const NO_FLAGS = '-'
/** The key for endpoints whose workload is not known. */
const NO_WORKLOAD = {}

interface Series extends TrafficSeries {
  readonly key: string
  opened: number
  closed: number
  sent: number
  received: number
  /** Change since the last batch. */
  live: number
  /** Connections that add to it now. */
  connections: number
  usedAtMs: number
  isDirty: boolean
  isForgotten: boolean
}

/** The series of connections with the same labels and endpoint workload, by response flags. */
interface Flow {
  readonly labels: RouteLabels
  readonly destination: WorkloadLabels | undefined
  readonly series: Readonly<Record<Reporter, Map<string, Series>>>
}

interface LiveConnection {
  readonly series: Series
  readonly bytes: Readonly<RelayBytes>
  /** What of the bytes the series has. */
  sent: number
  received: number
}

/**
 * A connection is opened with response_flags `-` and closed with those of its close reason, as ztunnel does. What a
 * router rejects is not counted. Costs lookups by identity per connection: labels and workloads are objects of the
 * mesh that many connections share; where they are not the same object, their content is compared.
 */
export class TrafficCounter implements ConnectionObserver {
  readonly #clock: Clock
  readonly #flows = new WeakMap<RouteLabels, WeakMap<object, Flow>>()
  readonly #series = new Map<string, Series>()
  readonly #live = new Map<number, LiveConnection>()
  #announced: Series[] = []
  #dirty: Series[] = []
  #lastId = 0
  #sweptAtMs: number

  constructor(deps: { readonly clock: Clock }) {
    this.#clock = deps.clock
    this.#sweptAtMs = deps.clock.nowMs()
  }

  connected(record: ConnectionRecord): void {
    const series = this.#seriesOf(record, NO_FLAGS)
    series.opened++
    series.live++
    series.connections++
    this.#live.set(record.id, { series, bytes: record.bytes, sent: 0, received: 0 })
  }

  closed(record: ClosedConnectionRecord): void {
    const live = this.#live.get(record.id)
    if (live !== undefined) {
      this.#addBytes(live, record.bytes)
      live.series.live--
      live.series.connections--
      this.#touch(live.series)
      this.#live.delete(record.id)
    } else if (record.upstream === undefined) return
    else this.#seriesOf(record, NO_FLAGS).opened++
    this.#seriesOf(record, CLOSE_REASONS[record.closeReason].responseFlag).closed++
  }

  /**
   * What has been counted since the last call, with the bytes of live connections up to now; `undefined` when there is
   * nothing. Costs O(live connections).
   */
  takeBatch(): TrafficBatch | undefined {
    for (const live of this.#live.values()) this.#addBytes(live, live.bytes)
    const nowMs = this.#clock.nowMs()
    const announced = this.#announced.map(({ id, labels, workloads }) => ({ id, labels, workloads }))
    const rows = new Float64Array(this.#dirty.length * TRAFFIC_COLUMNS.length)
    for (const [index, series] of this.#dirty.entries()) takeRow(series, rows, index, nowMs)
    this.#announced = []
    this.#dirty = []
    const forgotten = this.#forgetIdle(nowMs)
    if (rows.length === 0 && forgotten.length === 0) return undefined
    return { announced, rows, forgotten }
  }

  #seriesOf(record: ConnectionRecord, responseFlags: string): Series {
    const flow = this.#flowOf(record.labels, record.upstream?.endpoint?.workload)
    const reporter = record.direction === 'inbound' ? 'destination' : 'source'
    const known = flow.series[reporter].get(responseFlags)
    if (known !== undefined && !known.isForgotten) {
      this.#touch(known)
      return known
    }
    const series = this.#announce(flow, reporter, responseFlags)
    flow.series[reporter].set(responseFlags, series)
    this.#touch(series)
    return series
  }

  #flowOf(labels: RouteLabels, destination: WorkloadLabels | undefined): Flow {
    let flows = this.#flows.get(labels)
    if (flows === undefined) {
      flows = new WeakMap()
      this.#flows.set(labels, flows)
    }
    let flow = flows.get(destination ?? NO_WORKLOAD)
    if (flow === undefined) {
      flow = { labels, destination, series: { source: new Map(), destination: new Map() } }
      flows.set(destination ?? NO_WORKLOAD, flow)
    }
    return flow
  }

  #announce({ labels, destination }: Flow, reporter: Reporter, responseFlags: string): Series {
    const values = trafficLabelValues({ reporter, labels, destination, responseFlags })
    const key = JSON.stringify(values)
    const held = this.#series.get(key)
    if (held !== undefined) return held
    const uids = [labels.source?.uid ?? '', destination?.uid ?? '']
    const series: Series = {
      key,
      id: ++this.#lastId,
      labels: values,
      workloads: uids.filter((uid) => uid !== ''),
      opened: 0,
      closed: 0,
      sent: 0,
      received: 0,
      live: 0,
      connections: 0,
      usedAtMs: 0,
      isDirty: false,
      isForgotten: false,
    }
    this.#series.set(key, series)
    this.#announced.push(series)
    return series
  }

  #touch(series: Series): void {
    if (series.isDirty) return
    series.isDirty = true
    this.#dirty.push(series)
  }

  /** `sent` is what the client was sent: Istio counts the response, whichever end reports. */
  #addBytes(live: LiveConnection, bytes: Readonly<RelayBytes>): void {
    const { downstreamSent: sent, downstreamReceived: received } = bytes
    if (sent === live.sent && received === live.received) return
    live.series.sent += sent - live.sent
    live.series.received += received - live.received
    live.sent = sent
    live.received = received
    this.#touch(live.series)
  }

  #forgetIdle(nowMs: number): readonly number[] {
    if (nowMs - this.#sweptAtMs < SWEEP_INTERVAL_MS) return []
    this.#sweptAtMs = nowMs
    const forgotten: number[] = []
    for (const series of this.#series.values()) {
      if (series.connections > 0 || nowMs - series.usedAtMs < KEEP_IDLE_MS) continue
      series.isForgotten = true
      this.#series.delete(series.key)
      forgotten.push(series.id)
    }
    return forgotten
  }
}

/** Writes the differences in the order of TRAFFIC_COLUMNS and starts them anew. */
function takeRow(series: Series, rows: Float64Array, index: number, nowMs: number): void {
  const { id, opened, closed, sent, received, live } = series
  rows.set([id, opened, closed, sent, received, live], index * TRAFFIC_COLUMNS.length)
  series.opened = series.closed = series.sent = series.received = series.live = 0
  series.usedAtMs = nowMs
  series.isDirty = false
}
