/** Listeners of the model as Envoy's envoy.config.listener.v3.Listener in proto3 JSON. */
import { dumpAddress, typed } from './envoy-endpoint-dump.ts'

import type { Cidr } from '../../core/cidr.ts'
import type { AccessLog, FilterChain, Listener, TcpProxy, TrafficDirection } from '../../mesh/listener.ts'
import type { Json } from './json-forms.ts'

const DIRECTIONS: Readonly<Record<TrafficDirection, string>> = {
  inbound: 'INBOUND',
  outbound: 'OUTBOUND',
  unspecified: 'UNSPECIFIED',
}

const ORIGINAL_DST = 'envoy.extensions.filters.listener.original_dst.v3.OriginalDst'

/** envoy.config.listener.v3.Listener, typed. The first address is `address`, the others are additional. */
export function dumpListener(listener: Listener): Json {
  const [first, ...others] = listener.addresses.map(({ address }) => dumpAddress(address))
  return {
    ...typed('envoy.config.listener.v3.Listener'),
    name: listener.name,
    ...(first && { address: first }),
    ...(others.length > 0 && { additional_addresses: others.map((address) => ({ address })) }),
    traffic_direction: DIRECTIONS[listener.direction],
    ...(!listener.bindToPort && { bind_to_port: false }),
    ...(listener.hasHandOff === true && { use_original_dst: true }),
    ...(listener.capture === 'tproxy' && { transparent: true }),
    ...(listener.capture !== 'none' && {
      listener_filters: [{ name: 'envoy.filters.listener.original_dst', typed_config: typed(ORIGINAL_DST) }],
    }),
    ...(listener.backlog !== undefined && { tcp_backlog_size: listener.backlog }),
    filter_chains: listener.filterChains.map(dumpFilterChain),
    ...(listener.defaultFilterChain && {
      default_filter_chain: dumpFilterChain(listener.defaultFilterChain),
    }),
    ...(listener.accessLogs.length > 0 && { access_log: listener.accessLogs.map(dumpAccessLog) }),
  }
}

/** A chain that refuses its connections has no filters, as Envoy writes one that closes them. */
function dumpFilterChain(chain: FilterChain): Json {
  const { name, match } = chain
  const filterChainMatch = {
    ...(match.destinationPort !== undefined && { destination_port: match.destinationPort }),
    ...(match.destinationPrefixes.length > 0 && { prefix_ranges: match.destinationPrefixes.map(dumpCidr) }),
    ...(match.sourcePrefixes.length > 0 && { source_prefix_ranges: match.sourcePrefixes.map(dumpCidr) }),
    ...(match.transportProtocol !== undefined && { transport_protocol: match.transportProtocol }),
    ...(match.serverNames !== undefined && { server_names: match.serverNames }),
    ...(match.applicationProtocols !== undefined && { application_protocols: match.applicationProtocols }),
  }
  return {
    ...(name !== '' && { name }),
    ...(Object.keys(filterChainMatch).length > 0 && { filter_chain_match: filterChainMatch }),
    filters:
      'refusal' in chain
        ? []
        : [{ name: 'envoy.filters.network.tcp_proxy', typed_config: dumpTcpProxy(chain.tcpProxy) }],
  }
}

function dumpTcpProxy(tcpProxy: TcpProxy): Json {
  const [first, ...others] = tcpProxy.clusters
  return {
    ...typed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
    stat_prefix: tcpProxy.statPrefix,
    ...(others.length === 0
      ? { cluster: first?.name ?? '' }
      : {
          weighted_clusters: { clusters: tcpProxy.clusters.map(({ name, weight }) => ({ name, weight })) },
        }),
    ...(tcpProxy.idleTimeoutMs !== undefined && { idle_timeout: seconds(tcpProxy.idleTimeoutMs) }),
    ...(tcpProxy.maxConnectAttempts !== undefined && { max_connect_attempts: tcpProxy.maxConnectAttempts }),
    ...(tcpProxy.maxConnectionDurationMs !== undefined && {
      max_downstream_connection_duration: seconds(tcpProxy.maxConnectionDurationMs),
    }),
    ...(tcpProxy.accessLogs.length > 0 && { access_log: tcpProxy.accessLogs.map(dumpAccessLog) }),
  }
}

function dumpAccessLog({ target, format }: AccessLog): Json {
  const path = target.kind === 'file' ? target.path : `/dev/${target.kind}`
  return {
    name: 'envoy.access_loggers.file',
    typed_config: {
      ...typed('envoy.extensions.access_loggers.file.v3.FileAccessLog'),
      path,
      ...(format?.kind === 'text' && {
        log_format: { text_format_source: { inline_string: format.template } },
      }),
      ...(format?.kind === 'json' && { log_format: { json_format: format.template } }),
    },
  }
}

function dumpCidr({ base, prefixLength }: Cidr): Json {
  return { address_prefix: base.text, prefix_len: prefixLength }
}

function seconds(ms: number): string {
  return `${ms / 1_000}s`
}
