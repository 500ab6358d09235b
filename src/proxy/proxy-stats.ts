/**
 * What the data path counts, as plain numbers: it costs an addition per event and knows no metrics library. Whoever
 * publishes the numbers reads the fields; docs/METRICS.md says what each becomes.
 */
import { FAMILIES } from '../core/family.ts'

import type { Family } from '../core/family.ts'
import type { CloseReason } from './close-reason.ts'
import type { AttemptResult, Fallback } from './connection-record.ts'

/** `bound`: accepting. `absent`: the machine has not that family or address. `failed`: it has, and refuses it. */
export const LISTENER_STATES = ['bound', 'absent', 'failed'] as const

export type ListenerState = (typeof LISTENER_STATES)[number]

/** Upper bounds of the buckets of the time that a successful connect took, in seconds; the last bucket is +Inf. */
export const CONNECT_BUCKETS_SECONDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
]

/** Bytes of one side of connections, seen from the proxy. The relay adds to it while bytes move. */
export interface SideBytes {
  received: number
  sent: number
}

/** Bytes of one family. Each side counts by the family of its own socket, so a fallback counts in both families. */
export interface FamilyBytes {
  readonly downstream: SideBytes
  readonly upstream: SideBytes
}

/** One listener and family. */
export interface ListenerCounts {
  readonly accepted: number
  readonly active: number
  /** `undefined` until it has been tried, and after the listener was removed. */
  readonly state: ListenerState | undefined
}

/** How long connects took. */
export interface ConnectTimes {
  /** Connects per bucket of {@link CONNECT_BUCKETS_SECONDS}, not cumulative, with one more for +Inf at the end. */
  readonly buckets: readonly number[]
  readonly sumSeconds: number
  readonly count: number
}

/** A change of family that happened `count` times. */
export interface FallbackCount extends Fallback {
  readonly count: number
}

interface MutableListenerCounts {
  accepted: number
  active: number
  state: ListenerState | undefined
}

interface ListenerEntry {
  readonly byFamily: Readonly<Record<Family, MutableListenerCounts>>
  isRemoved: boolean
}

