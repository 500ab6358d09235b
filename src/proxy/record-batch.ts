/**
 * What a thread tells the main thread about its connections, beside the counters in shared memory: traffic by
 * workload as differences, and access log lines. All of it can be cloned structurally.
 */
import type { AccessLog } from '../mesh/listener.ts'

/** A set of labels that rows of a thread refer to by `id` from now on. */
export interface TrafficSeries {
  /** Positive, unique in its thread and never used again. */
  readonly id: number
  /** The values of the traffic labels, in their order; those of the locality can be missing at the end. */
  readonly labels: readonly string[]
  /** Uids of the workloads at both ends, as far as they are known. */
  readonly workloads: readonly string[]
}

/** The columns of a row, in their order. `live`: connections that still add to the series. */
export const TRAFFIC_COLUMNS = ['id', 'opened', 'closed', 'sent', 'received', 'live'] as const

/** What a thread has counted by workload since its last batch. */
export interface TrafficBatch {
  readonly announced: readonly TrafficSeries[]
  /** Rows of {@link TRAFFIC_COLUMNS}: an id, then differences. */
  readonly rows: Float64Array
  /** Ids of which nothing comes any more, after the rows. */
  readonly forgotten: readonly number[]
}

/** Whole lines for one target of an access log. */
export interface LogLines {
  readonly target: AccessLog['target']
  readonly text: string
  readonly lineCount: number
}

/** From a thread to the main thread. */
export type RecordMessage =
  | {
      readonly kind: 'records'
      readonly traffic?: TrafficBatch
      readonly lines: readonly LogLines[]
      /** Lines that the thread has thrown away since its last batch, because too much was under way. */
      readonly droppedLines: number
    }
  /** Everything up to the request has been sent, and the shared counters are up to date. */
  | { readonly kind: 'records-flushed'; readonly request: number }

/** From the main thread to a thread. */
export type RecordRequest =
  /** The answer to each `records`. */
  | { readonly kind: 'records-taken' }
  /** Asks for everything up to now; the answer is `records-flushed`. */
  | { readonly kind: 'flush-records'; readonly request: number }
