/** A proxy in one thread: its listeners, their connections and the router are side by side. */
import { LocalConnectionLimits } from './connection-limits.ts'
import { Connections } from './connections.ts'
import { FamilyHealth } from './endpoint-health.ts'
import { ListenerSet } from './listener-set.ts'
import { LoopGuard } from './loop-guard.ts'
import { OwnAddresses } from './own-addresses.ts'
import { LocalRoutes } from './route-source.ts'
import { UpstreamEnds } from './upstream-ends.ts'
import { UpstreamStates } from './upstream-state.ts'

import type { Clock } from '../core/clock.ts'
import type { Family } from '../core/family.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Router } from '../mesh/router.ts'
import type { MeshStore } from '../mesh/store.ts'
import type { CloseReason } from './close-reason.ts'
import type { ConnectionOptions } from './connection-options.ts'
import type { ConnectionObserver, ConnectionRecord } from './connection-record.ts'
import type { DescriptorBudget, DescriptorUse } from './descriptor-budget.ts'
import type { ListenerLedger } from './listener-ledger.ts'
import type { Listen, ListenerAddressStatus } from './listener-set.ts'
import type { EndpointReadings, Proxy } from './proxy.ts'
import type { ProxyStats } from './proxy-stats.ts'
import type { Discovery } from './route-source.ts'
import type { Transport } from './transport.ts'

export interface LocalProxyDeps {
  readonly transport: Transport
  readonly store: MeshStore
  readonly router: Router
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** The counters of this thread. */
  readonly stats: ProxyStats
  /** Told of the state of the listeners. */
  readonly ledger: ListenerLedger
  readonly observer: ConnectionObserver
  readonly descriptors: DescriptorBudget
  readonly discovery?: Discovery
}

export class LocalProxy implements Proxy {
  readonly workerRestarts = 0
  readonly pods = undefined
  readonly #deps: LocalProxyDeps
  readonly #listeners: ListenerSet
  readonly #connections: Connections
  readonly #health = new FamilyHealth()
  readonly #upstreams = new UpstreamStates()
  #stopWatching: (() => void) | undefined

  constructor(deps: LocalProxyDeps, options: ConnectionOptions) {
    this.#deps = deps
    const { families, keepalive } = options
    const own = new OwnAddresses()
    this.#listeners = new ListenerSet(
      {
        ...deps,
        listen: this.#listen,
        boundChanged: (bound) => {
          own.replace(bound)
        },
      },
      { families, keepalive },
    )
    this.#connections = new Connections(
      {
        ...deps,
        routes: new LocalRoutes(deps),
        health: this.#health,
        upstreams: this.#upstreams,
        limits: new LocalConnectionLimits(),
        loops: new LoopGuard(UpstreamEnds.allocate(deps.descriptors.limit)),
        isOwnAddress: (address) => own.has(address),
        hasRoom: () => !this.descriptorUse.isExhausted,
      },
      options,
    )
  }

  async start(): Promise<void> {
    this.#stopWatching = this.#deps.store.watch((change) => {
      if (change.has('listener')) void this.#listeners.apply()
      if (change.has('policy') || change.has('workload')) this.#checkPolicies()
    })
    this.#connections.start()
    await this.#listeners.apply()
  }

  get listeners(): readonly ListenerAddressStatus[] {
    return this.#listeners.statuses
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  get descriptorUse(): DescriptorUse {
    return this.#deps.descriptors.use(() => this.#connections.size)
  }

  unhealthyEndpoints(): Readonly<Record<Family, number>> {
    return this.#health.unhealthyCount(this.#deps.clock.nowMs())
  }

  connections(): Promise<readonly ConnectionRecord[]> {
    return Promise.resolve(this.#connections.records)
  }

  endpoints(): Promise<EndpointReadings> {
    const nowMs = this.#deps.clock.nowMs()
    return Promise.resolve({
      isFamilyHealthy: (endpointId, family) => this.#health.isHealthy({ endpointId, family }, nowMs),
      isEjected: (upstream, endpointId) =>
        this.#upstreams.peek(upstream)?.ejection.isEjected(endpointId, nowMs) ?? false,
      activeConnections: (upstream, endpointId) => this.#upstreams.peek(upstream)?.activeOf(endpointId) ?? 0,
    })
  }

  /** Brings the byte counts of live connections into the counters. */
  foldStats(): void {
    this.#connections.foldBytes()
  }

  async stopAccepting(): Promise<void> {
    await this.#listeners.close()
  }

  whenIdle(): Promise<void> {
    return this.#connections.whenIdle()
  }

  closeConnections(reason: CloseReason): void {
    this.#connections.closeAll(reason)
  }

  async close(): Promise<void> {
    this.#connections.stop()
    await this.stopAccepting()
    this.closeConnections('drained')
    await this.whenIdle()
    // Until here a changed policy is one that connections are asked about.
    this.#stopWatching?.()
  }

  readonly #listen: Listen = (listener, address, options) =>
    this.#deps.transport.listen(address, options, {
      accepted: (socket) => {
        this.#connections.accept(socket, this.#listeners.current(listener.name) ?? listener)
      },
      acceptFailed: (code) => {
        this.#connections.acceptFailed(code)
      },
    })

  /** Ends what a changed policy no longer allows (rule 12). */
  #checkPolicies(): void {
    const { router } = this.#deps
    for (const { id, facts, reached } of this.#connections.judged(router.judgedDirections))
      if (!router.isStillAllowed(facts, reached)) this.#connections.close(id, 'policy_changed')
  }
}
