/** Builds the Envoy dialect's resources for tests, each with only what the test is about. */
import { parseIp, parseSocketAddress } from '../../src/core/address.ts'
import { parseCidr } from '../../src/core/cidr.ts'
import { DEFAULT_UPSTREAM_SETTINGS } from '../../src/mesh/upstream.ts'

import type { Cluster, ClusterDiscovery, EndpointTemplate, LoadAssignment } from '../../src/mesh/cluster.ts'
import type { FilterChain, ForwardingChain, Listener, TcpProxy } from '../../src/mesh/listener.ts'
import type { ResolvedHost } from '../../src/mesh/store.ts'

/** A listener on `addresses`; without chains it has one that matches all and leads to a cluster of its own name. */
export function listener(name: string, addresses: readonly string[], rest: Partial<Listener> = {}): Listener {
  return {
    name,
    addresses: addresses.map((text) => ({ address: parseSocketAddress(text), socketOptions: [] })),
    capture: 'none',
    direction: 'unspecified',
    bindToPort: true,
    filterChains: [chain(name)],
    accessLogs: [],
    ...rest,
  }
}

/** What a filter chain matches, as text. */
export interface MatchText {
  readonly port?: number
  readonly to?: readonly string[]
  readonly from?: readonly string[]
}

/** A filter chain to the cluster of its name. */
export function chain(name: string, match: MatchText = {}): ForwardingChain {
  return {
    name,
    match: {
      ...(match.port !== undefined && { destinationPort: match.port }),
      destinationPrefixes: (match.to ?? []).map(parseCidr),
      sourcePrefixes: (match.from ?? []).map(parseCidr),
    },
    tcpProxy: { statPrefix: name, clusters: [{ name, weight: 1 }], accessLogs: [] },
  }
}

/** The tcp_proxy of a chain that has one. */
export function tcpProxyOf(filterChain: FilterChain | undefined): TcpProxy | undefined {
  return filterChain !== undefined && 'tcpProxy' in filterChain ? filterChain.tcpProxy : undefined
}

/** An endpoint of the addresses; text that is no IP address and port is a host name and port. */
export function endpoint(...hosts: readonly string[]): EndpointTemplate {
  return {
    id: hosts[0] ?? '',
    hosts: hosts.map((text) => {
      const match = /^([a-z][a-z.-]*):(\d+)$/.exec(text)
      return match?.[1] === undefined
        ? { kind: 'ip', address: parseSocketAddress(text) }
        : { kind: 'hostname', hostname: match[1], port: Number(match[2]) }
    }),
    weight: 1,
    priority: 0,
    health: 'healthy',
    protocol: 'tcp',
  }
}

export function assignment(name: string, ...endpoints: readonly EndpointTemplate[]): LoadAssignment {
  return { name, endpoints }
}

export function cluster(name: string, discovery: ClusterDiscovery): Cluster {
  return { name, discovery, settings: DEFAULT_UPSTREAM_SETTINGS }
}

/** A STATIC cluster. */
export function staticCluster(name: string, ...endpoints: readonly EndpointTemplate[]): Cluster {
  return cluster(name, { kind: 'static', assignment: assignment(name, ...endpoints) })
}

export function host(hostname: string, ...addresses: readonly string[]): ResolvedHost {
  return { hostname, addresses: addresses.map(parseIp) }
}
