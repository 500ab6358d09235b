/**
 * Recognises the proxy's own upstream connections when a redirect brings them back to it: without an exemption in the
 * redirection rules each would become another one, until no descriptor is left (rule 4).
 */
import { fingerprintOf } from './upstream-ends.ts'

import type { ConnectionEnds, UpstreamEnds } from './upstream-ends.ts'

/**
 * How long the ends of an attempt that was given up are remembered: on a loop the kernel had connected it before that,
 * and its other end is still to be accepted.
 */
export const ABANDONED_MS = 2_000

export class LoopGuard {
  readonly #own: UpstreamEnds
  readonly #others: readonly UpstreamEnds[]
  /** Oldest first. */
  readonly #abandoned: { readonly ends: ConnectionEnds; readonly untilMs: number }[] = []
  /** By the fingerprint of their ends. */
  readonly #captured = new Map<number, () => void>()

  /**
   * @param own the table of this thread, written here only
   * @param others the tables of the other threads of the proxy
   */
  constructor(own: UpstreamEnds, others: readonly UpstreamEnds[] = []) {
    this.#own = own
    this.#others = others
  }

  /**
   * A capturing listener accepted a connection. False: it is one of our own and must be closed. `onLoop` is called when
   * that shows only later, because the two ends of a connection are reported in either order.
   *
   * @param ends.to the original destination: another connection may have the same source address
   */
  accepted(ends: ConnectionEnds, onLoop: () => void): boolean {
    if (this.isOwn(ends)) return false
    this.#captured.set(fingerprintOf(ends), onLoop)
    return true
  }

  /** True when it is an upstream connection of any thread. */
  isOwn(ends: ConnectionEnds): boolean {
    if (this.#own.has(ends)) return true
    for (const other of this.#others) if (other.has(ends)) return true
    return false
  }

  /**
   * An attempt has begun. Without this, each end of a loop would be accepted, and its own attempt begun,
   * before the connect that led to it is reported: the loop would go on for ever, one step ahead of the guard.
   */
  connecting(ends: ConnectionEnds, nowMs: number): void {
    this.#forgetAbandoned(nowMs)
    this.#own.add(ends)
  }

  /** The attempt failed, or `connected` has taken its place. */
  settled(ends: ConnectionEnds): void {
    this.#own.delete(ends)
  }

  /** The attempt was given up; the kernel may have connected it all the same. */
  abandoned(ends: ConnectionEnds, nowMs: number): void {
    this.#forgetAbandoned(nowMs)
    this.#abandoned.push({ ends, untilMs: nowMs + ABANDONED_MS })
  }

  /** An upstream connection was made. */
  connected(ends: ConnectionEnds): void {
    this.#own.add(ends)
    if (this.#captured.size > 0) this.#captured.get(fingerprintOf(ends))?.()
  }

  /** A connection is gone, with the upstream one that it had. */
  ended(downstream: ConnectionEnds, upstream: ConnectionEnds | undefined): void {
    if (this.#captured.size > 0) this.#captured.delete(fingerprintOf(downstream))
    if (upstream !== undefined) this.#own.delete(upstream)
  }

  #forgetAbandoned(nowMs: number): void {
    const kept = this.#abandoned.findIndex(({ untilMs }) => untilMs > nowMs)
    const over = this.#abandoned.splice(0, kept < 0 ? this.#abandoned.length : kept)
    for (const { ends } of over) this.#own.delete(ends)
  }
}
