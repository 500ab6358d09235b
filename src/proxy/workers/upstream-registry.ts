/** Gives upstreams numbers by which workers know them: one per upstream that is different from what it was before. */
import { isDeepStrictEqual } from 'node:util'

import type { Upstream } from '../../mesh/upstream.ts'
import type { SlotDirectory } from './connection-slots.ts'

/** One upstream as long as a plan names it. */
export interface RegisteredUpstream {
  readonly id: number
  readonly upstream: Upstream
  /** Where its connections are counted for all workers; `undefined` without a limit, or without room. */
  readonly slot: number | undefined
  /** Workers that have been sent it. */
  readonly workers: Set<number>
}

interface Entry extends RegisteredUpstream {
  references: number
}

/**
 * Recognises an upstream by its identity, and by its value when a router has made an equal one anew. Every plan that
 * names an upstream holds a reference.
 */
export class UpstreamRegistry {
  readonly #slots: SlotDirectory
  readonly #byId = new Map<number, Entry>()
  readonly #byIdentity = new WeakMap<Upstream, Entry>()
  readonly #latestByName = new Map<string, Entry>()
  #nextId = 1

  constructor(deps: { readonly slots: SlotDirectory }) {
    this.#slots = deps.slots
  }

  /** Upstreams that plans name now. */
  get size(): number {
    return this.#byId.size
  }

  /** Finds or makes the entry and takes a reference. Costs the size of the upstream when it is not the same object. */
  take(upstream: Upstream): RegisteredUpstream {
    const entry = this.#find(upstream) ?? this.#make(upstream)
    entry.references++
    return entry
  }

  /** Gives a reference back. True: it was the last, and the number is not used again. */
  release({ id }: RegisteredUpstream): boolean {
    const entry = this.#byId.get(id)
    if (entry === undefined) throw new TypeError(`upstream ${id} was released more often than taken`)
    entry.references--
    if (entry.references > 0) return false
    this.#byId.delete(id)
    if (entry.slot !== undefined) this.#slots.release(entry.upstream)
    const { name } = entry.upstream
    if (this.#latestByName.get(name) === entry) this.#latestByName.delete(name)
    return true
  }

  /** A worker has died: it has been sent nothing. */
  forgetWorker(worker: number): void {
    for (const { workers } of this.#byId.values()) workers.delete(worker)
  }

  #find(upstream: Upstream): Entry | undefined {
    const same = this.#byIdentity.get(upstream)
    if (same !== undefined && this.#byId.has(same.id)) return same
    const latest = this.#latestByName.get(upstream.name)
    if (latest === undefined || !isDeepStrictEqual(latest.upstream, upstream)) return undefined
    this.#byIdentity.set(upstream, latest)
    return latest
  }

  #make(upstream: Upstream): Entry {
    const slot = this.#slots.take(upstream)
    const entry: Entry = { id: this.#nextId++, upstream, slot, workers: new Set(), references: 0 }
    this.#byId.set(entry.id, entry)
    this.#byIdentity.set(upstream, entry)
    this.#latestByName.set(upstream.name, entry)
    return entry
  }
}
