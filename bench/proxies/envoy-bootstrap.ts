/** The bootstrap that Envoy and twinstack both run: redirected connections go to their original destination. */
import { FAMILIES } from '../../src/core/family.ts'
import { SERVER_ADDRESS } from '../lab/namespaces.ts'

import type { StaticService } from './proxy-program.ts'

export interface EnvoyBootstrapOptions {
  /** Takes redirected connections. */
  readonly capturePort: number
  readonly staticServices: readonly StaticService[]
  /** The admin section of Envoy; twinstack has its own ports. */
  readonly adminPort?: number
}

/** No limit for the benches: Envoy's default is 1,024 connections per cluster. */
const CIRCUIT_BREAKERS = { thresholds: [{ max_connections: 1_000_000, max_pending_requests: 1_000_000 }] }

/** The bootstrap as text. JSON is YAML. */
export function renderEnvoyBootstrap({
  capturePort,
  adminPort,
  staticServices,
}: EnvoyBootstrapOptions): string {
  const bothFamilies = FAMILIES.map((family) => SERVER_ADDRESS[family])
  return JSON.stringify({
    node: { id: 'bench', cluster: 'bench' },
    ...(adminPort !== undefined && { admin: { address: socketAddress('127.0.0.1', adminPort) } }),
    static_resources: {
      listeners: [
        {
          name: 'captured',
          ...anyAddress(capturePort),
          listener_filters: [
            {
              name: 'envoy.filters.listener.original_dst',
              typed_config: typed('extensions.filters.listener.original_dst.v3.OriginalDst'),
            },
          ],
          filter_chains: [{ filters: [tcpProxy('captured')] }],
        },
        ...staticServices.map(({ name, listenPort }) => ({
          name,
          ...anyAddress(listenPort),
          filter_chains: [{ filters: [tcpProxy(name)] }],
        })),
      ],
      clusters: [
        {
          name: 'captured',
          type: 'ORIGINAL_DST',
          lb_policy: 'CLUSTER_PROVIDED',
          connect_timeout: '5s',
          circuit_breakers: CIRCUIT_BREAKERS,
        },
        ...staticServices.map(({ name, appPort }) => ({
          name,
          type: 'STATIC',
          connect_timeout: '5s',
          circuit_breakers: CIRCUIT_BREAKERS,
          load_assignment: {
            cluster_name: name,
            endpoints: [{ lb_endpoints: [{ endpoint: withAddresses(bothFamilies, appPort) }] }],
          },
        })),
      ],
    },
  })
}

function anyAddress(port: number): object {
  return withAddresses(['0.0.0.0', '::'], port)
}

function withAddresses([first = '', ...additional]: readonly string[], port: number): object {
  return {
    address: socketAddress(first, port),
    additional_addresses: additional.map((address) => ({ address: socketAddress(address, port) })),
  }
}

function socketAddress(address: string, port: number): object {
  return { socket_address: { address, port_value: port } }
}

function tcpProxy(cluster: string): object {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      ...typed('extensions.filters.network.tcp_proxy.v3.TcpProxy'),
      stat_prefix: cluster,
      cluster,
    },
  }
}

function typed(message: string): { readonly '@type': string } {
  return { '@type': `type.googleapis.com/envoy.${message}` }
}