/** The counters of one proxy. The methods are called in the data path; none of them throws. */
export class ProxyStats {
  readonly #bytes = perFamily(() => ({
    downstream: { received: 0, sent: 0 },
    upstream: { received: 0, sent: 0 },
  }))
  readonly #listeners = new Map<string, ListenerEntry>()
  readonly #attempts = perFamily(noAttempts)
  readonly #connectTimes = perFamily(() => ({
    buckets: CONNECT_BUCKETS_SECONDS.concat(Infinity).map(() => 0),
    sumSeconds: 0,
    count: 0,
  }))
  readonly #upstreamConnections = perFamily(() => perFamily(() => ({ count: 0 })))
  readonly #fallbacks = new Map<string, { fallback: Fallback; count: number }>()
  readonly #closed = noneClosed()

  /** Slots that the relay adds to. */
  get bytes(): Readonly<Record<Family, FamilyBytes>> {
    return this.#bytes
  }

  /** A connection was accepted. */
  accepted(listener: string, family: Family): void {
    const counts = this.#entry(listener).byFamily[family]
    counts.accepted++
    counts.active++
  }

  /** A connection that was accepted is gone. */
  ended(listener: string, family: Family): void {
    const entry = this.#listeners.get(listener)
    if (entry === undefined) return
    entry.byFamily[family].active--
    this.#forgetIfGone(listener, entry)
  }

  /** What became of the socket of one listener and family. */
  listenerState(listener: string, family: Family, state: ListenerState): void {
    const entry = this.#entry(listener)
    entry.isRemoved = false
    entry.byFamily[family].state = state
  }

  /** The listener is no longer wanted. Its counts stay until the last of its connections has ended. */
  removeListener(listener: string): void {
    const entry = this.#listeners.get(listener)
    if (entry === undefined) return
    entry.isRemoved = true
    for (const family of FAMILIES) entry.byFamily[family].state = undefined
    this.#forgetIfGone(listener, entry)
  }

  /** An attempt to connect ended. */
  attempt(family: Family, result: AttemptResult, durationMs: number): void {
    this.#attempts[family][result]++
    if (result !== 'connected') return
    const seconds = durationMs / 1_000
    const times = this.#connectTimes[family]
    const bucket = bucketOf(seconds)
    times.buckets[bucket] = (times.buckets[bucket] ?? 0) + 1
    times.sumSeconds += seconds
    times.count++
  }

  /** A connection of a client in one family has its upstream in the other or the same. */
  connected(downstreamFamily: Family, upstreamFamily: Family): void {
    this.#upstreamConnections[downstreamFamily][upstreamFamily].count++
  }

  /** A connection left the first family of its order. */
  fellBack(fallback: Fallback): void {
    const key = `${fallback.from} ${fallback.to} ${fallback.reason}`
    const counted = this.#fallbacks.get(key)
    if (counted === undefined) this.#fallbacks.set(key, { fallback, count: 1 })
    else counted.count++
  }

  /** A connection ended, or was turned away before it was one. */
  closed(reason: CloseReason): void {
    this.#closed[reason]++
  }

  /** Each listener with the counts of both families. */
  get listeners(): ReadonlyMap<string, Readonly<Record<Family, ListenerCounts>>> {
    return new Map([...this.#listeners].map(([name, { byFamily }]) => [name, byFamily]))
  }

  get attempts(): Readonly<Record<Family, Readonly<Record<AttemptResult, number>>>> {
    return this.#attempts
  }

  get connectTimes(): Readonly<Record<Family, ConnectTimes>> {
    return this.#connectTimes
  }

  /** Connections that reached an upstream, by the family of the client, then by that of the upstream. */
  get upstreamConnections(): Readonly<Record<Family, Readonly<Record<Family, { readonly count: number }>>>> {
    return this.#upstreamConnections
  }

  /** Every change of family that has happened. */
  get fallbacks(): readonly FallbackCount[] {
    return [...this.#fallbacks.values()].map(({ fallback, count }) => ({ ...fallback, count }))
  }

  get closedConnections(): Readonly<Record<CloseReason, number>> {
    return this.#closed
  }

  #entry(listener: string): ListenerEntry {
    let entry = this.#listeners.get(listener)
    if (entry === undefined) {
      entry = { byFamily: perFamily(() => ({ accepted: 0, active: 0, state: undefined })), isRemoved: false }
      this.#listeners.set(listener, entry)
    }
    return entry
  }

  #forgetIfGone(listener: string, entry: ListenerEntry): void {
    const active = FAMILIES.reduce((sum, family) => sum + entry.byFamily[family].active, 0)
    if (entry.isRemoved && active <= 0) this.#listeners.delete(listener)
  }
}

function bucketOf(seconds: number): number {
  const index = CONNECT_BUCKETS_SECONDS.findIndex((bound) => seconds <= bound)
  return index < 0 ? CONNECT_BUCKETS_SECONDS.length : index
}

function perFamily<T>(make: () => T): Readonly<Record<Family, T>> {
  return { ipv4: make(), ipv6: make() }
}

function noAttempts(): Record<AttemptResult, number> {
  return {
    connected: 0,
    refused: 0,
    unreachable: 0,
    timeout: 0,
    reset: 0,
    source_unavailable: 0,
    lost_race: 0,
    cancelled: 0,
    failed: 0,
  }
}

function noneClosed(): Record<CloseReason, number> {
  return {
    finished: 0,
    downstream_reset: 0,
    upstream_reset: 0,
    downstream_gone: 0,
    upstream_refused: 0,
    upstream_unreachable: 0,
    upstream_timeout: 0,
    upstream_failed: 0,
    upstream_overflow: 0,
    no_route: 0,
    no_cluster: 0,
    no_endpoints: 0,
    policy_denied: 0,
    mtls_required: 0,
    destination_is_proxy: 0,
    connection_limit: 0,
    idle_timeout: 0,
    half_closed_timeout: 0,
    max_duration: 0,
    policy_changed: 0,
    drained: 0,
    internal: 0,
  }
}
