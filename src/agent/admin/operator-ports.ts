/** The three HTTP servers that operators see: admin on loopback, metrics and readiness on every address. */
import { systemRandom } from '../../core/random.ts'
import { adminRoutes, metricsRoutes, readinessRoutes } from './endpoints.ts'
import { DualStackHttpServer, loopbackAddresses, wildcardAddresses } from './http-server.ts'

import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { ListenerAddressStatus } from '../../proxy/listener-set.ts'
import type { PodStatus } from '../../proxy/pods/pod-entry.ts'
import type { AdminDeps } from './endpoints.ts'
import type { Scrape } from '../metrics/metrics.ts'
import type { Readiness } from './readiness.ts'
import type { Settings } from '../settings/settings.ts'

export interface OperatorPortsDeps {
  readonly clock: Clock
  readonly logger: Logger
  readonly admin: AdminDeps
  readonly scrape: () => Promise<Scrape>
  readonly readiness: Readiness
  /** The listeners of the mesh. */
  readonly listeners: () => readonly ListenerAddressStatus[]
  /** `undefined` where no pods are captured in their network namespaces. */
  readonly pods: () => readonly PodStatus[] | undefined
}

export class OperatorPorts {
  readonly #servers: readonly DualStackHttpServer[]

  constructor(deps: OperatorPortsDeps, { families, ports }: Pick<Settings, 'families' | 'ports'>) {
    const serverDeps = { ...deps, random: systemRandom }
    const listeners = (): readonly ListenerAddressStatus[] => [...deps.listeners(), ...this.statuses]
    this.#servers = [
      new DualStackHttpServer(serverDeps, {
        name: 'admin',
        addresses: loopbackAddresses(families),
        port: ports.admin,
        routes: adminRoutes(deps.admin),
      }),
      new DualStackHttpServer(serverDeps, {
        name: 'metrics',
        addresses: wildcardAddresses(families),
        port: ports.metrics,
        routes: metricsRoutes(deps.scrape),
      }),
      new DualStackHttpServer(serverDeps, {
        name: 'readiness',
        addresses: wildcardAddresses(families),
        port: ports.readiness,
        routes: readinessRoutes({ readiness: deps.readiness, listeners, pods: deps.pods }),
      }),
    ]
  }

  /** Resolves when each address has been tried once; what failed is tried again. Never rejects. */
  async start(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.start()))
  }

  get statuses(): readonly ListenerAddressStatus[] {
    return this.#servers.flatMap((server) => server.statuses)
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.close()))
  }
}
