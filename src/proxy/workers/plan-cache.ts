/**
 * A worker's side of the plans: what the main thread has answered, by key. It is kept up to date from there, so a hit
 * costs a look-up; a miss waits for one round trip together with the other misses of the same turn.
 */
import { drawRoute } from '../../mesh/router.ts'
import { crossingFacts, planKey } from './plan-messages.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { RouteFacts, RoutePlan } from '../../mesh/router.ts'
import type { Upstream } from '../../mesh/upstream.ts'
import type { RouteSource, RouteWaiter } from '../route-source.ts'
import type { CrossingPlan, PlanRequest, PlanUpdate } from './plan-messages.ts'

/** How long a connection waits for its plan before it is refused. */
export const ANSWER_TIMEOUT_MS = 5_000

export interface PlanCacheDeps {
  readonly clock: Clock
  readonly random: Random
  /** Sends the questions of a turn. */
  readonly ask: (requests: readonly PlanRequest[]) => void
  /** Called with the first miss of a turn: `flush` is due at its end. */
  readonly flushSoon: () => void
}

interface Pending {
  readonly waiters: RouteWaiter[]
  readonly untilMs: number
}

export class PlanCache implements RouteSource {
  readonly #deps: PlanCacheDeps
  readonly #plans = new Map<string, RoutePlan>()
  readonly #upstreams = new Map<number, Upstream>()
  readonly #slots = new WeakMap<Upstream, number>()
  /** Oldest first. */
  readonly #pending = new Map<string, Pending>()
  #requests: PlanRequest[] = []
  #timer: Timer | undefined

  constructor(deps: PlanCacheDeps) {
    this.#deps = deps
  }

  /** Plans that are held. */
  get size(): number {
    return this.#plans.size
  }

  /** Upstreams that are held for plans. */
  get upstreamCount(): number {
    return this.#upstreams.size
  }

  route(facts: RouteFacts, waiter: RouteWaiter): void {
    const key = planKey(facts)
    const plan = this.#plans.get(key)
    if (plan === undefined) this.#miss(key, facts, waiter)
    else waiter.routed(drawRoute(plan, this.#deps.random))
  }

  /** Where the connections of an upstream are counted for all workers. */
  slotOf(upstream: Upstream): number | undefined {
    return this.#slots.get(upstream)
  }

  /** Sends what has been asked since the last time. */
  flush(): void {
    if (this.#requests.length === 0) return
    const requests = this.#requests
    this.#requests = []
    this.#deps.ask(requests)
  }

  /** Takes an update of the main thread in, and gives those their routes who have waited for them. */
  apply({ upstreams, plans, drop, forget }: PlanUpdate): void {
    for (const { id, upstream, slot } of upstreams) {
      this.#upstreams.set(id, upstream)
      if (slot !== undefined) this.#slots.set(upstream, slot)
    }
    const answers = plans.map((crossing) => ({ key: crossing.key, plan: this.#planOf(crossing) }))
    for (const { key, plan } of answers) this.#plans.set(key, plan)
    for (const key of drop) this.#plans.delete(key)
    for (const id of forget) this.#upstreams.delete(id)
    // A plan that was dropped in the same update still answers those who asked before.
    for (const { key, plan } of answers) this.#answer(key, plan)
  }

  #planOf({ choices }: CrossingPlan): RoutePlan {
    return {
      choices: choices.map(({ weight, route }) => {
        if (route.kind === 'reject') return { weight, route }
        const upstream = this.#upstreams.get(route.upstream)
        if (upstream === undefined) throw new TypeError(`a plan names upstream ${route.upstream}, never sent`)
        return { weight, route: { ...route, upstream } }
      }),
    }
  }

  #miss(key: string, facts: RouteFacts, waiter: RouteWaiter): void {
    const asked = this.#pending.get(key)
    if (asked !== undefined) {
      asked.waiters.push(waiter)
      return
    }
    const { clock, flushSoon } = this.#deps
    this.#pending.set(key, { waiters: [waiter], untilMs: clock.nowMs() + ANSWER_TIMEOUT_MS })
    if (this.#timer === undefined) this.#timer = clock.setTimer(ANSWER_TIMEOUT_MS, this.#giveUp)
    this.#requests.push({ key, facts: crossingFacts(facts) })
    if (this.#requests.length === 1) flushSoon()
  }

  #answer(key: string, plan: RoutePlan): void {
    const pending = this.#pending.get(key)
    if (pending === undefined) return
    this.#pending.delete(key)
    for (const waiter of pending.waiters) waiter.routed(drawRoute(plan, this.#deps.random))
  }

  readonly #giveUp = (): void => {
    this.#timer = undefined
    const nowMs = this.#deps.clock.nowMs()
    for (const [key, { waiters, untilMs }] of this.#pending) {
      if (nowMs < untilMs) {
        this.#timer = this.#deps.clock.setTimer(untilMs - nowMs, this.#giveUp)
        return
      }
      this.#pending.delete(key)
      const detail = `no route within ${ANSWER_TIMEOUT_MS / 1_000} s, from the main thread or the control plane`
      for (const waiter of waiters) waiter.unrouted(detail)
    }
  }
}
