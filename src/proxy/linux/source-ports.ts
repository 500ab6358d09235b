/**
 * Ports for connections that are made from a client's address. One must not come by the port of a connection which that
 * client has to the same destination and which was redirected here: for the kernel's connection tracking both would be the
 * same one, and neither would get through. Clients take even ports when they connect, while there are any
 * (ip_local_port_range, inet_hash_connect), so these are odd. What the agent of the client's node has connected is
 * redirected on the node of the pod in turn, so outbound and inbound have ports apart, too.
 */
import type { Random } from '../../core/random.ts'
import type { TrafficDirection } from '../../mesh/listener.ts'

/** Below it are the inbound ports, which no client has: the range that Linux has for them begins here by default. */
export const END_PORT = 32_768
const FIRST_INBOUND_PORT = 1_025
const FIRST_OUTBOUND_PORT = END_PORT + 1
/** How many there are in each direction, for all threads together. */
export const SOURCE_PORT_COUNT = (END_PORT - FIRST_INBOUND_PORT + 1) >> 1

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

  /** The next port for a connection of a listener of `direction`; all but outbound ones count as inbound. */
  next(direction: TrafficDirection | undefined): number {
    const place = this.#next
    this.#next = (place + 1) % this.#count
    const first = direction === 'outbound' ? FIRST_OUTBOUND_PORT : FIRST_INBOUND_PORT
    return first + 2 * (place * this.#stride + this.#worker)
  }
}
