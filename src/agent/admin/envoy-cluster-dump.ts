/** Clusters of the model as Envoy's messages: envoy.config.cluster.v3.Cluster, and /clusters with what this node found. */
import { FAMILIES } from '../../core/family.ts'
import { ClusterUpstreams } from '../../mesh/cluster-upstreams.ts'
import { dumpAddress, dumpHealth, dumpLocality, dumpLocalities, typed } from './envoy-endpoint-dump.ts'

import type { Cluster, ClusterDiscovery, DnsLookupFamily, LoadAssignment } from '../../mesh/cluster.ts'
import type { Endpoint } from '../../mesh/endpoint.ts'
import type { MeshSnapshot } from '../../mesh/store.ts'
import type { LoadBalancing, UpstreamSettings } from '../../mesh/upstream.ts'
import type { EndpointReadings } from '../../proxy/proxy.ts'
import type { Json } from './json-forms.ts'

/** What this node found out about endpoints. */
const DISCOVERY_TYPES: Readonly<Record<ClusterDiscovery['kind'], string>> = {
  static: 'STATIC',
  eds: 'EDS',
  'strict-dns': 'STRICT_DNS',
  'logical-dns': 'LOGICAL_DNS',
  'original-destination': 'ORIGINAL_DST',
}

const LB_POLICIES: Readonly<Record<LoadBalancing, string>> = {
  'round-robin': 'ROUND_ROBIN',
  'least-request': 'LEAST_REQUEST',
  random: 'RANDOM',
}

const LOOKUP_FAMILIES: Readonly<Record<DnsLookupFamily, string>> = {
  auto: 'AUTO',
  'v4-only': 'V4_ONLY',
  'v6-only': 'V6_ONLY',
  'v4-preferred': 'V4_PREFERRED',
  all: 'ALL',
}

/** envoy.config.cluster.v3.Cluster, typed. */
export function dumpCluster({ name, discovery, settings }: Cluster): Json {
  return {
    ...typed('envoy.config.cluster.v3.Cluster'),
    name,
    type: DISCOVERY_TYPES[discovery.kind],
    connect_timeout: seconds(settings.connectTimeoutMs),
    lb_policy:
      discovery.kind === 'original-destination' ? 'CLUSTER_PROVIDED' : LB_POLICIES[settings.loadBalancing],
    ...dumpDiscovery(discovery),
    ...dumpSettings(settings),
  }
}

/**
 * envoy.admin.v3.Clusters: one host per endpoint with the first of its addresses, as Envoy has it. The stats say what
 * Envoy cannot: `ipv4_healthy` and `ipv6_healthy` of the endpoint's families.
 */
export function dumpClusterStatuses(snapshot: MeshSnapshot, readings: EndpointReadings): Json {
  const upstreams = new ClusterUpstreams()
  return {
    cluster_statuses: Array.from(snapshot.cluster.values(), (cluster) => ({
      name: cluster.name,
      ...(cluster.discovery.kind === 'eds' && { eds_service_name: cluster.discovery.assignmentName }),
      host_statuses: upstreams
        .upstreamOf(cluster, snapshot)
        .endpoints.map((endpoint) => dumpHostStatus(cluster.name, endpoint, readings)),
    })),
  }
}

function dumpHostStatus(clusterName: string, endpoint: Endpoint, readings: EndpointReadings): Json {
  const [first] = endpoint.addresses
  const families = FAMILIES.filter((family) => endpoint.addresses.some(({ ip }) => ip.family === family))
  const gauge = (name: string, value: number): Json => ({ type: 'GAUGE', name, value: String(value) })
  return {
    ...(first && { address: dumpAddress(first) }),
    stats: [
      gauge('cx_active', readings.activeConnections(clusterName, endpoint.id)),
      ...families.map((family) =>
        gauge(`${family}_healthy`, readings.isFamilyHealthy(endpoint.id, family) ? 1 : 0),
      ),
    ],
    health_status: {
      eds_health_status: dumpHealth(endpoint.health),
      ...(readings.isEjected(clusterName, endpoint.id) && { failed_outlier_check: true }),
    },
    weight: endpoint.weight,
    priority: endpoint.priority,
    ...(endpoint.locality && { locality: dumpLocality(endpoint.locality) }),
  }
}

function dumpDiscovery(discovery: ClusterDiscovery): Json {
  switch (discovery.kind) {
    case 'eds':
      return { eds_cluster_config: { service_name: discovery.assignmentName } }
    case 'strict-dns':
    case 'logical-dns':
      return {
        dns_lookup_family: LOOKUP_FAMILIES[discovery.lookupFamily],
        dns_refresh_rate: seconds(discovery.refreshMs),
        load_assignment: dumpInlineAssignment(discovery.assignment),
      }
    case 'static':
      return { load_assignment: dumpInlineAssignment(discovery.assignment) }
    case 'original-destination':
      return discovery.portOverride === undefined
        ? {}
        : { original_dst_lb_config: { upstream_port_override: discovery.portOverride } }
  }
}

function dumpInlineAssignment({ name, endpoints, overprovisioningFactor }: LoadAssignment): Json {
  return {
    cluster_name: name,
    endpoints: dumpLocalities(endpoints),
    ...(overprovisioningFactor !== undefined && {
      policy: { overprovisioning_factor: overprovisioningFactor },
    }),
  }
}

function dumpSettings({
  sourceAddresses,
  maxConnections,
  keepalive,
  outlierDetection,
}: UpstreamSettings): Json {
  const [source, ...extra] = sourceAddresses.map((address) => dumpAddress(address)['socket_address'])
  return {
    ...(source !== undefined && {
      upstream_bind_config: {
        source_address: source,
        ...(extra.length > 0 && { extra_source_addresses: extra.map((address) => ({ address })) }),
      },
    }),
    ...(maxConnections !== undefined && {
      circuit_breakers: { thresholds: [{ max_connections: maxConnections }] },
    }),
    ...(keepalive !== undefined && {
      upstream_connection_options: {
        tcp_keepalive: {
          ...(keepalive.idleMs !== undefined && { keepalive_time: Math.round(keepalive.idleMs / 1_000) }),
          ...(keepalive.intervalMs !== undefined && {
            keepalive_interval: Math.round(keepalive.intervalMs / 1_000),
          }),
          ...(keepalive.probes !== undefined && { keepalive_probes: keepalive.probes }),
        },
      },
    }),
    ...(outlierDetection !== undefined && {
      outlier_detection: {
        consecutive_local_origin_failure: outlierDetection.consecutiveConnectFailures,
        base_ejection_time: seconds(outlierDetection.baseEjectionMs),
        max_ejection_time: seconds(outlierDetection.maxEjectionMs),
        max_ejection_percent: outlierDetection.maxEjectionPercent,
        ...(outlierDetection.canAlwaysEjectOne && { always_eject_one_host: true }),
      },
    }),
  }
}

function seconds(ms: number): string {
  return `${ms / 1_000}s`
}
