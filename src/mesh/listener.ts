/** Where the proxy listens, and for the Envoy dialect what it does with what arrives there. */
import type { Cidr } from '../core/cidr.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Keepalive } from './upstream.ts'

/**
 * How connections get to a listener: `redirect` (the original destination is asked of the kernel), `tproxy` (it is the
 * local address) or `none` (the listener is the destination).
 */
export type Capture = 'redirect' | 'tproxy' | 'none'

export type TrafficDirection = 'inbound' | 'outbound' | 'unspecified'

/** A raw socket option of an Envoy listener address. */
export interface SocketOption {
  readonly level: number
  readonly name: number
  readonly value: number | Uint8Array
}

/** One address of a listener: exactly one socket of its family. */
export interface ListenerAddress {
  readonly address: SocketAddress
  readonly socketOptions: readonly SocketOption[]
}

/** One listener, with the addresses of both families. */
export interface Listener {
  readonly name: string
  readonly addresses: readonly ListenerAddress[]
  readonly capture: Capture
  readonly direction: TrafficDirection
  /** False: no socket; it only answers for connections that another listener hands over by original destination. */
  readonly bindToPort: boolean
  /**
   * True: a connection whose original destination is the address of another listener is handed over to that one, once
   * (Envoy's use_original_dst). Absent: the listener answers for all of its connections.
   */
  readonly hasHandOff?: boolean
  /** True: upstream connections are made from the client's address where the families match (Envoy's original_src). */
  readonly preservesSource?: boolean
  /** Length of the accept queue; absent: the default of the proxy. */
  readonly backlog?: number
  readonly keepalive?: Keepalive
  /** Empty outside the Envoy dialect. */
  readonly filterChains: readonly FilterChain[]
  readonly defaultFilterChain?: FilterChain
  readonly accessLogs: readonly AccessLog[]
}

/** What a connection must look like for a filter chain to take it. An absent part matches everything. */
export interface FilterChainMatch {
  readonly destinationPort?: number
  /** The destination is in one of them; empty matches everything. */
  readonly destinationPrefixes: readonly Cidr[]
  /** The client is in one of them; empty matches everything. */
  readonly sourcePrefixes: readonly Cidr[]
  /** What the client speaks: `tls`, or `raw_buffer`, which is what every connection counts as that is not looked into. */
  readonly transportProtocol?: string
  /** Names that a TLS client asks for; a connection in plain text asks for none. */
  readonly serverNames?: readonly string[]
  /** Protocols that an inspection of the first bytes finds; without an inspection none is found. */
  readonly applicationProtocols?: readonly string[]
}

/** A filter chain either carries its connections or refuses them. */
export type FilterChain = ForwardingChain | RefusingChain

interface NamedChain {
  readonly name: string
  readonly match: FilterChainMatch
}

export interface ForwardingChain extends NamedChain {
  readonly tcpProxy: TcpProxy
  /**
   * True: HTTP whose routes are not read here, or lead to several clusters. Its connections go to the service that their
   * destination means; where that is none, as `tcpProxy` says.
   */
  readonly hasUnreadRoutes?: boolean
}

/** A chain without filters, which Envoy closes at once, or one that asks for what is not spoken or evaluated here. */
export interface RefusingChain extends NamedChain {
  readonly refusal: ChainRefusal
}

/** What becomes of the connections of a chain. */
export type ChainOutcome =
  Pick<ForwardingChain, 'tcpProxy' | 'hasUnreadRoutes'> | Pick<RefusingChain, 'refusal'>

export interface ChainRefusal {
  readonly reason: 'no_route' | 'mtls_required' | 'policy_denied'
  /** What exactly is missing, for the log. */
  readonly detail: string
}

/** Envoy's envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, as far as it concerns plain TCP. */
export interface TcpProxy {
  readonly statPrefix: string
  /** At least one; a connection picks by weight. */
  readonly clusters: readonly WeightedCluster[]
  /** Absent: no limit. */
  readonly idleTimeoutMs?: number
  /** Endpoints that one connection may try; absent: the default of the proxy. */
  readonly maxConnectAttempts?: number
  readonly maxConnectionDurationMs?: number
  readonly accessLogs: readonly AccessLog[]
}

export interface WeightedCluster {
  readonly name: string
  readonly weight: number
}

/** One access log of a listener or filter. */
export interface AccessLog {
  readonly target:
    | { readonly kind: 'stdout' }
    | { readonly kind: 'stderr' }
    | { readonly kind: 'file'; readonly path: string }
  /** Absent: the format of the agent's own access log. Text may hold Envoy's command operators. */
  readonly format?: AccessLogFormat
}

export type AccessLogFormat =
  | { readonly kind: 'text'; readonly template: string }
  | { readonly kind: 'json'; readonly template: Readonly<Record<string, string>> }

/** A listener as those need it who accept for it: filter chains are the router's matter. */
export function withoutFilterChains(listener: Listener): Listener {
  return { ...listener, filterChains: [] }
}
