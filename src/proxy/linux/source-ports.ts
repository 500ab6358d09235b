/**
 * Ports for connections that are made from a client's address. One must not come by the port of a connection which that
 * client has to the same destination and which was redirected here: for the kernel's connection tracking both would be the
 * same one, and neither would get through. Clients take even ports from the upper range when they connect, while there are
 * any (ip_local_port_range, inet_hash_connect), so these are odd and below it.
 */
import type { Random } from '../../core/random.ts'

const FIRST_PORT = 1_025
/** The range that Linux has for clients begins here by default. */
export const END_PORT = 32_768
/** How many there are for all threads together. */
export const SOURCE_PORT_COUNT = (END_PORT - FIRST_PORT + 1) >> 1

export interface SourcePortsOptions {
  /** The place of this thread among those that share the ports. */
  readonly worker: number
  readonly workers: number
}

/** Goes round: a port comes again when all others of the thread have come. Threads have ports of their own. */
export class SourcePorts {
  readonly #stride: number
  readonly #worker: number
  readonly #count: number
  #next: number

  constructor(deps: { readonly random: Random }, { worker, workers }: SourcePortsOptions) {
    this.#stride = workers
    this.#worker = worker
    this.#count = Math.floor(SOURCE_PORT_COUNT / workers)
    // An agent that was started again would meet the connections of the one before in the order in which they were made.
    this.#next = Math.floor(deps.random.next() * this.#count)
  }

  next(): number {
    const place = this.#next
    this.#next = (place + 1) % this.#count
    return FIRST_PORT + 2 * (place * this.#stride + this.#worker)
  }
}
