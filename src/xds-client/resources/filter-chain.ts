/** Decodes envoy.config.listener.v3.FilterChain and FilterChainMatch: one tcp_proxy, and which connections it gets. */
import { formatCidr } from '../../core/cidr.ts'
import { decodeCidrRange } from './cidr-range.ts'
import { decodeTcpProxy } from './tcp-proxy.ts'
import { requirePlainTransport } from './transport-socket.ts'
import { readTypedConfig } from './typed-config.ts'

import type { FilterChain, FilterChainMatch, TcpProxy } from '../../mesh/listener.ts'
import type { Field } from '../message-reader.ts'
import type { OnClusterName } from './tcp-proxy.ts'

const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
const MATCH_ALL: FilterChainMatch = { destinationPrefixes: [], sourcePrefixes: [] }
const NO_INSPECTION = 'chains are chosen by destination and client address only; remove it'

/** Decodes a filter chain. */
export function decodeFilterChain(field: Field, onClusterName: OnClusterName): FilterChain | undefined {
  const message = field.message('FilterChain')
  if (message === undefined) return undefined
  const name = message.take('name')?.string() ?? ''
  const matchPlace = message.take('filter_chain_match')
  const match = matchPlace === undefined ? MATCH_ALL : decodeMatch(matchPlace)
  requirePlainTransport(message.take('transport_socket'))
  const filters = message.takeList('filters')
  const tcpProxy = decodeFilters(field, filters, onClusterName)
  message.finish({
    ignored: ['metadata', 'transport_socket_connect_timeout'],
    unsupported: { use_proxy_proto: 'PROXY protocol is not spoken; remove it' },
  })
  return tcpProxy && match && { name, match, tcpProxy }
}

/** Reports chains of one listener that the same connections would match, as Envoy refuses them. */
export function checkMatchesDiffer(chains: readonly { chain: FilterChain; place: Field }[]): void {
  const firstByKey = new Map<string, Field>()
  for (const { chain, place } of chains) {
    const clash = matchKeys(chain.match).find((key) => firstByKey.has(key))
    if (clash !== undefined) {
      const first = firstByKey.get(clash)?.path.at(-1)
      place.error(
        `matches the same connections as filter_chains[${String(first)}] (${clash}); give each chain its own filter_chain_match, or make one the default_filter_chain`,
      )
    }
    for (const key of matchKeys(chain.match)) if (!firstByKey.has(key)) firstByKey.set(key, place)
  }
}

/** Each combination of port, destination prefix and source prefix that a match stands for, in words. */
function matchKeys(match: FilterChainMatch): readonly string[] {
  const port = match.destinationPort === undefined ? 'any port' : `port ${match.destinationPort}`
  const destinations = prefixTexts(match.destinationPrefixes, 'any destination')
  const sources = prefixTexts(match.sourcePrefixes, 'any client')
  return destinations.flatMap((destination) => sources.map((source) => `${port}, ${destination}, ${source}`))
}

function prefixTexts(prefixes: FilterChainMatch['sourcePrefixes'], any: string): readonly string[] {
  return prefixes.length === 0 ? [any] : prefixes.map(formatCidr)
}

function decodeMatch(field: Field): FilterChainMatch | undefined {
  const message = field.message('FilterChainMatch')
  if (message === undefined) return undefined
  const destinationPort = message.take('destination_port')?.integer({ min: 1, max: 65_535 })
  const destinationPrefixes = message.takeList('prefix_ranges').flatMap((item) => decodeCidrRange(item) ?? [])
  const sourcePrefixes = message
    .takeList('source_prefix_ranges')
    .flatMap((item) => decodeCidrRange(item) ?? [])
  message.finish({
    unsupported: {
      address_suffix: 'use prefix_ranges',
      suffix_len: 'use prefix_ranges',
      direct_source_prefix_ranges: 'use source_prefix_ranges',
      source_type: 'use source_prefix_ranges',
      source_ports: 'remove it',
      server_names: NO_INSPECTION,
      transport_protocol: NO_INSPECTION,
      application_protocols: NO_INSPECTION,
    },
  })
  return { ...(destinationPort !== undefined && { destinationPort }), destinationPrefixes, sourcePrefixes }
}

function decodeFilters(
  chain: Field,
  filters: readonly Field[],
  onClusterName: OnClusterName,
): TcpProxy | undefined {
  if (filters.length === 0)
    return chain.error('the filter chain has no filters; add a tcp_proxy filter that names a cluster')
  const proxies = filters.flatMap((filter) => decodeFilter(filter, onClusterName) ?? [])
  if (filters.length > 1 && proxies.length > 1)
    filters[1]?.error('tcp_proxy ends the chain; remove the filters after it')
  return proxies[0]
}

function decodeFilter(field: Field, onClusterName: OnClusterName): TcpProxy | undefined {
  const message = field.message('Filter')
  if (message === undefined) return undefined
  message.take('name')
  const isDiscovered = message.has('config_discovery')
  const typed = isDiscovered ? undefined : readTypedConfig(message)
  message.finish({ unsupported: { config_discovery: 'write the configuration as typed_config' } })
  if (typed === undefined) return undefined
  if (typed.typeName === TCP_PROXY) return decodeTcpProxy(typed.config, onClusterName)
  return field.error(`network filter ${typed.typeName} is not supported; only ${TCP_PROXY} is`)
}
