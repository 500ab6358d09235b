/**
 * How many descriptors the workers may still take: each writes how many connections it has, the main thread writes how
 * many descriptors are nobody's connection, and everybody adds up (rule 14).
 */
import { isExhausted } from '../descriptor-budget.ts'

const OTHERS = 0
const FIRST_WORKER = 1

export class ConnectionCounts {
  readonly shared: SharedArrayBuffer
  readonly #counts: Int32Array

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#counts = new Int32Array(shared)
  }

  static allocate(workers: number): ConnectionCounts {
    return new ConnectionCounts(
      new SharedArrayBuffer((FIRST_WORKER + workers) * Int32Array.BYTES_PER_ELEMENT),
    )
  }

  /** Says how many connections a worker has. */
  set(worker: number, connections: number): void {
    Atomics.store(this.#counts, FIRST_WORKER + worker, connections)
  }

  /** Says how many descriptors of the process are of no connection. */
  setOthers(descriptors: number): void {
    Atomics.store(this.#counts, OTHERS, descriptors)
  }

  /** The connections of all workers. */
  get total(): number {
    let total = 0
    for (let index = FIRST_WORKER; index < this.#counts.length; index++)
      total += Atomics.load(this.#counts, index)
    return total
  }

  /** True when one more connection fits. Workers that look at the same time can each be right about the last one. */
  hasRoom(descriptorLimit: number): boolean {
    const others = Atomics.load(this.#counts, OTHERS)
    return !isExhausted({ others, connections: this.total, limit: descriptorLimit })
  }
}
