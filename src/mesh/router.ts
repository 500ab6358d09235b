/** The one question that the proxy asks of the mesh: where does this connection go. The proxy does not know who answers. */
import type { SocketAddress } from '../core/address.ts'
import type { ServiceLabels, WorkloadLabels } from './endpoint.ts'
import type { AccessLog, Listener } from './listener.ts'
import type { Upstream } from './upstream.ts'

/** What is known of a connection when it has been accepted. */
export interface RouteFacts {
  readonly listener: Listener
  readonly client: SocketAddress
  /** Where the client wanted to go: the original destination, or the listener's own address. */
  readonly destination: SocketAddress
}

/** Why the mesh refuses a connection. Each is a close reason too. */
export const REJECT_REASONS = [
  'no_route',
  'no_cluster',
  'no_endpoints',
  'policy_denied',
  'mtls_required',
  'destination_is_proxy',
] as const

export type RejectReason = (typeof REJECT_REASONS)[number]

/** How a routed connection is to be treated, beside where it goes. */
export interface ConnectionSettings {
  /** Absent: the default of the proxy. 0: no limit. */
  readonly idleTimeoutMs?: number
  /** Absent: no limit. */
  readonly maxConnectionDurationMs?: number
  /** Endpoints that one connection may try; absent: the default of the proxy. */
  readonly maxEndpoints?: number
  readonly accessLogs: readonly AccessLog[]
}

/** What metrics and logs say about both ends of a route. */
export interface RouteLabels {
  /** The client's workload. */
  readonly source?: WorkloadLabels
  /** The service that the client asked for. */
  readonly service?: ServiceLabels
}

/**
 * Where a connection goes. Both accepting kinds name an upstream; that of `original-destination` has one endpoint: the
 * address that the client asked for, and behind it the twin addresses that the mesh knows of the same instance.
 */
export type Route =
  | {
      readonly kind: 'upstream' | 'original-destination'
      readonly upstream: Upstream
      readonly settings: ConnectionSettings
      readonly labels: RouteLabels
    }
  | {
      readonly kind: 'reject'
      readonly reason: RejectReason
      /** What exactly was missing or denied, for the log: `policy default/deny-all`. */
      readonly detail: string
      readonly settings: ConnectionSettings
      readonly labels: RouteLabels
    }

export interface Router {
  /** Decides by the snapshot in force at this moment. Never throws and never waits. */
  route(facts: RouteFacts): Route
  /**
   * True when policy lets a connection of these facts go on. The proxy asks it of live connections after a policy or
   * workload has changed, with the facts of their accept. A router without policies always says true.
   */
  isStillAllowed(facts: RouteFacts): boolean
}
