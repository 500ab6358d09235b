/**
 * Chooses the filter chain of a connection as Envoy does: criterion by criterion, each narrowing what the one before
 * left, never going back when a later one matches nothing.
 *
 * https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/listener/v3/listener_components.proto
 */
import { cidrContains } from '../core/cidr.ts'

import type { Cidr } from '../core/cidr.ts'
import type { IpAddress, SocketAddress } from '../core/address.ts'
import type { FilterChain, Listener } from './listener.ts'

/** Less specific than any prefix, even /0. */
const MATCHES_ANYTHING = -1

/**
 * The chain for a connection: destination port first, then the longest destination prefix, then the longest client
 * prefix; else the default chain, else `undefined`. Costs the number of chains.
 */
export function matchFilterChain(
  listener: Listener,
  connection: { readonly client: SocketAddress; readonly destination: SocketAddress },
): FilterChain | undefined {
  const { client, destination } = connection
  const byPort = withPort(listener.filterChains, destination.port)
  const byDestination = mostSpecific(byPort, (chain) =>
    longestMatch(chain.match.destinationPrefixes, destination.ip),
  )
  const bySource = mostSpecific(byDestination, (chain) => longestMatch(chain.match.sourcePrefixes, client.ip))
  return bySource[0] ?? listener.defaultFilterChain
}

function withPort(chains: readonly FilterChain[], port: number): readonly FilterChain[] {
  const exact = chains.filter((chain) => chain.match.destinationPort === port)
  return exact.length > 0 ? exact : chains.filter((chain) => chain.match.destinationPort === undefined)
}

/** The chains that match best; none when none matches. */
function mostSpecific(
  chains: readonly FilterChain[],
  specificityOf: (chain: FilterChain) => number | undefined,
): readonly FilterChain[] {
  let best = MATCHES_ANYTHING
  let matching: FilterChain[] = []
  for (const chain of chains) {
    const specificity = specificityOf(chain)
    if (specificity === undefined || specificity < best) continue
    if (specificity > best) matching = []
    best = specificity
    matching.push(chain)
  }
  return matching
}

/** Length of the longest prefix that holds the address; `undefined` when there are prefixes and none does. */
function longestMatch(prefixes: readonly Cidr[], ip: IpAddress): number | undefined {
  if (prefixes.length === 0) return MATCHES_ANYTHING
  let longest: number | undefined
  for (const prefix of prefixes)
    if (cidrContains(prefix, ip)) longest = Math.max(longest ?? 0, prefix.prefixLength)
  return longest
}
