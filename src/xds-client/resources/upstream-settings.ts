/** Decodes the parts of envoy.config.cluster.v3.Cluster that say how its endpoints are chosen and reached. */
import { describe } from '../reading/message-reader.ts'
import { decodeBindConfig } from './bind-config.ts'
import { decodeOutlierDetection } from './outlier-detection.ts'
import { decodeKeepalive } from './socket-options.ts'

import type { LoadBalancing, UpstreamSettings } from '../../mesh/upstream.ts'
import type { MessageReader } from '../reading/message-reader.ts'

const UINT32_MAX = 4_294_967_295
const POLICIES: Readonly<Record<string, LoadBalancing>> = {
  ROUND_ROBIN: 'round-robin',
  LEAST_REQUEST: 'least-request',
  RANDOM: 'random',
}
const UNSUPPORTED_POLICIES: readonly string[] = ['RING_HASH', 'MAGLEV', 'LOAD_BALANCING_POLICY_CONFIG']
const POLICY_BY_NUMBER: readonly string[] = [
  'ROUND_ROBIN',
  'LEAST_REQUEST',
  'RING_HASH',
  'RANDOM',
  '',
  'MAGLEV',
  'CLUSTER_PROVIDED',
  'LOAD_BALANCING_POLICY_CONFIG',
]

/** Decodes the settings of a cluster. `hasOwnChoice`: the cluster itself says where a connection goes. */
export function decodeUpstreamSettings(
  message: MessageReader,
  options: { readonly hasOwnChoice: boolean; readonly defaults: UpstreamSettings },
): UpstreamSettings {
  const { defaults } = options
  const loadBalancing = decodePolicy(message, options.hasOwnChoice)
  const connectTimeoutMs = decodeConnectTimeout(message)
  const bindConfig = message.take('upstream_bind_config')
  const maxConnections = decodeCircuitBreakers(message)
  const outlier = message.takeMessage('outlier_detection', 'OutlierDetection')
  const outlierDetection = outlier && decodeOutlierDetection(outlier)
  const connection = message.takeMessage('upstream_connection_options', 'UpstreamConnectionOptions')
  const common = message.takeMessage('common_lb_config', 'CommonLbConfig')
  return {
    ...defaults,
    loadBalancing: loadBalancing ?? defaults.loadBalancing,
    connectTimeoutMs: connectTimeoutMs ?? defaults.connectTimeoutMs,
    sourceAddresses: bindConfig === undefined ? defaults.sourceAddresses : decodeBindConfig(bindConfig),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(outlierDetection !== undefined && { outlierDetection }),
    ...(connection !== undefined && decodeConnectionOptions(connection)),
    ...(common !== undefined && decodeCommonLb(common)),
  }
}

function decodePolicy(message: MessageReader, hasOwnChoice: boolean): LoadBalancing | undefined {
  const field = message.take('lb_policy')
  const name =
    typeof field?.value === 'number' ? POLICY_BY_NUMBER[field.value] : (field?.value ?? 'ROUND_ROBIN')
  const place = field ?? message.field
  if (name === 'CLUSTER_PROVIDED')
    return hasOwnChoice
      ? 'round-robin'
      : place.error('CLUSTER_PROVIDED is for clusters of type ORIGINAL_DST; write ROUND_ROBIN')
  if (hasOwnChoice) return place.error('a cluster of type ORIGINAL_DST needs lb_policy: CLUSTER_PROVIDED')
  const policy = typeof name === 'string' ? POLICIES[name] : undefined
  if (policy !== undefined) return policy
  return place.unsupported(
    `Cluster.lb_policy(${typeof name === 'string' ? name : ''})`,
    typeof name === 'string' && UNSUPPORTED_POLICIES.includes(name)
      ? `lb_policy ${name} is not supported; write ROUND_ROBIN, LEAST_REQUEST or RANDOM`
      : `${describe(field?.value)} is no lb_policy; write ROUND_ROBIN, LEAST_REQUEST or RANDOM`,
  )
}

