/**
 * What all threads have counted, read at scrape. The main thread makes an array for each thread and adds up what is in
 * them; what a thread that died had counted stays, so that no counter goes backwards.
 *
 * A reader may see one number before and another after an event. It never sees half a number: 64-bit machines, the
 * only ones that Node.js supports, load and store an aligned double at once.
 */
import { FAMILIES, otherFamily } from '../core/family.ts'
import { FALLBACK_REASONS } from './connection-record.ts'
import { ListenerLedger } from './listener-ledger.ts'
import {
  ACTIVE_SLOTS,
  attemptSlot,
  BUSY_SECONDS_SLOT,
  bytesSlot,
  closedSlot,
  CONNECT_BUCKETS_SECONDS,
  connectBucketSlot,
  connectSecondsSlot,
  fallbackSlot,
  RUN_SECONDS_SLOT,
  SLOT_COUNT,
  spliceFallbackSlot,
  upstreamConnectionSlot,
} from './stats-slots.ts'

import type { Family } from '../core/family.ts'
import type { CloseReason } from './close-reason.ts'
import type { AttemptResult, Fallback } from './connection-record.ts'
import type { ListenerLedgerOptions } from './listener-ledger.ts'
import type { ByteCounter, SpliceFallbackReason } from './stats-slots.ts'

/** How long connects took. */
export interface ConnectTimes {
  /** Connects per bucket of CONNECT_BUCKETS_SECONDS, not cumulative, with one more for +Inf at the end. */
  readonly buckets: readonly number[]
  readonly sumSeconds: number
  readonly count: number
}

/** A change of family that happened `count` times. */
export interface FallbackCount extends Fallback {
  readonly count: number
}

/** How busy a thread is. The object is the same while the thread lives; one that is started anew has a new one. */
export interface ThreadLoad {
  readonly thread: string
  /** 0 in a thread that does not measure it. */
  readonly runSeconds: number
  readonly busySeconds: number
}

interface Thread {
  readonly slots: Float64Array
  readonly load: ThreadLoad
}

/** The sums over all threads. */
export class ProxyTotals {
  /** Who has which entry of the counters by listener, and the state of listeners. */
  readonly listeners: ListenerLedger
  readonly #threads = new Set<Thread>()
  readonly #retired = new Float64Array(SLOT_COUNT)

  constructor(options: ListenerLedgerOptions = {}) {
    this.listeners = new ListenerLedger((slot) => this.#total(slot), options)
  }

  /** Makes the counters of one thread, over memory that can be handed to it. */
  open(thread: string): Float64Array {
    const slots = new Float64Array(new SharedArrayBuffer(SLOT_COUNT * Float64Array.BYTES_PER_ELEMENT))
    const load = {
      thread,
      get runSeconds() {
        return slots[RUN_SECONDS_SLOT] ?? 0
      },
      get busySeconds() {
        return slots[BUSY_SECONDS_SLOT] ?? 0
      },
    }
    this.#threads.add({ slots, load })
    return slots
  }

  /**
   * Keeps what a thread has counted after it died; call it once the thread runs no more. The connections that it had
   * are no longer active and count as closed for `reason`. Gives their number; 0 for slots that are not, or no longer,
   * of a thread.
   */
  retire(slots: Float64Array, reason: CloseReason): number {
    const thread = [...this.#threads].find((each) => each.slots === slots)
    if (thread === undefined) return 0
    this.#threads.delete(thread)
    let lost = 0
    for (const [slot, count] of slots.entries()) {
      if (slot >= ACTIVE_SLOTS.start && slot < ACTIVE_SLOTS.end) lost += count
      else this.#retired[slot] = (this.#retired[slot] ?? 0) + count
    }
    const closed = closedSlot(reason)
    this.#retired[closed] = (this.#retired[closed] ?? 0) + lost
    return lost
  }

  /** Attempts to connect, by how they ended. */
  attempts(family: Family, result: AttemptResult): number {
    return this.#total(attemptSlot(family, result))
  }

  connectTimes(family: Family): ConnectTimes {
    const buckets = CONNECT_BUCKETS_SECONDS.concat(Infinity).map((_, bucket) =>
      this.#total(connectBucketSlot(family, bucket)),
    )
    return {
      buckets,
      sumSeconds: this.#total(connectSecondsSlot(family)),
      count: buckets.reduce((sum, count) => sum + count, 0),
    }
  }

  /** Connections that reached an upstream. */
  upstreamConnections(downstream: Family, upstream: Family): number {
    return this.#total(upstreamConnectionSlot(downstream, upstream))
  }

  /** Both changes of family with every reason, 0 among them. */
  get fallbacks(): readonly FallbackCount[] {
    return FAMILIES.flatMap((from) =>
      FALLBACK_REASONS.map((reason) => ({
        from,
        to: otherFamily(from),
        reason,
        count: this.#total(fallbackSlot({ from, reason })),
      })),
    )
  }

  /** Connections that ended for a reason. */
  closed(reason: CloseReason): number {
    return this.#total(closedSlot(reason))
  }

  /** Bytes of the sockets of one family. */
  bytes(family: Family, counter: ByteCounter): number {
    return this.#total(bytesSlot(family, counter))
  }

  /** Relays that had to copy. */
  spliceFallbacks(reason: SpliceFallbackReason): number {
    return this.#total(spliceFallbackSlot(reason))
  }

  /** The threads that live. */
  get loads(): readonly ThreadLoad[] {
    return Array.from(this.#threads, ({ load }) => load)
  }

  #total(slot: number): number {
    let sum = this.#retired[slot] ?? 0
    for (const { slots } of this.#threads) sum += slots[slot] ?? 0
    return sum
  }
}
