/**
 * Decides what the network filters of a chain do to plain TCP. A file has one tcp_proxy and nothing else. A control plane
 * sends more: what observes is left out, HTTP is carried as TCP, and what could deny and is not evaluated here denies.
 */
import { decodeHttpConnectionManager } from './http-connection-manager.ts'
import { isPolicyFilter } from './policy-filter.ts'
import { decodeTcpProxy } from './tcp-proxy.ts'
import { readTypedConfig } from './typed-config.ts'

import type { ChainOutcome, TrafficDirection } from '../../mesh/listener.ts'
import type { Field } from '../reading/message-reader.ts'
import type { OnClusterName } from './tcp-proxy.ts'
import type { TypedConfig } from './typed-config.ts'

/** What surrounds the filters of a chain. */
export interface FilterContext {
  readonly onClusterName: OnClusterName
  /** Of the listener; decides what the original destination is reached by. */
  readonly direction: TrafficDirection
}

const NETWORK_FILTERS = 'envoy.extensions.filters.network'
const TCP_PROXY = `${NETWORK_FILTERS}.tcp_proxy.v3.TcpProxy`
const HTTP = `${NETWORK_FILTERS}.http_connection_manager.v3.HttpConnectionManager`

/** Decodes the filters of a chain. */
export function decodeNetworkFilters(
  chain: Field,
  filters: readonly Field[],
  context: FilterContext & { readonly chainName: string },
): ChainOutcome | undefined {
  return chain.report.form === 'file'
    ? decodeFileFilters(chain, filters, context)
    : decodeWireFilters(filters, context)
}

function decodeFileFilters(
  chain: Field,
  filters: readonly Field[],
  { onClusterName }: FilterContext,
): ChainOutcome | undefined {
  if (filters.length === 0)
    return chain.error('the filter chain has no filters; add a tcp_proxy filter that names a cluster')
  const proxies = filters.flatMap((field) => {
    const typed = readFilter(field)
    if (typed === undefined) return []
    if (typed.typeName === TCP_PROXY) return decodeTcpProxy(typed.config, onClusterName) ?? []
    field.error(`network filter ${typed.typeName} is not supported; only ${TCP_PROXY} is`)
    return []
  })
  if (filters.length > 1 && proxies.length > 1)
    filters[1]?.error('tcp_proxy ends the chain; remove the filters after it')
  const [tcpProxy] = proxies
  return tcpProxy && { tcpProxy }
}

/** The first refusal counts, else the filter that carries the connection. Without either Envoy closes it. */
function decodeWireFilters(
  filters: readonly Field[],
  context: FilterContext & { readonly chainName: string },
): ChainOutcome | undefined {
  const where = context.chainName === '' ? 'a filter chain' : `filter chain ${context.chainName}`
  const outcomes = filters.map((field) => decodeWireFilter(field, { ...context, where }))
  if (outcomes.includes(undefined)) return undefined
  const known = outcomes.filter((outcome) => outcome !== undefined && outcome !== 'none')
  const refusal = known.find((outcome) => 'refusal' in outcome)
  const [
    first = { refusal: { reason: 'no_route', detail: `${where} has no filter that carries a connection` } },
  ] = known
  return refusal ?? first
}

/** What one filter does; `undefined` where it has an error that has been reported. */
function decodeWireFilter(
  field: Field,
  context: FilterContext & { readonly where: string },
): ChainOutcome | 'none' | undefined {
  const typed = readFilter(field)
  if (typed === undefined) return ignore(field, 'without a typed_config')
  const { where } = context
  if (isPolicyFilter(typed)) {
    const detail = `${where} has a policy that is not evaluated here: ${typed.typeName}`
    return { refusal: { reason: 'policy_denied', detail } }
  }
  if (typed.typeName === TCP_PROXY) {
    if (typed.config.has('tunneling_config')) {
      const detail = `${where} leads into an HTTP tunnel (HBONE), which is not spoken here`
      return { refusal: { reason: 'mtls_required', detail } }
    }
    const tcpProxy = decodeTcpProxy(typed.config, context.onClusterName)
    return tcpProxy && { tcpProxy }
  }
  if (typed.typeName === HTTP) return decodeHttpConnectionManager(typed.config, context)
  return ignore(field, typed.typeName)
}

function ignore(field: Field, what: string): 'none' {
  field.report.ignore('Filter', what)
  return 'none'
}

function readFilter(field: Field): TypedConfig | undefined {
  const message = field.message('Filter')
  if (message === undefined) return undefined
  message.take('name')
  const isDiscovered = message.has('config_discovery')
  const typed = isDiscovered ? undefined : readTypedConfig(message)
  message.finish({ unsupported: { config_discovery: 'write the configuration as typed_config' } })
  return typed
}
