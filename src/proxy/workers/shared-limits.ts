/** The limits of upstreams on connections, held over all workers by counts in shared memory. */
import { LocalConnectionLimits } from '../connection-limits.ts'

import type { Upstream } from '../../mesh/upstream.ts'
import type { ConnectionLimits } from '../connection-limits.ts'
import type { ConnectionSlots } from './connection-slots.ts'

export interface SharedConnectionLimitsDeps {
  readonly slots: ConnectionSlots
  /** The column of an upstream, as the main thread has given it. */
  readonly slotOf: (upstream: Upstream) => number | undefined
}

/**
 * Counts first and looks then, so that no two workers can both take the last place; both may find it taken. Where there
 * was no column left for an upstream, its limit holds in each worker for itself.
 */
export class SharedConnectionLimits implements ConnectionLimits {
  readonly #deps: SharedConnectionLimitsDeps
  readonly #worker: number
  readonly #local = new LocalConnectionLimits()

  constructor(deps: SharedConnectionLimitsDeps, options: { readonly worker: number }) {
    this.#deps = deps
    this.#worker = options.worker
  }

  opened(upstream: Upstream): boolean {
    const { maxConnections } = upstream
    if (maxConnections === undefined) return true
    const slot = this.#deps.slotOf(upstream)
    if (slot === undefined) return this.#local.opened(upstream)
    if (this.#deps.slots.add(this.#worker, slot, 1) <= maxConnections) return true
    this.#deps.slots.add(this.#worker, slot, -1)
    return false
  }

  closed(upstream: Upstream): void {
    if (upstream.maxConnections === undefined) return
    const slot = this.#deps.slotOf(upstream)
    if (slot === undefined) this.#local.closed(upstream)
    else this.#deps.slots.add(this.#worker, slot, -1)
  }
}
