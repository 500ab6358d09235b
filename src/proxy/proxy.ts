/**
 * The data plane as one thing: keeps the bound listeners equal to the mesh's, makes a Connection of what they accept,
 * holds every live connection, and ends them when asked to.
 */
import { Connection } from './connection.ts'
import { FamilyHealth } from './endpoint-health.ts'
import { ListenerSet } from './listener-set.ts'
import { LoopGuard } from './loop-guard.ts'
import { UpstreamStates } from './upstream-state.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { Family } from '../core/family.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Listener } from '../mesh/listener.ts'
import type { Router } from '../mesh/router.ts'
import type { MeshStore } from '../mesh/store.ts'
import type { CloseReason } from './close-reason.ts'
import type { ConnectionDeps, ConnectionOptions } from './connection.ts'
import type { ConnectionObserver, ConnectionRecord } from './connection-record.ts'
import type { DescriptorBudget, DescriptorUse } from './descriptor-budget.ts'
import type { ListenerAddressStatus } from './listener-set.ts'
import type { ProxyStats } from './proxy-stats.ts'
import type { Transport, TransportSocket } from './transport.ts'

/** How often time limits of connections are checked. */
export const SWEEP_INTERVAL_MS = 1_000
/** Length of the accept queue where a listener does not say. */
export const DEFAULT_BACKLOG = 4_096

export interface ProxyDeps {
  readonly transport: Transport
  readonly store: MeshStore
  readonly router: Router
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly stats: ProxyStats
  readonly observer: ConnectionObserver
  readonly descriptors: DescriptorBudget
}

export class Proxy {
  readonly #deps: ProxyDeps
  readonly #options: ConnectionOptions
  readonly #connectionDeps: ConnectionDeps
  readonly #listeners: ListenerSet
  readonly #connections = new Set<Connection>()
  readonly #health = new FamilyHealth()
  readonly #upstreams = new UpstreamStates()
  readonly #idleWaiters = new Set<() => void>()
  #nextId = 1
  #applying: Promise<void> = Promise.resolve()
  #stopWatching: (() => void) | undefined
  #sweep: Timer | undefined

  constructor(deps: ProxyDeps, options: ConnectionOptions) {
    this.#deps = deps
    this.#options = options
    this.#listeners = new ListenerSet(
      deps,
      { families: options.families, backlog: DEFAULT_BACKLOG, keepalive: options.keepalive },
      {
        accepted: (socket, listener) => {
          this.#accept(socket, listener)
        },
        acceptFailed: (code) => {
          deps.stats.closed('connection_limit')
          deps.logger.log('error', 'a connection was lost before it was accepted', { code })
        },
      },
    )
    this.#connectionDeps = {
      ...deps,
      health: this.#health,
      upstreams: this.#upstreams,
      loops: new LoopGuard(),
      isOwnAddress: (address) => this.#listeners.isOwnAddress(address),
      ended: (connection) => {
        this.#connections.delete(connection)
        if (this.#connections.size === 0) this.#becomeIdle()
      },
    }
  }

  /** Binds the listeners of the mesh and follows their changes. Resolves when each address has been tried once. */
  async start(): Promise<void> {
    this.#stopWatching = this.#deps.store.watch((change) => {
      if (change.has('listener')) void this.#applyListeners()
      if (change.has('policy') || change.has('workload')) {
        for (const connection of [...this.#connections]) connection.checkPolicy()
      }
    })
    this.#scheduleSweep()
    await this.#applyListeners()
  }

  /** Every address that is to be bound, with what became of it. */
  get listeners(): readonly ListenerAddressStatus[] {
    return this.#listeners.statuses
  }

  /** The live connections as they are now, oldest first. */
  get connections(): readonly ConnectionRecord[] {
    return [...this.#connections].map((connection) => connection.record())
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  /** What this node remembers of endpoints' families. */
  get health(): FamilyHealth {
    return this.#health
  }

  get upstreams(): UpstreamStates {
    return this.#upstreams
  }

  get descriptorUse(): DescriptorUse {
    return this.#deps.descriptors.use(this.#connections.size)
  }

  /** Brings the byte counts of live connections into the stats; call it before they are read. */
  foldStats(): void {
    for (const connection of this.#connections) connection.foldBytes()
  }

  /** Closes the listeners for good. Live connections go on. Idempotent. */
  async stopAccepting(): Promise<void> {
    this.#stopWatching?.()
    await this.#applying
    await this.#listeners.close()
  }

  /** Resolves when no connection is left, at once if there is none. */
  whenIdle(): Promise<void> {
    if (this.#connections.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idleWaiters.add(resolve))
  }

  /** Ends every live connection for a reason. */
  closeConnections(reason: CloseReason): void {
    for (const connection of [...this.#connections]) connection.close(reason)
  }

  /** Ends everything; resolves when no socket and no timer is left. Idempotent. */
  async close(): Promise<void> {
    this.#sweep?.cancel()
    await this.stopAccepting()
    this.closeConnections('drained')
    await this.whenIdle()
  }

  #applyListeners(): Promise<void> {
    // One change after the other: an address must be free before the next owner of it binds.
    this.#applying = this.#applying.then(() => this.#listeners.apply(this.#deps.store.snapshot.listener))
    return this.#applying
  }

  #accept(socket: TransportSocket, listener: Listener): void {
    if (this.descriptorUse.isExhausted) {
      socket.reset()
      this.#deps.stats.closed('connection_limit')
      return
    }
    const accepted = { id: this.#nextId++, socket, listener }
    const connection = new Connection(this.#connectionDeps, this.#options, accepted)
    this.#connections.add(connection)
    connection.start()
  }

  #becomeIdle(): void {
    for (const resolve of this.#idleWaiters) resolve()
    this.#idleWaiters.clear()
  }

  #scheduleSweep(): void {
    this.#sweep = this.#deps.clock.setTimer(SWEEP_INTERVAL_MS, () => {
      const nowMs = this.#deps.clock.nowMs()
      for (const connection of [...this.#connections]) connection.checkTimeouts(nowMs)
      this.#scheduleSweep()
    })
  }
}

/** The families and defaults that a proxy works with where the mesh does not say. */
export const DEFAULT_CONNECTION_OPTIONS: ConnectionOptions = {
  familyPolicy: 'native-first',
  families: ['ipv4', 'ipv6'] satisfies readonly Family[],
  attemptDelayMs: 250,
  maxEndpoints: 3,
  idleTimeoutMs: 0,
  halfClosedTimeoutMs: 300_000,
  keepalive: { idleMs: 180_000, intervalMs: 180_000, probes: 9 },
}
