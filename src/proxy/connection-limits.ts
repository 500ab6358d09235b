/** Holds the limits of upstreams on connections at once (Envoy's max_connections). */
import type { Upstream } from '../mesh/upstream.ts'

/** Counts connections from the moment at which they set out for an upstream, so that a burst cannot pass the limit. */
export interface ConnectionLimits {
  /** Takes a place; false when there is none. Always true without a limit. */
  opened(upstream: Upstream): boolean
  /** Gives the place of an `opened` that was true back, with the same upstream. */
  closed(upstream: Upstream): void
}

/** The limits of a proxy that has one thread. An upstream is counted by name while it has a limit. */
export class LocalConnectionLimits implements ConnectionLimits {
  readonly #open = new Map<string, number>()

  opened({ name, maxConnections }: Upstream): boolean {
    if (maxConnections === undefined) return true
    const open = this.#open.get(name) ?? 0
    if (open >= maxConnections) return false
    this.#open.set(name, open + 1)
    return true
  }

  closed({ name, maxConnections }: Upstream): void {
    if (maxConnections === undefined) return
    const open = this.#open.get(name) ?? 0
    if (open > 1) this.#open.set(name, open - 1)
    else this.#open.delete(name)
  }
}
