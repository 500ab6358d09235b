/**
 * The ends of one thread's upstream connections, in memory that every thread can look at: an open-addressed table of
 * numbers that has one writer. A reader that looks during a change can miss a connection, never see a wrong one.
 */
import type { IpAddress, SocketAddress } from '../core/address.ts'

/** A connection as who made it sees it. One source address and port serves many destinations at once. */
export interface ConnectionEnds {
  readonly from: SocketAddress
  readonly to: SocketAddress
  /**
   * The network namespace where its socket is, see NetworkNamespace; absent: the agent's own. Two ends in different ones
   * are a connection that goes from pod to pod, and no loop.
   */
  readonly namespaceId?: number | undefined
}

const MIN_CAPACITY = 1_024
const MAX_CAPACITY = 1_048_576
/** Beyond this share the table takes no more: searching would become slow, and it must always have an empty place. */
const MAX_LOAD = 0.75
const GOLDEN_RATIO = 0x9e37_79b1
/** Odd, so that no two of 2 ** 32 namespaces are mixed into one; another one for each half. */
const NAMESPACE_FACTOR = 0x27d4_eb2f

/** A multiset of connections: each `add` is taken back by one `delete`. */
export class UpstreamEnds {
  readonly shared: SharedArrayBuffer
  readonly #table: Float64Array
  readonly #mask: number
  /** Kept by the writer only. */
  #size = 0

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#table = new Float64Array(shared)
    this.#mask = this.#table.length - 1
    if (this.#table.length === 0 || (this.#table.length & this.#mask) !== 0)
      throw new TypeError(`a table has a power of two of places, not ${this.#table.length}`)
  }

  /** An empty table for a process that may have so many descriptors; 8 bytes each, up to 8 MiB, zero pages at first. */
  static allocate(descriptorLimit: number): UpstreamEnds {
    let capacity = MIN_CAPACITY
    while (capacity < descriptorLimit && capacity < MAX_CAPACITY) capacity *= 2
    return new UpstreamEnds(new SharedArrayBuffer(capacity * Float64Array.BYTES_PER_ELEMENT))
  }

  /** Does nothing when the table is full: loops of such a connection go unseen. */
  add(ends: ConnectionEnds): void {
    if (this.#size >= this.#table.length * MAX_LOAD) return
    const wanted = fingerprintOf(ends)
    let index = this.#homeOf(wanted)
    while (this.#table[index] !== 0) index = (index + 1) & this.#mask
    this.#table[index] = wanted
    this.#size++
  }

  has(ends: ConnectionEnds): boolean {
    return this.#find(fingerprintOf(ends)) >= 0
  }

  delete(ends: ConnectionEnds): void {
    let hole = this.#find(fingerprintOf(ends))
    if (hole < 0) return
    this.#size--
    // Whatever was pushed past the hole moves back into it, so that a search can stop at the first empty place.
    for (let next = this.#after(hole); this.#table[next] !== 0; next = this.#after(next)) {
      const moved = this.#table[next] ?? 0
      if (((next - this.#homeOf(moved)) & this.#mask) < ((next - hole) & this.#mask)) continue
      this.#table[hole] = moved
      hole = next
    }
    this.#table[hole] = 0
  }

  /** Forgets everything: for the next owner of the table when its thread has died. */
  clear(): void {
    this.#table.fill(0)
    this.#size = 0
  }

  #find(wanted: number): number {
    for (let index = this.#homeOf(wanted); ; index = this.#after(index)) {
      const found = this.#table[index]
      if (found === wanted) return index
      if (found === 0) return -1
    }
  }

  #after(index: number): number {
    return (index + 1) & this.#mask
  }

  #homeOf(value: number): number {
    const mixed = Math.imul((value % 4_294_967_296) ^ (value / 4_294_967_296), GOLDEN_RATIO)
    return (mixed ^ (mixed >>> 15)) & this.#mask
  }
}

/** 52 bits of hash, never 0: that two of a node's connections share one is less likely than that its memory fails. */
export function fingerprintOf({ from, to, namespaceId = 0 }: ConnectionEnds): number {
  let high = mixAddress(from.port ^ Math.imul(namespaceId, GOLDEN_RATIO), from.ip, 0x85eb_ca6b, 13)
  high = mixAddress(high ^ to.port, to.ip, 0x85eb_ca6b, 13)
  let low = mixAddress(~from.port ^ Math.imul(namespaceId, NAMESPACE_FACTOR), from.ip, 0xc2b2_ae35, 16)
  low = mixAddress(low ^ to.port, to.ip, 0xc2b2_ae35, 16)
  return (high >>> 12) * 4_294_967_296 + (low >>> 0) + 1
}

function mixAddress(start: number, { bytes }: IpAddress, factor: number, shift: number): number {
  // The length keeps addresses of the two families apart.
  let mixed = start ^ bytes.length
  for (const byte of bytes) {
    mixed = Math.imul(mixed ^ byte, factor)
    mixed ^= mixed >>> shift
  }
  return mixed
}
