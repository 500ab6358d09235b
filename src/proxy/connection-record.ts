/** What a connection tells about itself: to the admin list while it lives, to metrics and access log when it ends. */
import type { Family } from '../core/family.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Endpoint } from '../mesh/endpoint.ts'
import type { AccessLog, TrafficDirection } from '../mesh/listener.ts'
import type { Pod } from '../mesh/pod.ts'
import type { RouteLabels } from '../mesh/router.ts'
import type { CloseReason } from './close-reason.ts'
import type { RelayBytes } from './transport.ts'

/** How one attempt to connect ended. `lost_race`: another address was first. `cancelled`: the client left. */
export const ATTEMPT_RESULTS = [
  'connected',
  'refused',
  'unreachable',
  'timeout',
  'reset',
  'source_unavailable',
  'lost_race',
  'cancelled',
  'failed',
] as const

export type AttemptResult = (typeof ATTEMPT_RESULTS)[number]

export interface AttemptRecord {
  readonly endpoint: Endpoint
  readonly address: SocketAddress
  readonly result: AttemptResult
  readonly durationMs: number
}

/**
 * Why a connection left the first family of its order. `unhealthy`: that family of the endpoint failed a moment ago
 * and was not tried first. `slow`: it was still connecting when the other one had connected.
 */
export const FALLBACK_REASONS = ['refused', 'unreachable', 'timeout', 'slow', 'unhealthy', 'failed'] as const

export type FallbackReason = (typeof FALLBACK_REASONS)[number]

/** The family changed although the endpoint has the preferred one. */
export interface Fallback {
  readonly from: Family
  readonly to: Family
  readonly reason: FallbackReason
}

/** Where a connection got to upstream. */
export interface UpstreamRecord {
  readonly name: string
  /** The endpoint that connected; absent while racing and after a failure. */
  readonly endpoint?: Endpoint | undefined
  readonly remote?: SocketAddress | undefined
  /** The source address of the upstream connection. */
  readonly local?: SocketAddress | undefined
  /** Whether `local` is an address of the client, of either family; absent where nobody asked for it. */
  readonly isSourcePreserved?: boolean | undefined
}

/** A connection as it is now. Of a closed one, as it was at its end. */
export interface ConnectionRecord {
  /** Unique within the process, in the order of acceptance. */
  readonly id: number
  readonly listener: string
  readonly direction: TrafficDirection
  /** Unix time of acceptance. */
  readonly openedAtMs: number
  readonly client: SocketAddress
  readonly destination: SocketAddress
  /** Whose connection it is; absent where it was not captured within a pod. */
  readonly pod?: Pod | undefined
  readonly family: Family
  readonly labels: RouteLabels
  readonly accessLogs: readonly AccessLog[]
  readonly upstream?: UpstreamRecord | undefined
  readonly attempts: readonly AttemptRecord[]
  readonly fallback?: Fallback | undefined
  /** Of a live connection the relay's own counters: whoever keeps the record sees them go on. */
  readonly bytes: Readonly<RelayBytes>
}

/** How a connection ended. */
export interface ConnectionEnd {
  readonly durationMs: number
  readonly closeReason: CloseReason
  /** What exactly the reason refers to, for the log: a policy, a cluster, the attempts that failed. Can be empty. */
  readonly detail: string
}

/** A connection that has ended. */
export interface ClosedConnectionRecord extends ConnectionRecord, ConnectionEnd {}

/** The last record of a connection. Written out: of a spread V8 would make each object in thirteen steps. */
export function closedRecord(last: ConnectionRecord, end: ConnectionEnd): ClosedConnectionRecord {
  return {
    id: last.id,
    listener: last.listener,
    direction: last.direction,
    openedAtMs: last.openedAtMs,
    client: last.client,
    destination: last.destination,
    pod: last.pod,
    family: last.family,
    labels: last.labels,
    accessLogs: last.accessLogs,
    upstream: last.upstream,
    attempts: last.attempts,
    fallback: last.fallback,
    bytes: last.bytes,
    durationMs: end.durationMs,
    closeReason: end.closeReason,
    detail: end.detail,
  }
}

/** Is told about connections. Called in the data path: must be quick and must not throw. */
export interface ConnectionObserver {
  /** An upstream has been chosen and connected. */
  connected(record: ConnectionRecord): void
  closed(record: ClosedConnectionRecord): void
}
