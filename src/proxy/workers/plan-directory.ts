/**
 * The main thread's side of the plan caches: answers what workers ask, remembers what it has told whom, and after a
 * change of the mesh tells them the plans that have become others, and nothing else.
 */
import { isDeepStrictEqual } from 'node:util'

import { UpstreamRegistry } from './upstream-registry.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Route, RouteFacts, RoutePlan, Router } from '../../mesh/router.ts'
import type { Discovery } from '../route-source.ts'
import type { SlotDirectory } from './connection-slots.ts'
import type {
  CrossingFacts,
  CrossingPlan,
  CrossingRoute,
  CrossingUpstream,
  PlanRequest,
  PlanUpdate,
} from './plan-messages.ts'
import type { RegisteredUpstream } from './upstream-registry.ts'

/** Plans that are kept up to date in workers; the oldest make room, and are asked for again when they are needed. */
export const MAX_PLANS = 16_384
/** How long changes of the mesh are collected before the plans are looked at. */
export const SETTLE_MS = 10
/** Plans that are looked at before the main thread turns to something else. */
const SLICE = 256

export interface PlanDirectoryDeps {
  readonly router: Router
  readonly clock: Clock
  /** The facts of a connection again; `undefined` when its listener or its pod is gone. */
  readonly factsOf: (facts: CrossingFacts) => RouteFacts | undefined
  readonly slots: SlotDirectory
  readonly send: (worker: number, update: PlanUpdate) => void
  /** Absent: the mesh is known as a whole, and every answer is at hand. */
  readonly discovery?: Discovery
}

interface HeldPlan {
  readonly key: string
  readonly facts: CrossingFacts
  plan: RoutePlan
  /** One per choice; `undefined` for a rejection. */
  upstreams: readonly (RegisteredUpstream | undefined)[]
  readonly workers: Set<number>
}

interface Outbox {
  readonly upstreams: CrossingUpstream[]
  readonly plans: CrossingPlan[]
  readonly drop: string[]
  readonly forget: number[]
}

export class PlanDirectory {
  readonly #deps: PlanDirectoryDeps
  readonly #maxPlans: number
  readonly #plans = new Map<string, HeldPlan>()
  readonly #registry: UpstreamRegistry
  readonly #outboxes = new Map<number, Outbox>()
  /** How often a worker has died. */
  readonly #lives = new Map<number, number>()
  #settled: (() => void)[] = []
  #timer: Timer | undefined
  /** A change came that the running look at the plans may have missed. */
  #isStale = false

  constructor(deps: PlanDirectoryDeps, options: { readonly maxPlans?: number } = {}) {
    this.#deps = deps
    this.#registry = new UpstreamRegistry(deps)
    this.#maxPlans = options.maxPlans ?? MAX_PLANS
  }

  /** Plans that are kept up to date. */
  get size(): number {
    return this.#plans.size
  }

  /** Upstreams that those plans name. */
  get upstreamCount(): number {
    return this.#registry.size
  }

  /** Answers a worker: with one message what is at hand, with one each what has to be found out. */
  ask(worker: number, requests: readonly PlanRequest[]): void {
    const { discovery } = this.#deps
    const life = this.#lives.get(worker)
    let isLate = false
    for (const request of requests) {
      const facts = discovery && this.#deps.factsOf(request.facts)
      if (facts === undefined) {
        this.#answer(worker, request)
        continue
      }
      discovery?.whenKnown(facts, (isKnown) => {
        // Without an answer the worker refuses the connection when its own time is over.
        if (!isKnown) return
        // What a dead worker asked is not told to its successor, which may not have been started yet.
        if (this.#lives.get(worker) !== life) return
        this.#answer(worker, request)
        if (isLate) this.#flush()
      })
    }
    isLate = true
    this.#flush()
  }

  /**
   * The mesh has changed. `settled` is called when every worker has been sent every plan that has become another one;
   * what is sent to it after that is seen there after the plans.
   */
  meshChanged(settled: () => void): void {
    this.#settled.push(settled)
    this.#isStale = true
    this.#timer ??= this.#deps.clock.setTimer(SETTLE_MS, this.#lookAtAll)
  }

  /** A worker has died: it knows nothing any more. */
  forgetWorker(worker: number): void {
    this.#lives.set(worker, (this.#lives.get(worker) ?? 0) + 1)
    this.#outboxes.delete(worker)
    this.#registry.forgetWorker(worker)
    for (const { workers } of this.#plans.values()) workers.delete(worker)
  }

  /** A pod is gone: its plans are of no use any more. Costs the number of plans. */
  forgetPod(uid: string): void {
    for (const held of this.#plans.values()) if (held.facts.pod === uid) this.#drop(held)
    this.#flush()
  }

  /** Stops looking at plans. Idempotent. */
  close(): void {
    this.#timer?.cancel()
  }

  readonly #lookAtAll = (): void => {
    this.#isStale = false
    this.#lookAt([...this.#plans.values()], this.#settled.splice(0))
  }

  #lookAt(plans: readonly HeldPlan[], settled: readonly (() => void)[]): void {
    for (const held of plans.slice(0, SLICE)) if (this.#plans.get(held.key) === held) this.#refresh(held)
    this.#flush()
    if (plans.length > SLICE) {
      this.#timer = this.#deps.clock.setTimer(0, () => {
        this.#lookAt(plans.slice(SLICE), settled)
      })
      return
    }
    for (const callback of settled) callback()
    this.#timer = this.#isStale ? this.#deps.clock.setTimer(SETTLE_MS, this.#lookAtAll) : undefined
  }

