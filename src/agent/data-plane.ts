/**
 * Puts the data plane together for one mesh: the router of its dialect, the proxy, and the names that have to be
 * resolved. Opens no port beside the listeners of the mesh.
 */
import { availableParallelism } from 'node:os'

import { systemRandom } from '../core/random.ts'
import { AmbientRouter } from '../mesh/ambient-router.ts'
import { EnvoyRouter } from '../mesh/envoy-router.ts'
import { DEFAULT_CONNECTION_OPTIONS } from '../proxy/connection-options.ts'
import { PodDiscovery } from '../proxy/pods/pod-discovery.ts'
import { DescriptorBudget } from '../proxy/descriptor-budget.ts'
import { HostRefresher } from '../proxy/dns/host-refresher.ts'
import { systemResolver } from '../proxy/dns/system-resolver.ts'
import { ProxyTotals } from '../proxy/proxy-totals.ts'
import { countOpenDescriptors, readDescriptorLimit } from './metrics/process-stats.ts'
import { packetMarkOf } from './engine-demands.ts'
import { captureListeners } from './capture-listeners.ts'
import { countWorkers } from './settings/worker-count.ts'

import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Router } from '../mesh/router.ts'
import type { MeshStore } from '../mesh/store.ts'
import type { ConnectionObserver } from '../proxy/connection-record.ts'
import type { Proxy } from '../proxy/proxy.ts'
import type { Discovery } from '../proxy/route-source.ts'
import type { Engine, EngineProxy } from './engine/engine.ts'
import type { LoadedMesh } from './source/mesh-file.ts'
import type { RecordCollector } from './access-log/record-collector.ts'
import type { Settings } from './settings/settings.ts'
import type { ZdsTransport } from '../zds-client/zds-transport.ts'

export interface DataPlaneDeps {
  readonly clock: Clock
  readonly logger: Logger
  readonly engine: Engine
  readonly store: MeshStore
  readonly records: RecordCollector
  readonly discovery?: Discovery
  /** See EngineProxyDeps. */
  readonly observer: ConnectionObserver
}

/** Names resolve in the background after this; listeners do not wait for a resolver that does not answer. */
const FIRST_RESOLUTION_MS = 5_000

export class DataPlane {
  /** What all threads have counted. */
  readonly totals = new ProxyTotals()
  readonly proxy: Proxy
  readonly #clock: Clock
  readonly #carried: EngineProxy
  /** The way to istio-cni; absent where no pods are captured in their network namespaces. */
  readonly zdsTransport: ZdsTransport | undefined
  readonly #refresher: HostRefresher

  /** @param mesh what was loaded for the first time; the store may still be empty */
  constructor(deps: DataPlaneDeps, settings: Settings, mesh: LoadedMesh) {
    const packetMark = packetMarkOf(settings, mesh.dialect, deps.engine.capabilities)
    this.#clock = deps.clock
    this.#refresher = new HostRefresher({ ...deps, resolver: systemResolver })
    const { router, discovery } = createRouter(deps, settings, mesh)
    const listeners = mesh.dialect === 'ambient' ? captureListeners(settings, deps.engine.capabilities) : []
    this.#carried = deps.engine.createProxy(
      {
        ...deps,
        totals: this.totals,
        random: systemRandom,
        router,
        ...(discovery !== undefined && { discovery }),
        descriptors: new DescriptorBudget(
          { clock: deps.clock, countOpen: countOpenDescriptors },
          { limit: readDescriptorLimit() ?? Infinity },
        ),
      },
      {
        connections: {
          ...DEFAULT_CONNECTION_OPTIONS,
          familyPolicy: settings.familyPolicy,
          families: settings.families,
          attemptDelayMs: settings.attemptDelayMs,
          idleTimeoutMs: settings.idleTimeoutMs,
          halfClosedTimeoutMs: settings.halfClosedTimeoutMs,
          keepalive: settings.keepalive,
          ...(packetMark !== undefined && { packetMark }),
        },
        workers: countWorkers(settings.workers, availableParallelism()),
        accessLog: { target: settings.accessLog, format: settings.logFormat },
        ...(settings.podCapture !== undefined && {
          pods: { listeners, reusePort: settings.podCapture.reusePort },
        }),
      },
    )
    this.proxy = this.#carried.proxy
    this.zdsTransport = this.#carried.zdsTransport
    deps.store.apply(listeners.map((upsert) => ({ kind: 'listener', upsert })))
  }

  /** Resolves the names of the mesh, then binds its listeners. Resolves when each address has been tried once. */
  async start(): Promise<void> {
    await this.#resolveNames()
    await this.proxy.start()
  }

  /** Ends every connection. Idempotent. */
  async close(): Promise<void> {
    this.#refresher.close()
    await this.#carried.close()
  }

  async #resolveNames(): Promise<void> {
    await new Promise<void>((resolve) => {
      const limit = this.#clock.setTimer(FIRST_RESOLUTION_MS, resolve)
      void this.#refresher.start().then(() => {
        limit.cancel()
        resolve()
      })
    })
  }
}

/** Who decides, and who finds out what has to be known for that. */
function createRouter(
  { store, clock, discovery }: DataPlaneDeps,
  settings: Settings,
  mesh: LoadedMesh,
): { readonly router: Router; readonly discovery: Discovery | undefined } {
  const { instanceIps, network, nodeName, clusterId } = settings.node
  if (mesh.dialect === 'envoy') {
    const router = new EnvoyRouter(
      { store },
      { ownAddresses: instanceIps, plaintextPermitted: settings.allowPlaintext },
    )
    return { router, discovery }
  }
  const router = new AmbientRouter(
    { store },
    {
      network,
      clusterId,
      plaintextPermitted: settings.allowPlaintext,
      ...(nodeName !== '' && { localNode: nodeName }),
      judgesLocalPods: settings.podCapture === undefined,
    },
  )
  if (settings.podCapture === undefined) return { router, discovery }
  const knowsPod = router.knowsPod.bind(router)
  return { router, discovery: new PodDiscovery({ store, clock, knowsPod, next: discovery }) }
}
