/**
 * What the proxy remembers of an upstream from one connection to the next, and across updates: connections, turns,
 * ejections. The upstream itself is immutable and comes with each call.
 */
import { ByFamilyOrder } from './by-family-order.ts'
import { PoolCache } from './endpoint-pools.ts'
import { OutlierEjection } from './outlier-ejection.ts'
import { Rotation } from './rotation.ts'

import type { Family } from '../core/family.ts'
import type { Random } from '../core/random.ts'
import type { Upstream } from '../mesh/upstream.ts'
import type { AttemptRecord, AttemptResult } from './connection-record.ts'

/** The memory of one upstream name. Grows with the endpoints that have connections or have failed. */
export class UpstreamState {
  readonly ejection = new OutlierEjection()
  readonly pools = new PoolCache()
  readonly #activeByEndpoint = new Map<string, number>()
  readonly #rotations = new WeakMap<Upstream, ByFamilyOrder<Rotation>>()
  readonly #latestRotation = new ByFamilyOrder<Rotation>()
  #latestFailed: Upstream | undefined
  #active = 0

  /** Connections that are relayed now. */
  get active(): number {
    return this.#active
  }

  /** Connections that are relayed now to one endpoint. */
  activeOf(endpointId: string): number {
    return this.#activeByEndpoint.get(endpointId) ?? 0
  }

  /** The connections that are relayed now, by endpoint. */
  get activeByEndpoint(): ReadonlyMap<string, number> {
    return this.#activeByEndpoint
  }

  /** A connection was established. Each is followed by one `closed`. */
  connected(endpointId: string): void {
    this.#active++
    this.#activeByEndpoint.set(endpointId, this.activeOf(endpointId) + 1)
    this.ejection.succeeded(endpointId)
  }

  /** A connection that was established is gone. */
  closed(endpointId: string): void {
    const active = this.activeOf(endpointId)
    if (active === 0) throw new TypeError(`endpoint ${endpointId} closed a connection that it never had`)
    this.#active--
    if (active === 1) this.#activeByEndpoint.delete(endpointId)
    else this.#activeByEndpoint.set(endpointId, active - 1)
  }

  /**
   * Counts the endpoints that a connection found no way to, on any family. To be told of every race that had failures,
   * won or lost; does nothing where the upstream has no outlier detection. An endpoint that was overtaken while it was
   * connecting has not failed, and neither has one for which this node lacked a source address.
   */
  connectFailed(upstream: Upstream, attempts: readonly AttemptRecord[], nowMs: number): void {
    const settings = upstream.outlierDetection
    if (settings === undefined) return
    if (upstream !== this.#latestFailed) {
      this.#latestFailed = upstream
      this.ejection.retain(new Set(upstream.endpoints.map(({ id }) => id)))
    }
    for (const endpointId of new Set(attempts.map(({ endpoint }) => endpoint.id))) {
      const own = attempts.filter(({ endpoint }) => endpoint.id === endpointId)
      if (own.some(({ result }) => saysOf(result) === 'open')) continue
      if (!own.some(({ result }) => saysOf(result) === 'down')) continue
      this.ejection.failed(endpointId, { settings, endpointCount: upstream.endpoints.length, nowMs })
    }
  }

  /**
   * The turns of the endpoints of an upstream among clients with one order of families. Those of an upstream that
   * replaces another go on where they were. Each order has its own: it leaves out other endpoints than the next.
   */
  rotationOf(upstream: Upstream, families: readonly Family[], random: Random): Rotation {
    const byOrder = this.#rotations.get(upstream) ?? new ByFamilyOrder<Rotation>()
    const known = byOrder.get(families)
    if (known !== undefined) return known
    const rotation = new Rotation(upstream.endpoints, random.next(), this.#latestRotation.get(families))
    byOrder.set(families, rotation)
    this.#rotations.set(upstream, byOrder)
    this.#latestRotation.set(families, rotation)
    return rotation
  }
}

/** What the result of an attempt says about the endpoint. */
function saysOf(result: AttemptResult): 'down' | 'open' | 'nothing' {
  switch (result) {
    case 'refused':
    case 'unreachable':
    case 'timeout':
    case 'reset':
    case 'failed':
      return 'down'
    case 'connected':
    case 'lost_race':
    case 'cancelled':
      return 'open'
    case 'source_unavailable':
      return 'nothing'
  }
}

interface Held {
  readonly state: UpstreamState
  isUsed: boolean
}

const FIRST_SWEEP_SIZE = 1_024

/**
 * The state of every upstream, by name. Bounded without being told of removals: each time the number of names has
 * doubled, those that have no connection and were not asked for since the last time are dropped, so that memory stays
 * within twice what is in use at a constant cost per call.
 */
export class UpstreamStates {
  readonly #states = new Map<string, Held>()
  #sweepAtSize = FIRST_SWEEP_SIZE

  get size(): number {
    return this.#states.size
  }

  /** The state of an upstream, made when there is none. To be asked for by each connection; it stays while it has any. */
  of(upstream: Upstream): UpstreamState {
    const held = this.#states.get(upstream.name)
    if (held !== undefined) {
      held.isUsed = true
      return held.state
    }
    if (this.#states.size >= this.#sweepAtSize) this.#sweep()
    const state = new UpstreamState()
    this.#states.set(upstream.name, { state, isUsed: true })
    return state
  }

  /** The state of an upstream by name, for a reader; `undefined` when no connection has used it lately. */
  peek(name: string): UpstreamState | undefined {
    return this.#states.get(name)?.state
  }

  /** The states that are held, by name. */
  *[Symbol.iterator](): Iterator<readonly [name: string, state: UpstreamState]> {
    for (const [name, { state }] of this.#states) yield [name, state]
  }

  #sweep(): void {
    for (const [name, held] of this.#states) {
      if (!held.isUsed && held.state.active === 0) this.#states.delete(name)
      held.isUsed = false
    }
    this.#sweepAtSize = Math.max(FIRST_SWEEP_SIZE, this.#states.size * 2)
  }
}
