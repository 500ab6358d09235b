/** Decodes envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy. */
import { decodeAccessLogs } from './access-log.ts'

import type { TcpProxy, WeightedCluster } from '../../mesh/listener.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

/** Told of each cluster that a configuration names, with the place, so that a whole document can be checked. */
export type OnClusterName = (name: string, place: Field) => void

const UINT32_MAX = 4_294_967_295
const ONE_RECORD = 'one record is written when a connection closes; remove it'

/** Decodes a tcp_proxy filter. */
export function decodeTcpProxy(message: MessageReader, onClusterName: OnClusterName): TcpProxy | undefined {
  const statPrefixPlace = message.require('stat_prefix')
  const statPrefix = statPrefixPlace?.string()
  if (statPrefix === '') statPrefixPlace?.error('stat_prefix is empty; write a name for the statistics')
  const clusters = decodeClusters(message, onClusterName)
  const idleTimeoutMs = message.take('idle_timeout')?.durationMs()
  const maxConnectAttempts = message.take('max_connect_attempts')?.integer({ min: 1, max: UINT32_MAX })
  const maxConnectionDurationMs = decodeMaxDuration(message.take('max_downstream_connection_duration'))
  const accessLogs = decodeAccessLogs(message.takeList('access_log'))
  const connectMode = message.take('upstream_connect_mode')
  const mode = connectMode?.oneOf(['IMMEDIATE', 'ON_DOWNSTREAM_DATA', 'ON_DOWNSTREAM_TLS_HANDSHAKE'])
  if (mode !== undefined && mode !== 'IMMEDIATE')
    connectMode?.unsupported(
      'TcpProxy.upstream_connect_mode',
      `${mode} is not supported: upstreams are connected at once; write IMMEDIATE`,
    )
  message.finish({
    ignored: ['downstream_idle_timeout', 'upstream_idle_timeout', 'backoff_options', 'check_drain_close'],
    unsupported: {
      on_demand: 'define the cluster under static_resources',
      metadata_match: 'there are no subsets; make a cluster of the endpoints that are meant',
      hash_policy: 'connections are not bound to an endpoint by hash; remove it',
      tunneling_config: 'connections are carried as plain TCP; remove it',
      max_downstream_connection_duration_jitter_percentage: 'remove it',
      access_log_flush_interval: ONE_RECORD,
      flush_access_log_on_connected: ONE_RECORD,
      access_log_options: ONE_RECORD,
      proxy_protocol_tlvs: 'PROXY protocol is not spoken; remove it',
      proxy_protocol_tlv_merge_policy: 'PROXY protocol is not spoken; remove it',
      max_early_data_bytes: 'the upstream is connected before data is read; remove it',
    },
  })
  if (statPrefix === undefined || clusters === undefined) return undefined
  return {
    statPrefix,
    clusters,
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    ...(maxConnectAttempts !== undefined && { maxConnectAttempts }),
    ...(maxConnectionDurationMs !== undefined && { maxConnectionDurationMs }),
    accessLogs,
  }
}

function decodeClusters(
  message: MessageReader,
  onClusterName: OnClusterName,
): readonly WeightedCluster[] | undefined {
  const single = message.take('cluster')
  const weighted = message.takeMessage('weighted_clusters', 'WeightedCluster')
  if (single !== undefined && weighted !== undefined)
    return message.field.error('TcpProxy has both cluster and weighted_clusters; remove one')
  if (single !== undefined) {
    const name = decodeClusterName(single, onClusterName)
    return name === undefined ? undefined : [{ name, weight: 1 }]
  }
  if (weighted === undefined) return message.field.error('TcpProxy needs cluster or weighted_clusters')
  const clusters = weighted.takeList('clusters').flatMap((field) => decodeWeight(field, onClusterName) ?? [])
  if (!weighted.has('clusters')) weighted.field.error('WeightedCluster needs at least one of clusters')
  weighted.finish()
  return clusters
}

function decodeWeight(field: Field, onClusterName: OnClusterName): WeightedCluster | undefined {
  const message = field.message('ClusterWeight')
  if (message === undefined) return undefined
  const namePlace = message.require('name')
  const name = namePlace && decodeClusterName(namePlace, onClusterName)
  const weight = message.require('weight')?.integer({ min: 1, max: UINT32_MAX })
  message.finish({
    unsupported: { metadata_match: 'there are no subsets; make a cluster of the endpoints that are meant' },
  })
  return name === undefined || weight === undefined ? undefined : { name, weight }
}

function decodeClusterName(place: Field, onClusterName: OnClusterName): string | undefined {
  const name = place.string()
  if (name === '') return place.error('the name of the cluster is empty')
  if (name !== undefined) onClusterName(name, place)
  return name
}

function decodeMaxDuration(field: Field | undefined): number | undefined {
  const durationMs = field?.durationMs()
  if (durationMs !== undefined && durationMs < 1)
    return field?.error('must be at least 0.001s; leave it out for no limit')
  return durationMs
}
