/** Which address an upstream connection is made from (rule 9): the client's own, one that is configured, or any. */
import type { SocketAddress } from '../core/address.ts'
import type { Family } from '../core/family.ts'

/** The source of one attempt. Without `from` the kernel chooses. */
export interface AttemptSource {
  readonly from?: SocketAddress | undefined
  /** `from` is not an address of this host. */
  readonly isTransparent?: boolean | undefined
}

/** What decides about sources for all attempts of one connection. */
export interface SourcePlan {
  /** The client, where its address is to be preserved. */
  readonly preserved?: SocketAddress | undefined
  /** At most one per family. */
  readonly configured: readonly SocketAddress[]
}

const ANY: AttemptSource = {}

/**
 * The source of an attempt to an address of `family`. A client of the other family cannot be preserved: its place
 * takes what is configured for this one. The client's port is not kept: it may be in use towards the same destination.
 */
export function sourceOf({ preserved, configured }: SourcePlan, family: Family): AttemptSource {
  if (preserved?.ip.family === family) return { from: { ip: preserved.ip, port: 0 }, isTransparent: true }
  const from = configured.find(({ ip }) => ip.family === family)
  return from === undefined ? ANY : { from }
}
