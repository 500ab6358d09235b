/**
 * Plans on their way between the main thread, which has the router, and a worker, which keeps what it has asked for.
 * An upstream crosses once per worker; plans name it by number, so that it is one object there too.
 */
import type { SocketAddress } from '../../core/address.ts'
import type { Route, RouteFacts } from '../../mesh/router.ts'
import type { Upstream } from '../../mesh/upstream.ts'

/** The facts of a connection as they cross: the listener by its name, because the main thread knows the rest of it. */
export interface CrossingFacts {
  readonly listener: string
  readonly client: SocketAddress
  readonly destination: SocketAddress
  /** The uid of the pod that captured it, where one did. */
  readonly pod?: string | undefined
}

/** The facts of a connection as they cross. */
export function crossingFacts({ listener, client, destination, pod }: RouteFacts): CrossingFacts {
  return { listener: listener.name, client, destination, pod: pod?.uid }
}

/** A question of a worker. Everything that a plan depends on is in the key. */
export interface PlanRequest {
  readonly key: string
  readonly facts: CrossingFacts
}

type Rejecting = Extract<Route, { kind: 'reject' }>
type Accepting = Exclude<Route, Rejecting>

/** A route with its upstream by number. */
export type CrossingRoute = Rejecting | (Omit<Accepting, 'upstream'> & { readonly upstream: number })

export interface CrossingPlan {
  readonly key: string
  readonly choices: readonly { readonly weight: number; readonly route: CrossingRoute }[]
}

export interface CrossingUpstream {
  readonly id: number
  readonly upstream: Upstream
  /** Where its connections are counted for all workers; absent without a limit. */
  readonly slot?: number
}

/** What a worker does to its cache, in this order. */
export interface PlanUpdate {
  readonly upstreams: readonly CrossingUpstream[]
  /** New, or in the place of the ones of their keys. */
  readonly plans: readonly CrossingPlan[]
  /** Keys that are not kept up to date any more. */
  readonly drop: readonly string[]
  /** Upstreams that no plan names any more. */
  readonly forget: readonly number[]
}

/** The key of everything that a plan depends on, see Router.plan. */
export function planKey({ listener, client, destination, pod }: RouteFacts): string {
  // No part can hold a `|` but the name, which comes last.
  return `${client.ip.text}|${destination.ip.text}|${destination.port}|${pod?.uid ?? ''}|${listener.name}`
}
