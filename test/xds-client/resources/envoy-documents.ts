/** Builds Envoy bootstrap documents for tests, as plain values in their JSON form. */
import { formatPath } from '../../../src/core/result.ts'

import type { DecodeReport } from '../../../src/xds-client/reading/message-reader.ts'

/** A message of a document. */
export type Message = Readonly<Record<string, unknown>>

const TYPES = 'type.googleapis.com/'
const TCP_PROXY = `${TYPES}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`

/** core.v3.Address of an address and port. */
export function address(text: string, port: number, rest: Message = {}): Message {
  return { socket_address: { address: text, port_value: port, ...rest } }
}

/** A filter chain with a tcp_proxy to `cluster`. */
export function filterChain(cluster: string, chain: Message = {}, tcpProxy: Message = {}): Message {
  return {
    filters: [
      {
        name: 'envoy.filters.network.tcp_proxy',
        typed_config: { '@type': TCP_PROXY, stat_prefix: 'test', cluster, ...tcpProxy },
      },
    ],
    ...chain,
  }
}

/** A listener on 0.0.0.0:80 that leads to the cluster `web`. */
export function listener(rest: Message = {}): Message {
  return { name: 'web', address: address('0.0.0.0', 80), filter_chains: [filterChain('web')], ...rest }
}

/** A filter or logger: its full message name without the prefix of all of them. */
export function typed(typeName: string, config: Message = {}): Message {
  return { name: 'x', typed_config: { '@type': `${TYPES}envoy.extensions.${typeName}`, ...config } }
}

/** An LbEndpoint. */
export function lbEndpoint(text: string, port: number, rest: Message = {}, endpoint: Message = {}): Message {
  return { endpoint: { address: address(text, port), ...endpoint }, ...rest }
}

/** A ClusterLoadAssignment with one locality. */
export function loadAssignment(
  endpoints: readonly Message[],
  locality: Message = {},
  rest: Message = {},
): Message {
  return { cluster_name: 'web', endpoints: [{ lb_endpoints: endpoints, ...locality }], ...rest }
}

/** A STATIC cluster `web` with one endpoint. */
export function cluster(rest: Message = {}): Message {
  return { name: 'web', load_assignment: loadAssignment([lbEndpoint('10.0.0.1', 80)]), ...rest }
}

/** Metadata of an endpoint as Istio sends it. */
export function istioMetadata(workload: string): Message {
  return { metadata: { filter_metadata: { istio: { workload } } } }
}

/** A bootstrap with the listener and the cluster above, unless told otherwise. */
export function bootstrap(resources: Message = {}, rest: Message = {}): Message {
  return { static_resources: { listeners: [listener()], clusters: [cluster()], ...resources }, ...rest }
}

/** Problems as `severity path: message`. */
export function problemsOf(report: DecodeReport): readonly string[] {
  return report.problems.map(({ severity, path, message }) => `${severity} ${formatPath(path)}: ${message}`)
}
