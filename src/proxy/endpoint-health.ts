/**
 * What this node found out about the families of endpoints (rule 7): a family that failed to connect is tried last for
 * a while. It says nothing about the twin family and withdraws nothing. What the control plane says is in the model.
 */
import { FAMILIES } from '../core/family.ts'

import type { Family } from '../core/family.ts'

/** One family of one endpoint. */
export interface FamilyKey {
  readonly endpointId: string
  readonly family: Family
}

/** Why a family is tried last. `slow`: another address had connected before this one answered at all. */
export type FamilyFailure = 'refused' | 'unreachable' | 'timeout' | 'slow'

/** What was learnt about a family: a failure, with how long it counts, or that the family is well. */
export interface HealthChange extends FamilyKey {
  readonly failure?: { readonly reason: FamilyFailure; readonly periodMs: number; readonly leftMs: number }
}

export interface FamilyHealthOptions {
  /** How long the first failure counts. Default 10,000. */
  readonly initialMs?: number
  /** The longest that failures in a row can make it. Default 300,000. */
  readonly maxMs?: number
}

interface Failed {
  periodMs: number
  untilMs: number
  reason: FamilyFailure
}

/** How long a first failure counts. */
export const DEFAULT_INITIAL_MS = 10_000
/** The longest that a failure counts. */
export const DEFAULT_MAX_MS = 300_000
const MAX_CHANGES = 1_024

/**
 * Remembers failures by endpoint and family. Healthy is the state without an entry, so memory grows with what has
 * failed lately: an entry is forgotten when it has been over for `maxMs`, by a sweep over all entries that a failure
 * starts at most once per `maxMs`.
 */
export class FamilyHealth {
  readonly #initialMs: number
  readonly #maxMs: number
  readonly #failed: Readonly<Record<Family, Map<string, Failed>>> = { ipv4: new Map(), ipv6: new Map() }
  /** Whose health changed, oldest first; the last one made the generation what it is. */
  #changes: string[] = []
  #generation = 0
  #nextSweepMs = 0
  #learnt: ((change: HealthChange) => void) | undefined

  constructor(options: FamilyHealthOptions = {}) {
    this.#initialMs = options.initialMs ?? DEFAULT_INITIAL_MS
    this.#maxMs = Math.max(options.maxMs ?? DEFAULT_MAX_MS, this.#initialMs)
  }

  /** Calls `learnt` for each change that a connection of this thread brings, and not for what `adopt` does. */
  watch(learnt: (change: HealthChange) => void): void {
    this.#learnt = learnt
  }

  /** Takes over what another thread has learnt. Times are given as what is left, because threads' clocks differ. */
  adopt({ endpointId, family, failure }: HealthChange, nowMs: number): void {
    if (failure === undefined) {
      if (this.#failed[family].delete(endpointId)) this.#changed(endpointId)
      return
    }
    this.#sweep(nowMs)
    const { reason, periodMs, leftMs } = failure
    this.#failed[family].set(endpointId, { periodMs, untilMs: nowMs + leftMs, reason })
    this.#changed(endpointId)
  }

  /** Every failure that counts now or is remembered, for a thread that is new. */
  failures(nowMs: number): readonly HealthChange[] {
    return FAMILIES.flatMap((family) =>
      Array.from(this.#failed[family], ([endpointId, { reason, periodMs, untilMs }]) => ({
        endpointId,
        family,
        failure: { reason, periodMs, leftMs: untilMs - nowMs },
      })),
    )
  }

  /** Changes whenever a family became healthy or unhealthy other than by time. Lets a caller keep what it derived. */
  get generation(): number {
    return this.#generation
  }

  /**
   * The endpoints that changed after a generation, so that a failure costs only those that know its endpoint;
   * `undefined` when that was too long ago to tell.
   */
  changedSince(generation: number): readonly string[] | undefined {
    const count = this.#generation - generation
    return count > this.#changes.length ? undefined : this.#changes.slice(this.#changes.length - count)
  }

  /** Entries held, healthy again or not; what memory is used for. */
  get size(): number {
    return this.#failed.ipv4.size + this.#failed.ipv6.size
  }

  /**
   * Puts a family last: for `initialMs`, and for twice the last period when it had just been given another chance.
   * Failures within a running period come from connections that started before it, and change nothing.
   */
  failed(
    { endpointId, family, reason }: FamilyKey & { readonly reason: FamilyFailure },
    nowMs: number,
  ): void {
    this.#sweep(nowMs)
    const entry = this.#failed[family].get(endpointId)
    if (entry !== undefined && nowMs < entry.untilMs) return
    const isConsecutive = entry !== undefined && !this.#isForgotten(entry, nowMs)
    const periodMs = isConsecutive ? Math.min(entry.periodMs * 2, this.#maxMs) : this.#initialMs
    this.#failed[family].set(endpointId, { periodMs, untilMs: nowMs + periodMs, reason })
    this.#changed(endpointId)
    this.#learnt?.({ endpointId, family, failure: { reason, periodMs, leftMs: periodMs } })
  }

  /** Clears the family: its next failure is a first one again. */
  succeeded({ endpointId, family }: FamilyKey): void {
    if (!this.#failed[family].delete(endpointId)) return
    this.#changed(endpointId)
    this.#learnt?.({ endpointId, family })
  }

  isHealthy(key: FamilyKey, nowMs: number): boolean {
    return nowMs >= this.unhealthyUntilMs(key)
  }

  /** When the running period ends; in the past, or `-Infinity`, for a family that is healthy. */
  unhealthyUntilMs({ endpointId, family }: FamilyKey): number {
    return this.#failed[family].get(endpointId)?.untilMs ?? -Infinity
  }

  /** How many endpoints have this family unhealthy now. Costs a walk over all entries. */
  unhealthyCount(nowMs: number): Record<Family, number> {
    const count = { ipv4: 0, ipv6: 0 }
    for (const family of FAMILIES) {
      for (const entry of this.#failed[family].values()) if (nowMs < entry.untilMs) count[family]++
    }
    return count
  }

  #changed(endpointId: string): void {
    this.#generation++
    this.#changes.push(endpointId)
    if (this.#changes.length > 2 * MAX_CHANGES) this.#changes = this.#changes.slice(-MAX_CHANGES)
  }

  #isForgotten(entry: Failed, nowMs: number): boolean {
    return nowMs - entry.untilMs >= this.#maxMs
  }

  #sweep(nowMs: number): void {
    if (nowMs < this.#nextSweepMs) return
    this.#nextSweepMs = nowMs + this.#maxMs
    for (const family of FAMILIES) {
      for (const [endpointId, entry] of this.#failed[family]) {
        if (this.#isForgotten(entry, nowMs)) this.#failed[family].delete(endpointId)
      }
    }
  }
}
