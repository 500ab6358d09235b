/**
 * Decodes envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager as what carries a connection:
 * HTTP goes as plain TCP to the one cluster that all routes lead to, else to the service or the address that the client
 * asked for.
 */
import { decodeAccessLogs } from './access-log.ts'
import { isPolicyFilter } from './policy-filter.ts'
import { readTypedConfig } from './typed-config.ts'

import type { ChainOutcome, TrafficDirection } from '../../mesh/listener.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'
import type { TypedConfig } from './typed-config.ts'

/** Istio's clusters of type ORIGINAL_DST. Where a control plane has none of that name, the connection is refused. */
const ORIGINAL_DESTINATION: Readonly<Record<TrafficDirection, string>> = {
  inbound: 'InboundPassthroughCluster',
  outbound: 'PassthroughCluster',
  unspecified: 'PassthroughCluster',
}

/** What decides where HTTP goes as plain TCP. */
export interface HttpContext {
  readonly direction: TrafficDirection
  /** The chain, as messages call it. */
  readonly where: string
}

/** Decodes the filter, of which only the routes, the policies and the access log count. */
export function decodeHttpConnectionManager(message: MessageReader, context: HttpContext): ChainOutcome {
  const statPrefix = message.take('stat_prefix')?.string() ?? ''
  const policy = message.takeList('http_filters').map(readHttpFilter).find(isPolicy)
  const routes = message.takeMessage('route_config', 'RouteConfiguration')
  const onlyCluster = routes && onlyClusterOf(routes)
  const accessLogs = decodeAccessLogs(message.takeList('access_log'))
  message.finish()
  if (policy !== undefined) {
    const detail = `${context.where} has a policy that is not evaluated here: ${policy.typeName}`
    return { refusal: { reason: 'policy_denied', detail } }
  }
  const cluster = onlyCluster ?? ORIGINAL_DESTINATION[context.direction]
  const tcpProxy = { statPrefix, clusters: [{ name: cluster, weight: 1 }], accessLogs }
  // What comes in is for the own application, which is reached in plain text.
  const isForService = onlyCluster === undefined && context.direction !== 'inbound'
  return { tcpProxy, ...(isForService && { hasUnreadRoutes: true }) }
}

function isPolicy(typed: TypedConfig | undefined): typed is TypedConfig {
  return typed !== undefined && isPolicyFilter(typed)
}

function readHttpFilter(field: Field): TypedConfig | undefined {
  const message = field.message('HttpFilter')
  if (message === undefined) return undefined
  message.take('name')
  const isDisabled = message.take('disabled')?.value === true
  const typed = readTypedConfig(message)
  message.finish()
  if (typed !== undefined) field.report.ignore('HttpFilter', typed.typeName)
  return isDisabled ? undefined : typed
}

/** The cluster of all routes; `undefined` when there are several, or a route that is none to a cluster. */
function onlyClusterOf(config: MessageReader): string | undefined {
  const clusters = new Set(config.takeList('virtual_hosts').flatMap(clustersOfHost))
  const hasMore = config.has('vhds')
  config.finish({ ignored: ['name'] })
  const [cluster] = clusters
  return clusters.size === 1 && !hasMore ? cluster : undefined
}

function clustersOfHost(field: Field): readonly (string | undefined)[] {
  const host = field.message('VirtualHost')
  const clusters = (host?.takeList('routes') ?? []).map(clusterOfRoute)
  const hasMatcher = host?.take('matcher') !== undefined
  host?.finish({ ignored: ['name', 'domains'] })
  return hasMatcher ? [undefined] : clusters
}

function clusterOfRoute(field: Field): string | undefined {
  const route = field.message('Route')
  const action = route?.takeMessage('route', 'RouteAction')
  const cluster = action?.take('cluster')?.string()
  action?.finish()
  route?.finish({ ignored: ['name'] })
  return cluster
}
