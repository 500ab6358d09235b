/** Decodes envoy.config.cluster.v3.Cluster: where its endpoints come from and how they are reached. */
import { DEFAULT_UPSTREAM_SETTINGS } from '../../mesh/upstream.ts'
import { MAX_PORT } from './address.ts'
import { decodeConfigSource, decodeFetchTimeout } from './config-source.ts'
import { decodeLoadAssignment } from './load-assignment.ts'
import { decodeClusterTransport } from './transport-socket.ts'
import { decodeUpstreamSettings } from './upstream-settings.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Cluster, ClusterDiscovery, DnsLookupFamily, LoadAssignment } from '../../mesh/cluster.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'
import type { ConfigFile } from './config-source.ts'
import type { HostRule } from './endpoint.ts'

/** What surrounds a cluster. */
export interface ClusterContext {
  /** Source addresses of a cluster that has no upstream_bind_config (Bootstrap.cluster_manager). */
  readonly defaultSourceAddresses: readonly SocketAddress[]
  /** Told of each file that an EDS cluster reads its assignment from. */
  readonly onAssignmentFile: (file: ConfigFile, assignmentName: string) => void
}

const NO_CONTEXT: ClusterContext = { defaultSourceAddresses: [], onAssignmentFile: () => undefined }
const TYPES = ['STATIC', 'STRICT_DNS', 'LOGICAL_DNS', 'EDS', 'ORIGINAL_DST'] as const
type ClusterType = (typeof TYPES)[number]

const LOOKUP_FAMILIES = ['AUTO', 'V4_ONLY', 'V6_ONLY', 'V4_PREFERRED', 'ALL'] as const
const LOOKUP_FAMILY: Readonly<Record<(typeof LOOKUP_FAMILIES)[number], DnsLookupFamily>> = {
  AUTO: 'auto',
  V4_ONLY: 'v4-only',
  V6_ONLY: 'v6-only',
  V4_PREFERRED: 'v4-preferred',
  ALL: 'all',
}
const DISCOVERY_FIELDS = [
  'load_assignment',
  'eds_cluster_config',
  'original_dst_lb_config',
  'dns_lookup_family',
  'dns_refresh_rate',
]
const DEFAULT_REFRESH_MS = 5_000
const OWN_RESOLVER = 'names are resolved by the resolver of the machine; remove it'

/** Decodes a cluster. What comes back while the report has errors is only good for finding more of them. */
export function decodeCluster(field: Field, context: ClusterContext = NO_CONTEXT): Cluster | undefined {
  const message = field.message('Cluster')
  if (message === undefined) return undefined
  message.take('@type')
  const namePlace = message.require('name')
  const name = namePlace?.string()
  if (name === '') namePlace?.error('the name of the cluster is empty')
  const typePlace = message.take('type')
  const type = typePlace === undefined ? 'STATIC' : typePlace.oneOf(TYPES)
  const settings = decodeUpstreamSettings(message, {
    hasOwnChoice: type === 'ORIGINAL_DST',
    defaults: { ...DEFAULT_UPSTREAM_SETTINGS, sourceAddresses: context.defaultSourceAddresses },
  })
  const transport = decodeClusterTransport(message)
  const discovery = type && decodeDiscovery(message, { type, name: name ?? '', context })
  // Without a type nothing says what these mean, and they are not the mistake.
  if (type === undefined) for (const fieldName of DISCOVERY_FIELDS) message.take(fieldName)
  finishCluster(message)
  if (name === undefined || discovery === undefined) return undefined
  return { name, discovery, settings, ...(transport !== undefined && { transport }) }
}

function decodeDiscovery(
  message: MessageReader,
  facts: { readonly type: ClusterType; readonly name: string; readonly context: ClusterContext },
): ClusterDiscovery | undefined {
  const parts = {
    assignment: message.take('load_assignment'),
    eds: message.take('eds_cluster_config'),
    originalDst: message.take('original_dst_lb_config'),
    lookupFamily: message.take('dns_lookup_family')?.oneOf(LOOKUP_FAMILIES) ?? 'AUTO',
    refreshMs: decodeRefresh(message.take('dns_refresh_rate')),
  }
  const { type, name } = facts
  if (type !== 'EDS')
    parts.eds?.errorAtKey(`eds_cluster_config is for clusters of type EDS, not ${type}; remove it`)
  if (type !== 'ORIGINAL_DST')
    parts.originalDst?.errorAtKey(
      `original_dst_lb_config is for clusters of type ORIGINAL_DST, not ${type}; remove it`,
    )
  if (type === 'EDS' || type === 'ORIGINAL_DST')
    parts.assignment?.errorAtKey(`load_assignment is not for clusters of type ${type}; remove it`)
  switch (type) {
    case 'STATIC': {
      const assignment = decodeOwnAssignment(message, parts.assignment, {
        rule: { kind: 'ip', clusterType: 'STATIC' },
        clusterName: name,
      })
      return assignment && { kind: 'static', assignment }
    }
    case 'STRICT_DNS':
    case 'LOGICAL_DNS': {
      const assignment = decodeOwnAssignment(message, parts.assignment, {
        rule: { kind: 'ip-or-hostname' },
        clusterName: name,
      })
      if (type === 'LOGICAL_DNS' && (assignment?.endpoints.length ?? 0) > 1)
        parts.assignment?.error(
          'a LOGICAL_DNS cluster has exactly one endpoint; remove the others, or set type: STRICT_DNS',
        )
      const kind = type === 'LOGICAL_DNS' ? 'logical-dns' : 'strict-dns'
      const lookupFamily = LOOKUP_FAMILY[parts.lookupFamily]
      return assignment && { kind, assignment, lookupFamily, refreshMs: parts.refreshMs }
    }
    case 'EDS':
      return decodeEds(message, parts.eds, name, facts.context)
    case 'ORIGINAL_DST':
      return decodeOriginalDestination(parts.originalDst)
  }
}

