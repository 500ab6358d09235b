/** Decodes envoy.config.listener.v3.FilterChainMatch, and finds chains that the same connections would match. */
import { formatCidr } from '../../core/cidr.ts'
import { decodeCidrRange } from './cidr-range.ts'

import type { FilterChain, FilterChainMatch } from '../../mesh/listener.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

/** The match of a chain that has none. */
export const MATCH_ALL: FilterChainMatch = { destinationPrefixes: [], sourcePrefixes: [] }

const NO_INSPECTION = 'chains are chosen by destination and client address only; remove it'

/** Decodes what a connection must look like for a chain to take it. */
export function decodeFilterChainMatch(field: Field): FilterChainMatch | undefined {
  const message = field.message('FilterChainMatch')
  if (message === undefined) return undefined
  const destinationPort = message.take('destination_port')?.integer({ min: 1, max: 65_535 })
  const destinationPrefixes = message.takeList('prefix_ranges').flatMap((item) => decodeCidrRange(item) ?? [])
  const sourcePrefixes = message
    .takeList('source_prefix_ranges')
    .flatMap((item) => decodeCidrRange(item) ?? [])
  // A client that is not looked into is one in plain text, which these keep out: in a file that is never what is meant.
  const inspected = field.report.form === 'wire' ? readInspected(message) : {}
  message.finish({
    refused: {
      address_suffix: 'use prefix_ranges',
      suffix_len: 'use prefix_ranges',
      direct_source_prefix_ranges: 'use source_prefix_ranges',
      source_type: 'use source_prefix_ranges',
      source_ports: 'remove it',
    },
    unsupported: {
      server_names: NO_INSPECTION,
      transport_protocol: NO_INSPECTION,
      application_protocols: NO_INSPECTION,
    },
  })
  return {
    ...(destinationPort !== undefined && { destinationPort }),
    destinationPrefixes,
    sourcePrefixes,
    ...inspected,
  }
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
  const { transportProtocol, serverNames, applicationProtocols } = match
  const inspected = [transportProtocol, serverNames, applicationProtocols]
    .filter((criterion) => criterion !== undefined)
    .map((criterion) => `, ${String(criterion)}`)
  return destinations.flatMap((destination) =>
    sources.map((source) => [`${port}, ${destination}, ${source}`, ...inspected].join('')),
  )
}

function prefixTexts(prefixes: FilterChainMatch['sourcePrefixes'], any: string): readonly string[] {
  return prefixes.length === 0 ? [any] : prefixes.map(formatCidr)
}

/** What only an inspection of the first bytes could tell. An empty value asks for nothing. */
function readInspected(message: MessageReader): Partial<FilterChainMatch> {
  const transportProtocol = message.take('transport_protocol')?.string() ?? ''
  const serverNames = message.takeList('server_names').flatMap((item) => item.string() ?? [])
  const applicationProtocols = message
    .takeList('application_protocols')
    .flatMap((item) => item.string() ?? [])
  return {
    ...(transportProtocol !== '' && { transportProtocol }),
    ...(serverNames.length > 0 && { serverNames }),
    ...(applicationProtocols.length > 0 && { applicationProtocols }),
  }
}
