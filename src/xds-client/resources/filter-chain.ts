/** Decodes envoy.config.listener.v3.FilterChain: which connections it gets, and what becomes of them. */
import { MATCH_ALL, decodeFilterChainMatch } from './filter-chain-match.ts'
import { decodeNetworkFilters } from './network-filter.ts'
import { readIsEncrypted } from './transport-socket.ts'

import type { FilterChain } from '../../mesh/listener.ts'
import type { Field } from '../reading/message-reader.ts'
import type { FilterContext } from './network-filter.ts'

/** Decodes a filter chain. One whose clients speak TLS refuses the others. */
export function decodeFilterChain(field: Field, context: FilterContext): FilterChain | undefined {
  const message = field.message('FilterChain')
  if (message === undefined) return undefined
  const name = message.take('name')?.string() ?? ''
  const matchPlace = message.take('filter_chain_match')
  const match = matchPlace === undefined ? MATCH_ALL : decodeFilterChainMatch(matchPlace)
  const isEncrypted = readIsEncrypted(message.take('transport_socket'))
  const outcome = decodeNetworkFilters(field, message.takeList('filters'), { ...context, chainName: name })
  message.finish({
    ignored: ['metadata', 'transport_socket_connect_timeout'],
    refused: { use_proxy_proto: 'PROXY protocol is not spoken; remove it' },
  })
  if (outcome === undefined || match === undefined) return undefined
  if (isEncrypted) {
    const detail = `filter chain ${name} is for clients that speak TLS, which is not spoken here`
    return { name, match, refusal: { reason: 'mtls_required', detail } }
  }
  return { name, match, ...outcome }
}