function decodeOwnAssignment(
  message: MessageReader,
  field: Field | undefined,
  how: { readonly rule: HostRule; readonly clusterName: string },
): LoadAssignment | undefined {
  // A control plane has clusters that are meant to be empty: their connections are refused.
  const isOnWire = message.field.report.form === 'wire'
  if (field === undefined)
    return isOnWire
      ? { name: how.clusterName, endpoints: [] }
      : message.field.error('the cluster has no endpoints; write them under load_assignment')
  const assignment = decodeLoadAssignment(field, how.rule)
  if (isOnWire) return assignment
  // Nothing decoded is nothing written only when decoding had nothing to report.
  if (assignment?.endpoints.length === 0 && !hasErrorUnder(field))
    field.error('load_assignment has no endpoints; add one under endpoints[].lb_endpoints')
  return assignment
}

function decodeEds(
  message: MessageReader,
  field: Field | undefined,
  clusterName: string,
  context: ClusterContext,
): ClusterDiscovery | undefined {
  if (field === undefined) return message.field.error('a cluster of type EDS needs eds_cluster_config')
  const config = field.message('EdsClusterConfig')
  if (config === undefined) return undefined
  const source = config.require('eds_config')
  const serviceName = config.take('service_name')?.string() ?? ''
  config.finish()
  const assignmentName = serviceName === '' ? clusterName : serviceName
  if (field.report.form === 'wire') {
    const initialFetchTimeoutMs = source && decodeFetchTimeout(source)
    return {
      kind: 'eds',
      assignmentName,
      ...(initialFetchTimeoutMs !== undefined && { initialFetchTimeoutMs }),
    }
  }
  const file = source && decodeConfigSource(source)
  if (file !== undefined) context.onAssignmentFile(file, assignmentName)
  return { kind: 'eds', assignmentName }
}

function decodeOriginalDestination(field: Field | undefined): ClusterDiscovery {
  const config = field?.message('OriginalDstLbConfig')
  const portOverride = config?.take('upstream_port_override')?.integer({ min: 1, max: MAX_PORT })
  config?.finish({
    unsupported: {
      use_http_header: 'the original destination is that of the connection; remove it',
      http_header_name: 'the original destination is that of the connection; remove it',
      metadata_key: 'the original destination is that of the connection; remove it',
    },
  })
  return { kind: 'original-destination', ...(portOverride !== undefined && { portOverride }) }
}

function decodeRefresh(field: Field | undefined): number {
  const refreshMs = field?.durationMs()
  if (refreshMs !== undefined && refreshMs < 1) field?.error('must be at least 0.001s')
  return refreshMs ?? DEFAULT_REFRESH_MS
}

function hasErrorUnder(field: Field): boolean {
  return field.report.problems.some(
    (problem) =>
      problem.severity === 'error' && field.path.every((part, index) => problem.path[index] === part),
  )
}

function finishCluster(message: MessageReader): void {
  message.finish({
    ignored: [
      'alt_stat_name',
      'stats_matcher',
      'per_connection_buffer_limit_bytes',
      'per_connection_buffer_high_watermark_timeout',
      'max_requests_per_connection',
      'upstream_http_protocol_options',
      'common_http_protocol_options',
      'http_protocol_options',
      'http2_protocol_options',
      'typed_extension_protocol_options',
      'protocol_selection',
      'dns_jitter',
      'dns_failure_refresh_rate',
      'respect_dns_ttl',
      'use_tcp_for_dns_lookups',
      'wait_for_warm_on_init',
      'cleanup_interval',
      'metadata',
      'ignore_health_on_host_removal',
      'lrs_server',
      'lrs_report_endpoint_metrics',
      'track_timeout_budgets',
      'track_cluster_stats',
      'preconnect_policy',
      'connection_pool_per_downstream_connection',
      'queuing_policies',
    ],
    unsupported: {
      cluster_type: 'use type with STATIC, STRICT_DNS, LOGICAL_DNS, EDS or ORIGINAL_DST',
      transport_socket_matches: 'connections to endpoints are plain TCP; remove it',
      transport_socket_matcher: 'connections to endpoints are plain TCP; remove it',
      health_checks:
        'endpoints are judged by the connections made to them; remove it, or use outlier_detection',
      dns_resolvers: OWN_RESOLVER,
      dns_resolution_config: OWN_RESOLVER,
      typed_dns_resolver_config: OWN_RESOLVER,
      lb_subset_config: 'there are no subsets; make a cluster of the endpoints that are meant',
      load_balancing_policy: 'use lb_policy with ROUND_ROBIN, LEAST_REQUEST or RANDOM',
      ring_hash_lb_config: 'use lb_policy with ROUND_ROBIN, LEAST_REQUEST or RANDOM',
      maglev_lb_config: 'use lb_policy with ROUND_ROBIN, LEAST_REQUEST or RANDOM',
      least_request_lb_config: 'two endpoints are compared by their connections; remove it',
      round_robin_lb_config: 'endpoints get their full share at once; remove it',
      close_connections_on_host_health_failure: 'connections stay while they work; remove it',
      filters: 'connections are carried as plain TCP; remove it',
      upstream_config: 'connections are carried as plain TCP; remove it',
    },
  })
}
