/** Which address an upstream connection is made from (rule 9): the client's own, one that is configured, or any. */
import type { SocketAddress } from '../core/address.ts'
import type { AttemptTarget } from './endpoint-selection.ts'

/** The source of one attempt. Without `from` the kernel chooses. */
export interface AttemptSource {
  readonly from?: SocketAddress | undefined
  /** `from` is not an address of this host. */
  readonly isTransparent?: boolean | undefined
}

/** What decides about sources for all attempts of one connection. */
export interface SourcePlan {
  /** The client, where its address is to be preserved, and its addresses in the other family as far as they are known. */
  readonly preserved: readonly SocketAddress[]
  /** At most one per family. */
  readonly configured: readonly SocketAddress[]
}

const ANY: AttemptSource = {}

/**
 * The source of an attempt to a target. A client of the other family alone cannot be preserved, nor one beside its endpoint:
 * its place takes what is configured for this one. The client's port is not kept: it may be in use towards the same destination.
 */
export function sourceOf(
  { preserved, configured }: SourcePlan,
  { family, endpoint }: Pick<AttemptTarget, 'family' | 'endpoint'>,
): AttemptSource {
  const client = preserved.find(({ ip }) => ip.family === family)
  if (client !== undefined && endpoint.isBesideClient !== true)
    return { from: { ip: client.ip, port: 0 }, isTransparent: true }
  const from = configured.find(({ ip }) => ip.family === family)
  return from === undefined ? ANY : { from }
}
