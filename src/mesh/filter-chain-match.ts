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

/** What a connection speaks that nobody looks into. */
const PLAIN_TEXT = 'raw_buffer'
/** Less specific than any prefix, even /0. */
const MATCHES_ANYTHING = -1

interface MatchedConnection {
  readonly client: SocketAddress
  readonly destination: SocketAddress
}

/**
 * The chain for a connection, which counts as plain text: destination port first, then the longest destination prefix,
 * then what a client in plain text speaks, then the longest client prefix; else the default chain, else `undefined`.
 * Costs the number of chains.
 */
export function matchFilterChain(listener: Listener, connection: MatchedConnection): FilterChain | undefined {
  const byDestination = withDestination(listener.filterChains, connection.destination)
  const bySource = mostSpecific(inPlainText(byDestination), (chain) =>
    longestMatch(chain.match.sourcePrefixes, connection.client.ip),
  )
  return bySource[0] ?? listener.defaultFilterChain
}

/** True when there are chains for the destination of a connection, and all of them are for clients that speak TLS. */
export function isTlsAskedFor(listener: Listener, { destination }: MatchedConnection): boolean {
  const chains = withDestination(listener.filterChains, destination)
  return chains.length > 0 && chains.every(({ match }) => match.transportProtocol === 'tls')
}

function withDestination(chains: readonly FilterChain[], destination: SocketAddress): readonly FilterChain[] {
  return mostSpecific(withPort(chains, destination.port), (chain) =>
    longestMatch(chain.match.destinationPrefixes, destination.ip),
  )
}

/** Server name, transport, application protocol: in plain text there is no name, and nobody looks for a protocol. */
function inPlainText(chains: readonly FilterChain[]): readonly FilterChain[] {
  const unnamed = chains.filter(({ match }) => match.serverNames === undefined)
  const exact = unnamed.filter(({ match }) => match.transportProtocol === PLAIN_TEXT)
  const byTransport =
    exact.length > 0 ? exact : unnamed.filter(({ match }) => match.transportProtocol === undefined)
  return byTransport.filter(({ match }) => match.applicationProtocols === undefined)
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
