/** Endpoints and addresses of the model as Envoy's messages in proto3 JSON. */
import type { SocketAddress } from '../../core/address.ts'
import type { HostAddress } from '../../mesh/cluster.ts'
import type { Endpoint, Locality } from '../../mesh/endpoint.ts'
import type { Json } from './json-forms.ts'

/** An endpoint whose addresses may still be host names. */
export type DumpedEndpoint = Omit<Endpoint, 'addresses'> & { readonly hosts: readonly HostAddress[] }

/** The type of a message that stands in a google.protobuf.Any. */
export function typed(typeName: string): Json {
  return { '@type': `type.googleapis.com/${typeName}` }
}

/** envoy.config.core.v3.Address. */
export function socketAddress(address: { readonly host: string; readonly port: number }): Json {
  return { socket_address: { address: address.host, port_value: address.port } }
}

/** envoy.config.core.v3.Address of an address of the model. */
export function dumpAddress({ ip, port }: SocketAddress): Json {
  return socketAddress({ host: ip.text, port })
}

/** envoy.config.endpoint.v3.ClusterLoadAssignment, typed. Both families of an endpoint are in one LbEndpoint. */
export function dumpLoadAssignment(name: string, endpoints: readonly Endpoint[]): Json {
  const withHosts = endpoints.map(({ addresses, ...rest }) => ({
    ...rest,
    hosts: addresses.map((address): HostAddress => ({ kind: 'ip', address })),
  }))
  return {
    ...typed('envoy.config.endpoint.v3.ClusterLoadAssignment'),
    cluster_name: name,
    endpoints: dumpLocalities(withHosts),
  }
}

/** LocalityLbEndpoints: the endpoints of one locality and priority together, in the order of their first endpoint. */
export function dumpLocalities(endpoints: readonly DumpedEndpoint[]): readonly Json[] {
  const groups = new Map<string, DumpedEndpoint[]>()
  for (const endpoint of endpoints) {
    const { locality, priority } = endpoint
    const key = JSON.stringify([priority, locality?.region, locality?.zone, locality?.subzone])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [endpoint])
    else group.push(endpoint)
  }
  return Array.from(groups.values(), (group) => {
    const [first] = group
    return {
      ...(first?.locality && { locality: dumpLocality(first.locality) }),
      ...(first?.localityWeight !== undefined && { load_balancing_weight: first.localityWeight }),
      priority: first?.priority ?? 0,
      lb_endpoints: group.map(dumpLbEndpoint),
    }
  })
}

/** envoy.config.core.v3.Locality. */
export function dumpLocality({ region, zone, subzone }: Locality): Json {
  return { region, zone, sub_zone: subzone }
}

/** envoy.config.core.v3.HealthStatus. */
export function dumpHealth(health: Endpoint['health']): string {
  return health.toUpperCase()
}

function dumpLbEndpoint(endpoint: DumpedEndpoint): Json {
  const [first, ...others] = endpoint.hosts.map(dumpHost)
  return {
    endpoint: {
      address: first ?? {},
      ...(others.length > 0 && { additional_addresses: others.map((address) => ({ address })) }),
    },
    health_status: dumpHealth(endpoint.health),
    load_balancing_weight: endpoint.weight,
    ...(endpoint.workload && {
      metadata: { filter_metadata: { istio: { workload: workloadKey(endpoint.workload) } } },
    }),
  }
}

function dumpHost(host: HostAddress): Json {
  return host.kind === 'ip'
    ? dumpAddress(host.address)
    : socketAddress({ host: host.hostname, port: host.port })
}

/** Istio's `istio.workload` metadata: name, namespace, canonical name and revision, cluster. */
function workloadKey(workload: NonNullable<Endpoint['workload']>): string {
  const { name, namespace, canonicalName, canonicalRevision, cluster } = workload
  return [name, namespace, canonicalName, canonicalRevision, cluster].join(';')
}
