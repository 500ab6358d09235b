/** The mesh of the benches as an Envoy bootstrap: one listener and one cluster per service, each with both families. */
import { LOOPBACK } from '../../test/fixtures/loopback.ts'

import type { Family } from '../../src/core/family.ts'

/** One service: the port of its application and that of the proxy's listener, the same in every family. */
export interface MeshService {
  readonly name: string
  readonly appPort: number
  readonly listenPort: number
}

/** The bootstrap as text. JSON is YAML. */
export function renderMeshConfig(services: readonly MeshService[], families: readonly Family[]): string {
  return JSON.stringify({
    node: { id: 'bench', cluster: 'bench' },
    static_resources: {
      listeners: services.map(({ name, listenPort }) => ({
        name,
        ...addressesOf(listenPort, families),
        filter_chains: [{ filters: [tcpProxy(name)] }],
      })),
      clusters: services.map(({ name, appPort }) => ({
        name,
        type: 'STATIC',
        connect_timeout: '5s',
        load_assignment: {
          cluster_name: name,
          endpoints: [{ lb_endpoints: [{ endpoint: addressesOf(appPort, families) }] }],
        },
      })),
    },
  })
}

function addressesOf(port: number, families: readonly Family[]): object {
  const [first, ...additional] = families.map((family) => ({
    socket_address: { address: LOOPBACK[family], port_value: port },
  }))
  return {
    address: first,
    ...(additional.length > 0 && { additional_addresses: additional.map((address) => ({ address })) }),
  }
}

function tcpProxy(cluster: string): object {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: cluster,
      cluster,
    },
  }
}
