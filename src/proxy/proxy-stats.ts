/**
 * What the data path of one thread counts: an addition per event, in an array that other threads may read. One thread
 * writes an array and nobody locks it. Reading is the matter of ProxyTotals, which adds up the arrays of all threads.
 */
import {
  acceptedSlot,
  activeSlot,
  attemptSlot,
  bucketOf,
  BUSY_SECONDS_SLOT,
  bytesSlot,
  closedSlot,
  connectBucketSlot,
  connectSecondsSlot,
  fallbackSlot,
  RUN_SECONDS_SLOT,
  SLOT_COUNT,
  SPLICE_FALLBACK_REASONS,
  spliceFallbackSlot,
  upstreamConnectionSlot,
} from './stats-slots.ts'

import type { ErrorCode } from '../core/errors.ts'
import type { Family } from '../core/family.ts'
import type { CloseReason } from './close-reason.ts'
import type { AttemptResult, Fallback } from './connection-record.ts'
import type { RelayBytes } from './transport.ts'

export interface ProxyStatsOptions {
  /** The numbers of this thread, from `ProxyTotals.open`; nobody else writes to them. */
  readonly slots: Float64Array
  /** The entry of a listener that ListenerLedger gave it; OVERFLOW_ENTRY for one that is not known. */
  readonly entryOf: (listener: string) => number
}

/** The families of both sides of a connection. */
export interface ConnectionFamilies {
  readonly downstream: Family
  readonly upstream: Family
}

/** The counters of one thread. The methods are called in the data path; none of them throws. */
export class ProxyStats {
  readonly #slots: Float64Array
  readonly #entryOf: (listener: string) => number

  /** @throws {TypeError} when the array has not the length of this build */
  constructor({ slots, entryOf }: ProxyStatsOptions) {
    if (slots.length !== SLOT_COUNT)
      throw new TypeError(`counters have ${SLOT_COUNT} slots, not ${slots.length}`)
    this.#slots = slots
    this.#entryOf = entryOf
  }

  /**
   * A connection was accepted. Gives the entry that `ended` takes: the one in which the connection counts as active,
   * whatever becomes of the listener's name meanwhile.
   */
  accepted(listener: string, family: Family): number {
    const entry = this.#entryOf(listener)
    this.#add(acceptedSlot(entry, family), 1)
    this.#add(activeSlot(entry, family), 1)
    return entry
  }

  /** A connection that was accepted is gone. */
  ended(entry: number, family: Family): void {
    this.#add(activeSlot(entry, family), -1)
  }

  /** An attempt to connect ended. */
  attempt(family: Family, result: AttemptResult, durationMs: number): void {
    this.#add(attemptSlot(family, result), 1)
    if (result !== 'connected') return
    const seconds = durationMs / 1_000
    this.#add(connectBucketSlot(family, bucketOf(seconds)), 1)
    this.#add(connectSecondsSlot(family), seconds)
  }

  /** A connection has its upstream. */
  connected({ downstream, upstream }: ConnectionFamilies): void {
    this.#add(upstreamConnectionSlot(downstream, upstream), 1)
  }

  /** A connection left the first family of its order. */
  fellBack(fallback: Fallback): void {
    this.#add(fallbackSlot(fallback), 1)
  }

  /**
   * Counts what a connection has moved since it was last counted, and brings `counted` up to `bytes`. Each side counts
   * by the family of its own socket, so a fallback counts in both families.
   */
  moved(families: ConnectionFamilies, bytes: Readonly<RelayBytes>, counted: RelayBytes): void {
    const { downstream, upstream } = families
    this.#add(
      bytesSlot(downstream, 'downstreamReceived'),
      bytes.downstreamReceived - counted.downstreamReceived,
    )
    this.#add(bytesSlot(downstream, 'downstreamSent'), bytes.downstreamSent - counted.downstreamSent)
    this.#add(bytesSlot(upstream, 'upstreamReceived'), bytes.upstreamReceived - counted.upstreamReceived)
    this.#add(bytesSlot(upstream, 'upstreamSent'), bytes.upstreamSent - counted.upstreamSent)
    counted.downstreamReceived = bytes.downstreamReceived
    counted.downstreamSent = bytes.downstreamSent
    counted.upstreamReceived = bytes.upstreamReceived
    counted.upstreamSent = bytes.upstreamSent
  }

  /** A connection ended, or was turned away before it was one. */
  closed(reason: CloseReason): void {
    this.#add(closedSlot(reason), 1)
  }

  /** A relay got no pipe and copies what it could have spliced. */
  spliceFellBack(code: ErrorCode): void {
    const reason = SPLICE_FALLBACK_REASONS.find((known) => known === code) ?? 'unsupported'
    this.#add(spliceFallbackSlot(reason), 1)
  }

  /** The thread has run for `runSeconds` more, and was busy for `busySeconds` of them. */
  ran(runSeconds: number, busySeconds: number): void {
    this.#add(RUN_SECONDS_SLOT, runSeconds)
    this.#add(BUSY_SECONDS_SLOT, busySeconds)
  }

  #add(slot: number, count: number): void {
    this.#slots[slot] = (this.#slots[slot] ?? 0) + count
  }
}
