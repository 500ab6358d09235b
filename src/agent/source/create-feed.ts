/** Chooses what feeds the store: the file or text that was loaded, or the control plane that settings or bootstrap name. */
import { systemRandom } from '../../core/random.ts'
import { loadEnvoySchema } from '../../xds-client/reading/envoy-schema.ts'
import { GrpcTransport } from '../../xds-client/stream/grpc-transport.ts'
import { VERSION } from '../version.ts'
import { ambientDialect, envoyDialect } from './control-plane-dialect.ts'
import { ControlPlaneFeed } from './control-plane-feed.ts'
import { bootstrapNode, settingsNode } from './control-plane-node.ts'
import { transportOfBootstrap, transportOfSettings } from './control-plane-transport.ts'
import { loadedFeed } from './mesh-feed.ts'

import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Result } from '../../core/result.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { TransportCapabilities } from '../../proxy/transport.ts'
import type { DiscoveryNode } from '../../xds-client/stream/node-message.ts'
import type { BootstrapControlPlane } from '../../xds-client/resources/bootstrap.ts'
import type { Settings } from '../settings/settings.ts'
import type { MeshFeed } from './mesh-feed.ts'
import type { MeshFileSource } from './mesh-file-source.ts'
import type { LoadedMesh } from './mesh-file.ts'
import type { SourceStatus } from './source-status.ts'

export interface CreateFeedDeps {
  readonly store: MeshStore
  readonly clock: Clock
  readonly logger: Logger
  readonly capabilities: TransportCapabilities
  readonly env: Readonly<Record<string, string | undefined>>
  readonly status: SourceStatus
  /** The file that was loaded, where there is one. */
  readonly file: MeshFileSource | undefined
}

/**
 * The feed of a start. A bootstrap that names a control plane is read once, as Envoy does: what it has under
 * static_resources stays, and everything else comes from there.
 */
export function createFeed(deps: CreateFeedDeps, settings: Settings, mesh: LoadedMesh): Result<MeshFeed> {
  const { store, status, file } = deps
  const apply = (): void => {
    store.apply(mesh.resources)
  }
  if (settings.source.kind === 'control-plane')
    return ambientFeed(deps, settings, settings.source.controlPlane)
  const controlPlane = mesh.bootstrap?.controlPlane
  if (controlPlane !== undefined) return envoyFeed(deps, settings, { mesh, controlPlane, apply })
  return { ok: true, value: loadedFeed(mesh, { status, file, apply }) }
}

function ambientFeed(
  deps: CreateFeedDeps,
  settings: Settings,
  controlPlane: Parameters<typeof transportOfSettings>[0],
): Result<MeshFeed> {
  const node = settingsNode('ztunnel', settings, deps.env, VERSION)
  if (!node.ok) return node
  const transport = new GrpcTransport(transportOfSettings(controlPlane, settings))
  const { isOnDemand } = controlPlane
  const dialect = ambientDialect({
    isOnDemand,
    network: settings.node.network,
    isPlaintextPermitted: settings.allowPlaintext.includes('*'),
  })
  const feed = new ControlPlaneFeed(
    { ...deps, transport, random: systemRandom },
    { mode: 'delta', node: node.value, dialect },
  )
  return { ok: true, value: feed }
}

function envoyFeed(
  deps: CreateFeedDeps,
  settings: Settings,
  facts: {
    readonly mesh: LoadedMesh
    readonly controlPlane: BootstrapControlPlane
    readonly apply: () => void
  },
): Result<MeshFeed> {
  const { mesh, controlPlane, apply } = facts
  const node = nodeOf(mesh, settings, deps.env)
  if (!node.ok) return node
  const { cluster, metadata, protocol, hasClusters, hasListeners } = controlPlane
  const transport = new GrpcTransport(transportOfBootstrap(cluster, metadata, settings))
  const { capabilities } = deps
  const dialect = envoyDialect({
    schema: loadEnvoySchema(),
    capabilities,
    hasClusters,
    hasListeners,
    staticNames: {
      clusters: namesOf(mesh.bootstrap?.clusters),
      listeners: namesOf(mesh.bootstrap?.listeners),
    },
  })
  const feed = new ControlPlaneFeed(
    { ...deps, transport, random: systemRandom },
    { mode: protocol, node: node.value, dialect },
    apply,
  )
  return { ok: true, value: feed }
}

function namesOf(resources: readonly { readonly name: string }[] = []): ReadonlySet<string> {
  return new Set(resources.map(({ name }) => name))
}

/** A bootstrap without a node says nothing of who the agent is: its settings do. */
function nodeOf(
  { bootstrap }: LoadedMesh,
  settings: Settings,
  env: CreateFeedDeps['env'],
): Result<DiscoveryNode> {
  if (bootstrap === undefined || bootstrap.node.id === '')
    return settingsNode('sidecar', settings, env, VERSION)
  return { ok: true, value: bootstrapNode(bootstrap.node, settings, VERSION) }
}
