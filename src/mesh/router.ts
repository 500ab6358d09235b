/** The one question that the proxy asks of the mesh: where does this connection go. The proxy does not know who answers. */
import type { SocketAddress } from '../core/address.ts'
import type { Random } from '../core/random.ts'
import type { ServiceLabels, WorkloadLabels } from './endpoint.ts'
import type { AccessLog, Listener, TrafficDirection } from './listener.ts'
import type { CapturedPod } from './pod.ts'
import type { Upstream } from './upstream.ts'

/** What is known of a connection when it has been accepted. */
export interface RouteFacts {
  readonly listener: Listener
  readonly client: SocketAddress
  /** Where the client wanted to go: the original destination, or the listener's own address. */
  readonly destination: SocketAddress
  /** The pod in whose network namespace it was captured; absent where it was accepted in the agent's own. */
  readonly pod?: CapturedPod | undefined
}

/** An endpoint that a live connection goes to, or may yet go to while it is being made. */
export interface ReachedEndpoint {
  /** The uid of its workload; absent where the control plane names none. */
  readonly workload: string | undefined
  readonly address: SocketAddress
}

/** Why the mesh refuses a connection. Each is a close reason too. */
export type RejectReason =
  'no_route' | 'no_cluster' | 'no_endpoints' | 'policy_denied' | 'mtls_required' | 'destination_is_proxy'

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
      /** Addresses of the client in the other family, where the client is a pod of this node; port 0. */
      readonly clientTwins?: readonly SocketAddress[]
    }
  | {
      readonly kind: 'reject'
      readonly reason: RejectReason
      /** What exactly was missing or denied, for the log: `policy default/deny-all`. */
      readonly detail: string
      readonly settings: ConnectionSettings
      readonly labels: RouteLabels
    }

/** One way for a connection to go, and its share of them. */
export interface RouteChoice {
  /** Relative to the other choices; above 0 for at least one of them. */
  readonly weight: number
  readonly route: Route
}

/**
 * Everywhere that connections of the same facts may go. One choice nearly always; several where the mesh shares them out
 * by weight. A plan holds until the mesh changes, so it can be kept; the draw is made for each connection.
 */
export interface RoutePlan {
  /** At least one. */
  readonly choices: readonly RouteChoice[]
  /** True: it is not kept, because something else than the mesh may make it another. Only of a plan that rejects. */
  readonly isForOnce?: boolean
}

export interface Router {
  /**
   * Decides by the snapshot in force at this moment. Never throws and never waits. The answer depends on the name of
   * the listener, the client's address without its port, the destination and the pod; on nothing else of the facts.
   */
  plan(facts: RouteFacts): RoutePlan
  /** The directions of connections that a policy can deny as things are; none in a dialect without policies. */
  readonly judgedDirections: readonly TrafficDirection[]
  /**
   * True when policy lets a live connection go on. The proxy asks it of the judged directions after a policy or workload
   * has changed, with the facts of the accept. Who serves an inbound connection is in these.
   *
   * @param reached where an outbound connection goes; where it may go, while it is being made
   */
  isStillAllowed(facts: RouteFacts, reached: readonly ReachedEndpoint[]): boolean
}

/** The route of one connection: drawn by weight where the plan has several. */
export function drawRoute({ choices }: RoutePlan, random: Random): Route {
  const [first] = choices
  if (first === undefined) throw new TypeError('a plan has at least one choice')
  if (choices.length === 1) return first.route
  const total = choices.reduce((sum, { weight }) => sum + weight, 0)
  let rest = random.next() * total
  const drawn = choices.find(({ weight }) => (rest -= weight) < 0)
  return (drawn ?? first).route
}