  #answer(worker: number, { key, facts }: PlanRequest): void {
    let held = this.#plans.get(key)
    if (held === undefined) held = this.#hold(key, facts)
    else if (this.#isStale) this.#refresh(held)
    held.workers.add(worker)
    this.#sendPlan(worker, held)
    if (this.#plans.get(key) !== held) this.#outboxOf(worker).drop.push(key)
  }

  #hold(key: string, facts: CrossingFacts): HeldPlan {
    const [oldest] = this.#plans.values()
    if (this.#plans.size >= this.#maxPlans && oldest !== undefined) this.#drop(oldest)
    const plan = this.#planOf(facts) ?? goneListener(facts)
    if (plan.isForOnce === true) return { key, facts, plan, upstreams: [undefined], workers: new Set() }
    const held: HeldPlan = { key, facts, plan, upstreams: this.#register(plan), workers: new Set() }
    this.#plans.set(key, held)
    return held
  }

  /** Asks the router again, and tells the workers if the answer is another one. */
  #refresh(held: HeldPlan): void {
    const plan = this.#planOf(held.facts)
    if (plan === undefined || plan.isForOnce === true) {
      this.#drop(held)
      return
    }
    const before = held.upstreams
    const upstreams = this.#register(plan)
    const isSame = isSamePlan(held, { plan, upstreams })
    held.plan = plan
    held.upstreams = upstreams
    if (!isSame) for (const worker of held.workers) this.#sendPlan(worker, held)
    this.#release(before)
  }

  #drop(held: HeldPlan): void {
    this.#plans.delete(held.key)
    for (const worker of held.workers) this.#outboxOf(worker).drop.push(held.key)
    this.#release(held.upstreams)
  }

  #planOf(crossing: CrossingFacts): RoutePlan | undefined {
    const facts = this.#deps.factsOf(crossing)
    return facts && this.#deps.router.plan(facts)
  }

  #register({ choices }: RoutePlan): HeldPlan['upstreams'] {
    return choices.map(({ route }) =>
      route.kind === 'reject' ? undefined : this.#registry.take(route.upstream),
    )
  }

  #release(upstreams: HeldPlan['upstreams']): void {
    for (const upstream of upstreams) {
      if (upstream === undefined || !this.#registry.release(upstream)) continue
      for (const worker of upstream.workers) this.#outboxOf(worker).forget.push(upstream.id)
    }
  }

  #sendPlan(worker: number, { key, plan, upstreams }: HeldPlan): void {
    const outbox = this.#outboxOf(worker)
    for (const registered of upstreams) {
      if (registered === undefined || registered.workers.has(worker)) continue
      registered.workers.add(worker)
      const { id, upstream, slot } = registered
      outbox.upstreams.push({ id, upstream, ...(slot !== undefined && { slot }) })
    }
    const choices = plan.choices.map(({ weight, route }, index) => ({
      weight,
      route: crossing(route, upstreams[index]),
    }))
    outbox.plans.push({ key, choices })
  }

  #outboxOf(worker: number): Outbox {
    let outbox = this.#outboxes.get(worker)
    if (outbox === undefined) {
      outbox = { upstreams: [], plans: [], drop: [], forget: [] }
      this.#outboxes.set(worker, outbox)
    }
    return outbox
  }

  #flush(): void {
    for (const [worker, outbox] of this.#outboxes) this.#deps.send(worker, outbox)
    this.#outboxes.clear()
  }
}

function crossing(route: Route, upstream: RegisteredUpstream | undefined): CrossingRoute {
  if (route.kind === 'reject') return route
  if (upstream === undefined) throw new TypeError('a route that accepts has an upstream')
  return { ...route, upstream: upstream.id }
}

function isSamePlan(
  a: Pick<HeldPlan, 'plan' | 'upstreams'>,
  b: Pick<HeldPlan, 'plan' | 'upstreams'>,
): boolean {
  const { choices } = b.plan
  return (
    a.plan.choices.length === choices.length &&
    a.plan.choices.every(({ weight, route }, index) => {
      const other = choices[index]
      return (
        weight === other?.weight &&
        a.upstreams[index] === b.upstreams[index] &&
        isSameBesideUpstream(route, other.route)
      )
    })
  )
}

function twinsOf(route: Route): unknown {
  return route.kind === 'reject' ? undefined : route.clientTwins
}

function isSameBesideUpstream(a: Route, b: Route): boolean {
  return (
    a.kind === b.kind &&
    isDeepStrictEqual(a.settings, b.settings) &&
    isDeepStrictEqual(a.labels, b.labels) &&
    isDeepStrictEqual(twinsOf(a), twinsOf(b)) &&
    (a.kind !== 'reject' || b.kind !== 'reject' || (a.reason === b.reason && a.detail === b.detail))
  )
}

/** For a connection that was accepted as its listener or its pod went. That either has come back is no change of the mesh. */
function goneListener({ listener, pod }: CrossingFacts): RoutePlan {
  const route: Route = {
    kind: 'reject',
    reason: 'no_route',
    detail: pod === undefined ? `listener ${listener} is gone` : `pod ${pod} or listener ${listener} is gone`,
    settings: { accessLogs: [] },
    labels: {},
  }
  return { choices: [{ weight: 1, route }], isForOnce: true }
}
