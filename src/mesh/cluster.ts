/** The Envoy dialect's clusters and load assignments, before names are resolved and endpoints joined to a cluster. */
import type { Endpoint } from './endpoint.ts'
import type { SocketAddress } from '../core/address.ts'
import type { UpstreamSettings } from './upstream.ts'

/** Which addresses of a host name count, as Envoy's Cluster.dns_lookup_family: `auto` is IPv6, IPv4 if there is none. */
export type DnsLookupFamily = 'auto' | 'v4-only' | 'v6-only' | 'v4-preferred' | 'all'

/** Where the endpoints of a cluster come from. */
export type ClusterDiscovery =
  | { readonly kind: 'static'; readonly assignment: LoadAssignment }
  /** The assignment of that name, delivered apart; absent time limit: 15 s, 0: it is waited for without limit. */
  | { readonly kind: 'eds'; readonly assignmentName: string; readonly initialFetchTimeoutMs?: number }
  /** `strict-dns`: each address is an endpoint. `logical-dns`: the name is one endpoint with all its addresses. */
  | {
      readonly kind: 'strict-dns' | 'logical-dns'
      readonly assignment: LoadAssignment
      readonly lookupFamily: DnsLookupFamily
      readonly refreshMs: number
    }
  /** The address that the client asked for. */
  | { readonly kind: 'original-destination'; readonly portOverride?: number }

export interface Cluster {
  readonly name: string
  readonly discovery: ClusterDiscovery
  readonly settings: UpstreamSettings
  /** Absent: every endpoint is reached in plain text. */
  readonly transport?: ClusterTransport
}

/** Which endpoints of a cluster are to be reached encrypted (Envoy's transport_socket_matches and transport_socket). */
export interface ClusterTransport {
  /** The first whose criteria an endpoint's labels meet decides. */
  readonly matches: readonly TransportMatch[]
  /** What holds where none decides. */
  readonly isEncrypted: boolean
}

export interface TransportMatch {
  /** All must be among the labels; no criteria are met by every endpoint. */
  readonly criteria: TransportLabels
  readonly isEncrypted: boolean
}

/** Envoy's endpoint metadata `envoy.transport_socket_match`. */
export type TransportLabels = Readonly<Record<string, string>>

/** An address that may still be a host name. */
export type HostAddress =
  | { readonly kind: 'ip'; readonly address: SocketAddress }
  | { readonly kind: 'hostname'; readonly hostname: string; readonly port: number }

/** An endpoint as configured: like {@link Endpoint}, with addresses that may be host names. */
export interface EndpointTemplate extends Omit<Endpoint, 'addresses'> {
  readonly hosts: readonly HostAddress[]
  /** What the cluster's transport is chosen by; absent: nothing. */
  readonly transportLabels?: TransportLabels
}

/** Envoy's ClusterLoadAssignment. */
export interface LoadAssignment {
  readonly name: string
  readonly endpoints: readonly EndpointTemplate[]
  /** Overrides that of the cluster's settings. */
  readonly overprovisioningFactor?: number
}

/** True when a connection to an endpoint of these labels has to be encrypted. */
export function isEncrypted(transport: ClusterTransport | undefined, labels: TransportLabels = {}): boolean {
  const match = transport?.matches.find(({ criteria }) =>
    Object.entries(criteria).every(([name, value]) => labels[name] === value),
  )
  return (match ?? transport)?.isEncrypted ?? false
}