function decodeConnectTimeout(message: MessageReader): number | undefined {
  const field = message.take('connect_timeout')
  const timeoutMs = field?.durationMs()
  return timeoutMs === 0 ? field?.error('must be longer than 0s; leave it out for 5s') : timeoutMs
}

/** Only the DEFAULT priority has connections here; the largest number is how control planes write no limit. */
function decodeCircuitBreakers(message: MessageReader): number | undefined {
  const breakers = message.takeMessage('circuit_breakers', 'CircuitBreakers')
  if (breakers === undefined) return undefined
  let maxConnections: number | undefined
  for (const field of breakers.takeList('thresholds')) {
    const thresholds = field.message('Thresholds')
    const priority = thresholds?.take('priority')?.oneOf(['DEFAULT', 'HIGH']) ?? 'DEFAULT'
    const limit = thresholds?.take('max_connections')?.integer({ min: 0, max: UINT32_MAX })
    thresholds?.finish({
      ignored: [
        'max_pending_requests',
        'max_requests',
        'max_retries',
        'retry_budget',
        'track_remaining',
        'max_connection_pools',
      ],
    })
    if (priority === 'DEFAULT' && limit !== UINT32_MAX) maxConnections ??= limit
  }
  breakers.finish({
    unsupported: { per_host_thresholds: 'connections are limited per cluster; use thresholds' },
  })
  return maxConnections
}

function decodeConnectionOptions(message: MessageReader): Partial<UpstreamSettings> {
  const keepalive = message.takeMessage('tcp_keepalive', 'TcpKeepalive')
  const eyeballs = message.takeMessage('happy_eyeballs_config', 'HappyEyeballsConfig')
  message.finish({ ignored: ['set_local_interface_name_on_upstream_connections'] })
  return {
    ...(keepalive !== undefined && { keepalive: decodeKeepalive(keepalive) }),
    ...(eyeballs !== undefined && decodeHappyEyeballs(eyeballs)),
  }
}

function decodeHappyEyeballs(message: MessageReader): Partial<UpstreamSettings> {
  const place = message.take('first_address_family_version')
  const version = place?.oneOf(['DEFAULT', 'V4', 'V6', 'PIPE', 'INTERNAL'])
  const count = message.take('first_address_family_count')?.integer({ min: 1, max: UINT32_MAX })
  message.finish()
  if (version === 'PIPE' || version === 'INTERNAL')
    place?.error(`${version} is not supported: endpoints have IP addresses; write DEFAULT, V4 or V6`)
  return {
    ...(version === 'V4' && { familyPolicy: 'ipv4-first' }),
    ...(version === 'V6' && { familyPolicy: 'ipv6-first' }),
    ...(count !== undefined && { firstFamilyCount: count }),
  }
}

function decodeCommonLb(message: MessageReader): Partial<UpstreamSettings> {
  const percent = message.takeMessage('healthy_panic_threshold', 'Percent')
  const panicThresholdPercent = percent && (percent.take('value')?.number({ min: 0, max: 100 }) ?? 0)
  percent?.finish()
  const localityConfig = message.takeMessage('locality_weighted_lb_config', 'LocalityWeightedLbConfig')
  localityConfig?.finish()
  message.finish({
    // Zone-aware routing needs cluster_manager.local_cluster_name, which is refused.
    ignored: [
      'zone_aware_lb_config',
      'update_merge_window',
      'ignore_new_hosts_until_first_hc',
      'override_host_status',
    ],
    unsupported: {
      close_connections_on_host_set_change: 'an update does not close connections; remove it',
      consistent_hashing_lb_config: 'endpoints are not chosen by hash; remove it',
    },
  })
  return {
    ...(panicThresholdPercent !== undefined && { panicThresholdPercent }),
    ...(localityConfig !== undefined && { localityWeighted: true }),
  }
}
