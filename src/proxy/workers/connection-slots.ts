/**
 * The connections of upstreams that have a limit, counted over all workers: a matrix in shared memory with a column per
 * upstream and a row per worker, so that what a worker counted can be taken back when it dies.
 */
import type { Upstream } from '../../mesh/upstream.ts'

/** Upstreams with a limit that can be counted over all workers. */
export const SLOT_COUNT = 4_096

/** The matrix. Each worker writes its own row only. */
export class ConnectionSlots {
  readonly shared: SharedArrayBuffer
  readonly #counts: Int32Array

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#counts = new Int32Array(shared)
  }

  static allocate(workers: number): ConnectionSlots {
    return new ConnectionSlots(new SharedArrayBuffer(workers * SLOT_COUNT * Int32Array.BYTES_PER_ELEMENT))
  }

  /** Counts a connection of a worker in or out (1 or -1), and gives the number over all workers after it. */
  add(worker: number, slot: number, count: 1 | -1): number {
    Atomics.add(this.#counts, worker * SLOT_COUNT + slot, count)
    return this.total(slot)
  }

  /** The connections of all workers. */
  total(slot: number): number {
    let total = 0
    for (let index = slot; index < this.#counts.length; index += SLOT_COUNT)
      total += Atomics.load(this.#counts, index)
    return total
  }

  /** A worker has died with its connections. */
  clear(worker: number): void {
    this.#counts.fill(0, worker * SLOT_COUNT, (worker + 1) * SLOT_COUNT)
  }
}

/** Gives out the columns, on the main thread. An upstream keeps its column by name, whatever else of it changes. */
export class SlotDirectory {
  readonly #slots: ConnectionSlots
  readonly #columns = new Map<string, { readonly slot: number; references: number }>()

  constructor(slots: ConnectionSlots) {
    this.#slots = slots
  }

  /** The column of an upstream; `undefined` without a limit, and when every column is in use. */
  take({ name, maxConnections }: Upstream): number | undefined {
    if (maxConnections === undefined) return undefined
    let column = this.#columns.get(name)
    if (column === undefined) {
      const slot = this.#columns.size < SLOT_COUNT ? this.#columns.size : this.#reclaim()
      if (slot === undefined) return undefined
      column = { slot, references: 0 }
      this.#columns.set(name, column)
    }
    column.references++
    return column.slot
  }

  /** Gives a column back that `take` gave. It stays the upstream's until another one needs it. */
  release({ name }: Upstream): void {
    const column = this.#columns.get(name)
    if (column !== undefined) column.references--
  }

  /** Takes a column from an upstream that no plan names and that has no connection left. */
  #reclaim(): number | undefined {
    for (const [name, { slot, references }] of this.#columns) {
      if (references > 0 || this.#slots.total(slot) > 0) continue
      this.#columns.delete(name)
      return slot
    }
    return undefined
  }
}
