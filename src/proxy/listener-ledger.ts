/**
 * Which entry of the threads' counters a listener has, and the state of its sockets. The main thread owns it: it opens
 * the sockets, and hands the entry of a listener to the threads that accept for it.
 */
import { FAMILIES } from '../core/family.ts'
import { acceptedSlot, activeSlot, LISTENER_ENTRIES, OVERFLOW_ENTRY } from './stats-slots.ts'

import type { Family } from '../core/family.ts'

/** `bound`: accepting. `absent`: the machine has not that family or address. `failed`: it has, and refuses it. */
export const LISTENER_STATES = ['bound', 'absent', 'failed'] as const

export type ListenerState = (typeof LISTENER_STATES)[number]

/** One listener and family. */
export interface ListenerCounts {
  /** `undefined`: the listener has no entry of its own and is counted under {@link OVERFLOW_LISTENER}. */
  readonly accepted: number | undefined
  readonly active: number | undefined
  /** `undefined` until it has been tried, and after the listener was removed. */
  readonly state: ListenerState | undefined
}

/** What stands for the listeners that have no entry of their own. */
export const OVERFLOW_LISTENER = '(overflow)'

interface Listing {
  readonly entry: number
  readonly states: Record<Family, ListenerState | undefined>
  isRemoved: boolean
}

export interface ListenerLedgerOptions {
  /** Listeners that have an entry of their own; default and maximum {@link LISTENER_ENTRIES}. */
  readonly capacity?: number
}

/**
 * A removed listener stays until its last connection has ended; then its entry is free for another one. The threads'
 * numbers are never set back, so the ledger remembers what an entry had counted before its present listener.
 */
export class ListenerLedger {
  readonly #totalOf: (slot: number) => number
  readonly #capacity: number
  readonly #listings = new Map<string, Listing>()
  /** Oldest first: the longer an entry rests, the less can a thread still count for its former listener. */
  readonly #free: number[] = []
  readonly #countedBefore = new Map<number, number>()
  #used = 0

  /** @param totalOf the sum of a slot over all threads */
  constructor(totalOf: (slot: number) => number, options: ListenerLedgerOptions = {}) {
    this.#totalOf = totalOf
    this.#capacity = Math.min(options.capacity ?? LISTENER_ENTRIES, LISTENER_ENTRIES)
  }

  /** The entry that counts for a listener; OVERFLOW_ENTRY when there is none left. */
  readonly entryOf = (listener: string): number => {
    return this.#listing(listener).entry
  }

  /** What became of the socket of one listener and family. */
  setState(listener: string, family: Family, state: ListenerState): void {
    const listing = this.#listing(listener)
    listing.isRemoved = false
    listing.states[family] = state
  }

  /** The listener is no longer wanted. Call it when no thread accepts for it any more. */
  remove(listener: string): void {
    const listing = this.#listings.get(listener)
    if (listing === undefined) return
    listing.isRemoved = true
    for (const family of FAMILIES) listing.states[family] = undefined
  }

  /** Each listener with the counts of both families. */
  get counts(): ReadonlyMap<string, Readonly<Record<Family, ListenerCounts>>> {
    this.#forgetGone()
    const counts = new Map<string, Readonly<Record<Family, ListenerCounts>>>()
    for (const [name, listing] of this.#listings) {
      counts.set(name, { ipv4: this.#countsOf(listing, 'ipv4'), ipv6: this.#countsOf(listing, 'ipv6') })
    }
    const hasOverflow = FAMILIES.some((family) => this.#totalOf(acceptedSlot(OVERFLOW_ENTRY, family)) > 0)
    if (hasOverflow)
      counts.set(OVERFLOW_LISTENER, { ipv4: this.#overflow('ipv4'), ipv6: this.#overflow('ipv6') })
    return counts
  }

  #listing(listener: string): Listing {
    let listing = this.#listings.get(listener)
    if (listing === undefined) {
      const states = { ipv4: undefined, ipv6: undefined }
      listing = { entry: this.#takeEntry(), states, isRemoved: false }
      this.#listings.set(listener, listing)
    }
    return listing
  }

  #takeEntry(): number {
    if (this.#used < this.#capacity) return this.#used++
    this.#forgetGone()
    const entry = this.#free.shift()
    if (entry === undefined) return OVERFLOW_ENTRY
    for (const family of FAMILIES) {
      const slot = acceptedSlot(entry, family)
      this.#countedBefore.set(slot, this.#totalOf(slot))
    }
    return entry
  }

  #forgetGone(): void {
    for (const [name, { entry, isRemoved }] of this.#listings) {
      if (!isRemoved) continue
      if (entry !== OVERFLOW_ENTRY) {
        if (FAMILIES.some((family) => this.#totalOf(activeSlot(entry, family)) > 0)) continue
        this.#free.push(entry)
      }
      this.#listings.delete(name)
    }
  }

  #countsOf({ entry, states }: Listing, family: Family): ListenerCounts {
    const state = states[family]
    if (entry === OVERFLOW_ENTRY) return { accepted: undefined, active: undefined, state }
    const slot = acceptedSlot(entry, family)
    return {
      accepted: this.#totalOf(slot) - (this.#countedBefore.get(slot) ?? 0),
      active: this.#totalOf(activeSlot(entry, family)),
      state,
    }
  }

  #overflow(family: Family): ListenerCounts {
    return {
      accepted: this.#totalOf(acceptedSlot(OVERFLOW_ENTRY, family)),
      active: this.#totalOf(activeSlot(OVERFLOW_ENTRY, family)),
      state: undefined,
    }
  }
}
