/** What the admin server shows, in the shape of the dialect that the agent runs on. */
import { ambientConfigDump } from './ambient-config-dump.ts'
import { dumpClusterStatuses } from './envoy-cluster-dump.ts'
import { envoyConfigDump } from './envoy-config-dump.ts'

import type { Clock } from '../../core/clock.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { Proxy } from '../../proxy/proxy.ts'
import type { LoadedMesh } from '../source/mesh-file.ts'
import type { Settings } from '../settings/settings.ts'
import type { StreamView } from '../source/mesh-feed.ts'

export interface AdminViewsDeps {
  readonly clock: Clock
  readonly store: MeshStore
  readonly proxy: Proxy
  /** Has the stream to the control plane, where there is one. */
  readonly feed: { readonly stream: StreamView | undefined }
}

export interface AdminViewsOptions {
  readonly settings: Settings
  /** As it was when the agent started: dialect and node do not change while it runs. */
  readonly mesh: LoadedMesh
  readonly version: string
}

const NO_NODE = { id: '', cluster: '', metadata: {} } as const

export class AdminViews {
  readonly #deps: AdminViewsDeps
  readonly #options: AdminViewsOptions
  readonly #startedAtMs: number
  /** Of the bootstrap, as `kind name`. */
  readonly #staticNames: ReadonlySet<string>

  constructor(deps: AdminViewsDeps, options: AdminViewsOptions) {
    this.#deps = deps
    this.#options = options
    this.#startedAtMs = deps.clock.wallTimeMs()
    this.#staticNames = new Set(
      options.mesh.resources.map(({ kind, upsert }) => `${kind} ${'name' in upsert ? upsert.name : ''}`),
    )
  }

  /** What `istioctl proxy-config` reads of an Envoy, or `istioctl ztunnel-config` of a ztunnel. */
  async configDump(): Promise<unknown> {
    const { settings, mesh, version } = this.#options
    const { store, feed } = this.#deps
    const { stream } = feed
    const { snapshot } = store
    const common = { snapshot, settings, version, ...(stream !== undefined && { stream }) }
    if (mesh.dialect === 'ambient') {
      const { proxy } = this.#deps
      const connections = await proxy.connections()
      return ambientConfigDump({ ...common, connections, pods: proxy.pods?.statuses })
    }
    const node = mesh.bootstrap?.node ?? NO_NODE
    return envoyConfigDump({
      ...common,
      node,
      startedAtMs: this.#startedAtMs,
      isStatic: (kind, name) => stream === undefined || this.#staticNames.has(`${kind} ${name}`),
    })
  }

  /** envoy.admin.v3.Clusters; without clusters in the ambient dialect. */
  async clusters(): Promise<unknown> {
    const { store, proxy } = this.#deps
    const readings = await proxy.endpoints()
    return dumpClusterStatuses(store.snapshot, readings)
  }
}
