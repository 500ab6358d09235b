/**
 * The state of the agent in the shape of Envoy's /config_dump (envoy.admin.v3.ConfigDump in proto3 JSON), as
 * `istioctl proxy-config` reads it. It is what is in force, made from the model; fields that were accepted and have no
 * effect are not in it.
 */
import { ClusterUpstreams } from '../../mesh/cluster-upstreams.ts'
import { dumpCluster } from './envoy-cluster-dump.ts'
import { dumpLoadAssignment, socketAddress, typed } from './envoy-endpoint-dump.ts'
import { dumpListener } from './envoy-listener-dump.ts'

import type { MeshSnapshot } from '../../mesh/store.ts'
import type { Json } from './envoy-endpoint-dump.ts'
import type { Settings } from '../settings/settings.ts'

export interface EnvoyDumpInput {
  readonly snapshot: MeshSnapshot
  readonly settings: Settings
  readonly version: string
  /** The node of the bootstrap. */
  readonly node: {
    readonly id: string
    readonly cluster: string
    readonly metadata: Readonly<Record<string, unknown>>
  }
  /** When the process started. */
  readonly startedAtMs: number
}

/** Costs the size of the mesh; the result is plain JSON. */
export function envoyConfigDump(input: EnvoyDumpInput): Json {
  const { snapshot, startedAtMs } = input
  const last_updated = new Date(startedAtMs).toISOString()
  const upstreams = new ClusterUpstreams()
  const clusters = [...snapshot.cluster.values()]
  const sections: readonly Json[] = [
    { ...admin('BootstrapConfigDump'), bootstrap: dumpBootstrap(input), last_updated },
    {
      ...admin('ClustersConfigDump'),
      static_clusters: clusters.map((cluster) => ({ cluster: dumpCluster(cluster), last_updated })),
    },
    {
      ...admin('ListenersConfigDump'),
      static_listeners: Array.from(snapshot.listener.values(), (listener) => ({
        listener: dumpListener(listener),
        last_updated,
      })),
    },
    {
      ...admin('EndpointsConfigDump'),
      static_endpoint_configs: clusters
        .filter(({ discovery }) => discovery.kind !== 'original-destination')
        .map((cluster) => ({
          endpoint_config: dumpLoadAssignment(
            cluster.name,
            upstreams.upstreamOf(cluster, snapshot).endpoints,
          ),
          last_updated,
        })),
    },
    { ...admin('RoutesConfigDump') },
  ]
  return { configs: sections }
}

/** Node metadata as istiod sees it: the dual-stack flag in force stands in PROXY_CONFIG.proxyMetadata. */
function dumpBootstrap({ node, settings, version }: EnvoyDumpInput): Json {
  const given = node.metadata['PROXY_CONFIG']
  const proxyConfig = isJson(given) ? given : {}
  const metadata = isJson(proxyConfig['proxyMetadata']) ? proxyConfig['proxyMetadata'] : {}
  return {
    node: {
      id: node.id,
      cluster: node.cluster,
      metadata: {
        ...node.metadata,
        PROXY_CONFIG: { ...proxyConfig, proxyMetadata: { ...metadata, ...settings.proxyMetadata } },
      },
      user_agent_name: 'twinstack',
      user_agent_version: version,
    },
    admin: { address: socketAddress({ host: '127.0.0.1', port: settings.ports.admin }) },
  }
}

function admin(message: string): Json {
  return typed(`envoy.admin.v3.${message}`)
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
