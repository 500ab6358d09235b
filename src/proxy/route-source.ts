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

/** Finds out what the mesh says about the ends of a connection, where it is not known as a whole. */
export interface Discovery {
  /**
   * Calls back exactly once: before it returns when there is nothing to find out, and before a worker gives up
   * (ANSWER_TIMEOUT_MS) in any case. `isKnown` says that the router can decide; without it nobody has said whether the
   * destination asks for mTLS, and the connection must not go on.
   */
  whenKnown(facts: RouteFacts, callback: (isKnown: boolean) => void): void
}

export interface LocalRoutesDeps {
  readonly router: Router
  readonly random: Random
  /** Absent: the mesh is known as a whole, and every answer is at hand. */
  readonly discovery?: Discovery
}

/** The router of the same thread. */
export class LocalRoutes implements RouteSource {
  readonly #deps: LocalRoutesDeps

  constructor(deps: LocalRoutesDeps) {
    this.#deps = deps
  }

  route(facts: RouteFacts, waiter: RouteWaiter): void {
    const { discovery } = this.#deps
    if (discovery === undefined) {
      this.#answer(facts, waiter)
      return
    }
    discovery.whenKnown(facts, (isKnown) => {
      if (isKnown) this.#answer(facts, waiter)
      else waiter.unrouted('the control plane has not said what is at its addresses')
    })
  }

  #answer(facts: RouteFacts, waiter: RouteWaiter): void {
    const { router, random } = this.#deps
    waiter.routed(drawRoute(router.plan(facts), random))
  }
}
