/**
 * Recognises the proxy's own upstream connections when a redirect brings them back to it: without an exemption in the
 * redirection rules each would become another one, until no descriptor is left (rule 4).
 */
import { formatSocketAddress } from '../core/address.ts'

import type { SocketAddress } from '../core/address.ts'

export class LoopGuard {
  readonly #upstreamLocals = new Set<string>()
  readonly #captured = new Map<string, () => void>()

  /**
   * A capturing listener accepted a connection. False: it is one of our own and must be closed. `onLoop` is called when
   * that shows only later, because the two ends of a connection are reported in either order.
   */
  accepted(client: SocketAddress, onLoop: () => void): boolean {
    const key = formatSocketAddress(client)
    if (this.#upstreamLocals.has(key)) return false
    this.#captured.set(key, onLoop)
    return true
  }

  /** An upstream connection was made from `local`. */
  connected(local: SocketAddress): void {
    const key = formatSocketAddress(local)
    this.#upstreamLocals.add(key)
    this.#captured.get(key)?.()
  }

  /** A connection is gone, with the ends that it had. */
  ended(ends: { readonly client: SocketAddress; readonly upstreamLocal: SocketAddress | undefined }): void {
    this.#captured.delete(formatSocketAddress(ends.client))
    if (ends.upstreamLocal !== undefined) this.#upstreamLocals.delete(formatSocketAddress(ends.upstreamLocal))
  }
}
