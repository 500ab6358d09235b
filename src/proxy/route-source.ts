/** Where a connection learns its route. The answer may have to come from another thread, so it is given to a waiter. */
import { drawRoute } from '../mesh/router.ts'

import type { Random } from '../core/random.ts'
import type { Route, RouteFacts, Router } from '../mesh/router.ts'

/** Who has asked for a route. It may be gone by the time of the answer, and then ignores it. */
export interface RouteWaiter {
  routed(route: Route): void
  /** There is no answer, and none will come; `detail` says why, for the log. */
  unrouted(detail: string): void
}

export interface RouteSource {
  /** Calls the waiter exactly once: before it returns when the answer is at hand, later otherwise. */
  route(facts: RouteFacts, waiter: RouteWaiter): void
}

/** The router of the same thread: it always answers at once. */
export class LocalRoutes implements RouteSource {
  readonly #router: Router
  readonly #random: Random

  constructor(deps: { readonly router: Router; readonly random: Random }) {
    this.#router = deps.router
    this.#random = deps.random
  }

  route(facts: RouteFacts, waiter: RouteWaiter): void {
    waiter.routed(drawRoute(this.#router.plan(facts), this.#random))
  }
}
