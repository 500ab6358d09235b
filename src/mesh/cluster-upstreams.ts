/**
 * Joins clusters with their assignments and resolved host names to upstreams. An upstream stays the same object for as
 * long as nothing that it was made of has changed, so that who remembers something by it keeps it.
 */
import { formatSocketAddress } from '../core/address.ts'
import { isEncrypted } from './cluster.ts'

import type { IpAddress, SocketAddress } from '../core/address.ts'
import type { Cluster, DnsLookupFamily, EndpointTemplate, HostAddress, LoadAssignment } from './cluster.ts'
import type { Endpoint } from './endpoint.ts'
import type { MeshSnapshot, ResolvedHost } from './store.ts'
import type { Upstream } from './upstream.ts'

/** What an upstream was made of, and the result. */
interface CompiledUpstream {
  readonly assignment: LoadAssignment | undefined
  readonly hostnames: readonly string[]
  readonly hosts: readonly (ResolvedHost | undefined)[]
  readonly upstream: Upstream
  /** The same without the endpoints that ask for mTLS. */
  readonly plainUpstream: Upstream
}

/** The upstreams of clusters, made when first asked for and kept while they hold. */
export class ClusterUpstreams {
  readonly #compiled = new WeakMap<Cluster, CompiledUpstream>()

  /** The upstream of a cluster; without endpoints for one of original destinations. Costs the cluster's host names. */
  upstreamOf(cluster: Cluster, snapshot: MeshSnapshot): Upstream {
    return this.#compiledOf(cluster, snapshot).upstream
  }

  /** The upstream of a cluster without the endpoints that ask for mTLS. */
  plainUpstreamOf(cluster: Cluster, snapshot: MeshSnapshot): Upstream {
    return this.#compiledOf(cluster, snapshot).plainUpstream
  }

  #compiledOf(cluster: Cluster, snapshot: MeshSnapshot): CompiledUpstream {
    const assignment = assignmentOf(cluster, snapshot)
    const held = this.#compiled.get(cluster)
    if (
      held?.assignment === assignment &&
      held?.hostnames.every((hostname, index) => snapshot.host.get(hostname) === held.hosts[index])
    )
      return held
    const compiled = compile(cluster, assignment, snapshot)
    this.#compiled.set(cluster, compiled)
    return compiled
  }
}

/** The host names that have to be resolved for a cluster to have its endpoints. */
export function hostnamesOfCluster(cluster: Cluster): readonly string[] {
  if (cluster.discovery.kind !== 'strict-dns' && cluster.discovery.kind !== 'logical-dns') return []
  const names = cluster.discovery.assignment.endpoints.flatMap((endpoint) =>
    endpoint.hosts.flatMap((host) => (host.kind === 'hostname' ? [host.hostname] : [])),
  )
  return [...new Set(names)]
}

function assignmentOf(cluster: Cluster, snapshot: MeshSnapshot): LoadAssignment | undefined {
  switch (cluster.discovery.kind) {
    case 'eds':
      return snapshot.assignment.get(cluster.discovery.assignmentName)
    case 'original-destination':
      return undefined
    case 'static':
    case 'strict-dns':
    case 'logical-dns':
      return cluster.discovery.assignment
  }
}

function compile(
  cluster: Cluster,
  assignment: LoadAssignment | undefined,
  snapshot: MeshSnapshot,
): CompiledUpstream {
  const hostnames = hostnamesOfCluster(cluster)
  const addressesOf = (hostname: string) => snapshot.host.get(hostname)?.addresses ?? []
  const endpoints = withoutRepetition(
    (assignment?.endpoints ?? []).flatMap((template) => resolve(cluster, template, addressesOf)),
  )
  const plainEndpoints = endpoints.filter(({ protocol }) => protocol === 'tcp')
  const upstream: Upstream = {
    ...cluster.settings,
    ...(assignment?.overprovisioningFactor !== undefined && {
      overprovisioningFactor: assignment.overprovisioningFactor,
    }),
    name: cluster.name,
    endpoints,
  }
  return {
    assignment,
    hostnames,
    hosts: hostnames.map((hostname) => snapshot.host.get(hostname)),
    upstream,
    plainUpstream:
      plainEndpoints.length === endpoints.length ? upstream : { ...upstream, endpoints: plainEndpoints },
  }
}

/** The endpoints that a template stands for, by the rules of the cluster's discovery. */
function resolve(
  cluster: Cluster,
  template: EndpointTemplate,
  addressesOf: (hostname: string) => readonly IpAddress[],
): readonly Endpoint[] {
  const { hosts, transportLabels, ...settings } = template
  const rest = isEncrypted(cluster.transport, transportLabels)
    ? { ...settings, protocol: 'hbone' as const }
    : settings
  const { discovery } = cluster
  const isDns = discovery.kind === 'strict-dns' || discovery.kind === 'logical-dns'
  const lookupFamily = isDns ? discovery.lookupFamily : 'all'
  const addresses = hosts.flatMap((host) => addressesOfHost(host, lookupFamily, addressesOf))
  if (discovery.kind !== 'strict-dns') return addresses.length === 0 ? [] : [{ ...rest, addresses }]
  return addresses.map((address) => ({ ...rest, id: formatSocketAddress(address), addresses: [address] }))
}

function addressesOfHost(
  host: HostAddress,
  lookupFamily: DnsLookupFamily,
  addressesOf: (hostname: string) => readonly IpAddress[],
): readonly SocketAddress[] {
  if (host.kind === 'ip') return [host.address]
  return ofLookupFamily(addressesOf(host.hostname), lookupFamily).map((ip) => ({ ip, port: host.port }))
}

function ofLookupFamily(
  addresses: readonly IpAddress[],
  lookupFamily: DnsLookupFamily,
): readonly IpAddress[] {
  const ipv4 = addresses.filter(({ family }) => family === 'ipv4')
  const ipv6 = addresses.filter(({ family }) => family === 'ipv6')
  switch (lookupFamily) {
    case 'auto':
      return ipv6.length > 0 ? ipv6 : ipv4
    case 'v4-preferred':
      return ipv4.length > 0 ? ipv4 : ipv6
    case 'v4-only':
      return ipv4
    case 'v6-only':
      return ipv6
    case 'all':
      return addresses
  }
}

/** Two names can resolve to one address; it is one endpoint, the first. */
function withoutRepetition(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const ids = new Set<string>()
  return endpoints.filter(({ id }) => !ids.has(id) && ids.add(id))
}
