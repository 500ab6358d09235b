/**
 * The state of the agent in the shape of Envoy's /config_dump (envoy.admin.v3.ConfigDump in proto3 JSON), as
 * `istioctl proxy-config` reads it. It is what is in force, made from the model; fields that were accepted and have no
 * effect are not in it.
 */
import { ClusterUpstreams } from '../../mesh/cluster-upstreams.ts'
import { TYPE_URLS } from '../../xds-client/discovery.ts'
import { bootstrapNode } from '../source/control-plane-node.ts'
import { dumpCluster } from './envoy-cluster-dump.ts'
import { dumpLoadAssignment, socketAddress, typed } from './envoy-endpoint-dump.ts'
import { dumpListener } from './envoy-listener-dump.ts'
import { dumpStream } from './stream-dump.ts'

import type { Cluster } from '../../mesh/cluster.ts'
import type { MeshSnapshot } from '../../mesh/store.ts'
import type { Json } from './json-forms.ts'
import type { BootstrapNode } from '../../xds-client/resources/bootstrap.ts'
import type { Settings } from '../settings/settings.ts'
import type { StreamView } from '../source/mesh-feed.ts'

export interface EnvoyDumpInput {
  readonly snapshot: MeshSnapshot
  readonly settings: Settings
  readonly version: string
  /** The node of the bootstrap. */
  readonly node: BootstrapNode
  /** When the process started. */
  readonly startedAtMs: number
  /** Absent where everything is in the bootstrap. */
  readonly stream?: StreamView
  /** Names of the bootstrap's own clusters and listeners. */
  readonly isStatic: (kind: 'cluster' | 'listener', name: string) => boolean
}

/** Costs the size of the mesh; the result is plain JSON. */
export function envoyConfigDump(input: EnvoyDumpInput): Json {
  const { stream } = input
  const sections: readonly Json[] = [
    {
      ...admin('BootstrapConfigDump'),
      bootstrap: dumpBootstrap(input),
      last_updated: new Date(input.startedAtMs).toISOString(),
    },
    { ...admin('ClustersConfigDump'), ...dumpClusters(input) },
    { ...admin('ListenersConfigDump'), ...dumpListeners(input) },
    { ...admin('EndpointsConfigDump'), ...dumpEndpoints(input) },
    { ...admin('RoutesConfigDump') },
  ]
  // A key of ours; istioctl reads over what it does not know.
  return { configs: sections, ...(stream !== undefined && { xds: dumpStream(stream) }) }
}

function dumpClusters(input: EnvoyDumpInput): Json {
  const clusters = [...input.snapshot.cluster.values()]
  const { own, foreign } = partition(clusters, ({ name }) => input.isStatic('cluster', name))
  const facts = deliveryOf(input, TYPE_URLS.cluster)
  return {
    ...(foreign.length > 0 && { version_info: facts.version_info }),
    static_clusters: own.map((cluster) => ({ cluster: dumpCluster(cluster), last_updated: startOf(input) })),
    ...(foreign.length > 0 && {
      dynamic_active_clusters: foreign.map((cluster) => ({ ...facts, cluster: dumpCluster(cluster) })),
    }),
  }
}

function dumpListeners(input: EnvoyDumpInput): Json {
  const listeners = [...input.snapshot.listener.values()]
  const { own, foreign } = partition(listeners, ({ name }) => input.isStatic('listener', name))
  const facts = deliveryOf(input, TYPE_URLS.listener)
  return {
    ...(foreign.length > 0 && { version_info: facts.version_info }),
    static_listeners: own.map((listener) => ({
      listener: dumpListener(listener),
      last_updated: startOf(input),
    })),
    ...(foreign.length > 0 && {
      dynamic_listeners: foreign.map((listener) => ({
        name: listener.name,
        active_state: { ...facts, listener: dumpListener(listener) },
      })),
    }),
  }
}

function dumpEndpoints(input: EnvoyDumpInput): Json {
  const { snapshot, isStatic } = input
  const upstreams = new ClusterUpstreams()
  const clusters = [...snapshot.cluster.values()].filter(
    ({ discovery }) => discovery.kind !== 'original-destination',
  )
  const { own, foreign } = partition(clusters, ({ name }) => isStatic('cluster', name))
  const configOf = (cluster: Cluster): Json =>
    dumpLoadAssignment(cluster.name, upstreams.upstreamOf(cluster, snapshot).endpoints)
  const facts = deliveryOf(input, TYPE_URLS.assignment)
  return {
    static_endpoint_configs: own.map((cluster) => ({
      endpoint_config: configOf(cluster),
      last_updated: startOf(input),
    })),
    ...(foreign.length > 0 && {
      dynamic_endpoint_configs: foreign.map((cluster) => ({ ...facts, endpoint_config: configOf(cluster) })),
    }),
  }
}

/** Version and time of what the control plane has sent last of a type. */
function deliveryOf(
  { stream, startedAtMs }: EnvoyDumpInput,
  typeUrl: string,
): { readonly version_info: string; readonly last_updated: string } {
  const type = stream?.status.types.find((each) => each.typeUrl === typeUrl)
  return {
    version_info: type?.version ?? '',
    last_updated: new Date(type?.updatedAtMs ?? startedAtMs).toISOString(),
  }
}

function startOf({ startedAtMs }: EnvoyDumpInput): string {
  return new Date(startedAtMs).toISOString()
}

function partition<Item>(
  items: readonly Item[],
  isOwn: (item: Item) => boolean,
): { readonly own: readonly Item[]; readonly foreign: readonly Item[] } {
  return { own: items.filter(isOwn), foreign: items.filter((item) => !isOwn(item)) }
}

/** Node metadata as istiod sees it, and what the operator permits although the mesh asks otherwise. */
function dumpBootstrap({ node, settings, version }: EnvoyDumpInput): Json {
  const { id, cluster, metadata } = bootstrapNode(node, settings, version)
  return {
    node: {
      id,
      cluster,
      metadata: { ...metadata, TWINSTACK_ALLOW_PLAINTEXT: settings.allowPlaintext.join(',') },
      user_agent_name: 'twinstack',
      user_agent_version: version,
    },
    admin: { address: socketAddress({ host: '127.0.0.1', port: settings.ports.admin }) },
  }
}

function admin(message: string): Json {
  return typed(`envoy.admin.v3.${message}`)
}
