/**
 * A proxy whose connections live in worker threads. This side has the mesh, the router and the listening sockets: one
 * socket per worker and address, so that the kernel spreads connections and keeps them while a worker is replaced.
 */
import { withoutFilterChains } from '../../mesh/listener.ts'
import { FamilyHealth } from '../endpoint-health.ts'
import { ListenerSet } from '../listener-set.ts'
import { OwnAddresses } from '../own-addresses.ts'
import { PodSet } from '../pods/pod-set.ts'
import { UpstreamEnds } from '../upstream-ends.ts'
import { ConnectionCounts } from './connection-counts.ts'
import { ConnectionSlots, SlotDirectory } from './connection-slots.ts'
import { readingsOf } from './endpoint-readings.ts'
import { PlanDirectory } from './plan-directory.ts'
import { SharedSockets } from './shared-sockets.ts'
import { WorkerPool } from './worker-pool.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Family } from '../../core/family.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { RouteFacts, Router } from '../../mesh/router.ts'
import type { MeshChange, MeshStore } from '../../mesh/store.ts'
import type { CloseReason } from '../close-reason.ts'
import type { ConnectionOptions } from '../connection-options.ts'
import type { ConnectionRecord } from '../connection-record.ts'
import type { DescriptorBudget, DescriptorUse } from '../descriptor-budget.ts'
import type { HealthChange } from '../endpoint-health.ts'
import type { ListenerAddressStatus } from '../listener-set.ts'
import type { PodSetOptions } from '../pods/pod-set.ts'
import type { PodSocketOpener } from '../pods/pod-sockets.ts'
import type { EndpointReadings, Proxy } from '../proxy.ts'
import type { ProxyTotals } from '../proxy-totals.ts'
import type { RecordMessage, RecordRequest } from '../record-batch.ts'
import type { Discovery } from '../route-source.ts'
import type { CrossingConnection, FromWorker, WorkerInit } from './messages.ts'
import type { CrossingFacts } from './plan-messages.ts'
import type { OpenSockets } from './shared-sockets.ts'
import type { WorkerThread, WorkerThreadEvents } from './worker-pool.ts'

/** How often the workers are told how many descriptors there are beside connections. */
const BUDGET_INTERVAL_MS = 1_000
/** Ids of connections of one life of a worker; far more than it can have, and 2 ** 21 lives fit in a number. */
const IDS_PER_LIFE = 2 ** 32

/** What the platform does for the pool. */
export interface WorkerPlatform {
  spawn(init: WorkerInit, events: WorkerThreadEvents): WorkerThread
  readonly sockets: OpenSockets
  /** Opens sockets in the network namespaces of pods; absent where pods are not captured there. */
  readonly podSockets?: PodSocketOpener
  /** Resets and closes every descriptor that a dead worker has left, and says how many. */
  reclaim(worker: number): number
}

/** Takes what threads tell of their connections, beside the counters. */
export interface ThreadRecords {
  add(thread: string, send: (request: RecordRequest) => void): void
  receive(thread: string, message: RecordMessage): void
  /** The thread has ended; the connections that it still had ended for `reason`. */
  remove(thread: string, reason: CloseReason): void
}

export interface PooledProxyDeps {
  readonly platform: WorkerPlatform
  readonly store: MeshStore
  readonly router: Router
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly totals: ProxyTotals
  readonly records: ThreadRecords
  readonly descriptors: DescriptorBudget
  readonly discovery?: Discovery
}

export interface PooledProxyOptions {
  readonly workers: number
  /** What pods listen on where the platform opens their sockets. */
  readonly pods?: Pick<PodSetOptions, 'listeners' | 'reusePort'>
  readonly connections: ConnectionOptions
}

export class PooledProxy implements Proxy {
  readonly #deps: PooledProxyDeps
  readonly #options: PooledProxyOptions
  readonly #pool: WorkerPool
  readonly #sockets: SharedSockets
  readonly #listeners: ListenerSet
  readonly pods: PodSet | undefined
  readonly #directory: PlanDirectory
  readonly #health = new FamilyHealth()
  readonly #own = new OwnAddresses()
  readonly #ends: readonly UpstreamEnds[]
  readonly #slots: ConnectionSlots
  readonly #counts: ConnectionCounts
  /** The counters of the worker that lives now, by worker. */
  readonly #stats = new Map<number, Float64Array>()
  #lives = 0
  #mustRecheck = false
  #stopWatching: (() => void) | undefined
  #budget: Timer | undefined

  constructor(deps: PooledProxyDeps, options: PooledProxyOptions) {
    this.#deps = deps
    this.#options = options
    const { workers, connections } = options
    const { families, keepalive } = connections
    this.#ends = Array.from({ length: workers }, () => UpstreamEnds.allocate(deps.descriptors.limit))
    this.#slots = ConnectionSlots.allocate(workers)
    this.#counts = ConnectionCounts.allocate(workers)
    this.#pool = new WorkerPool(
      { ...deps, spawn: (worker, events) => deps.platform.spawn(this.#initOf(worker), events) },
      { workers },
      {
        started: (worker) => {
          this.#tellEverything(worker)
        },
        received: (worker, message) => {
          this.#received(worker, message)
        },
        died: (worker) => {
          this.#clearAfter(worker)
        },
      },
    )
    this.#sockets = new SharedSockets(
      {
        clock: deps.clock,
        sockets: deps.platform.sockets,
        entryOf: deps.totals.listeners.entryOf,
        live: () => this.#pool.live,
        post: (worker, message) => {
          this.#pool.post(worker, message)
        },
      },
      { workers },
    )
    this.#listeners = new ListenerSet(
      {
        ...deps,
        ledger: deps.totals.listeners,
        listen: (listener, address, listenOptions) => this.#sockets.listen(listener, address, listenOptions),
        boundChanged: (bound) => {
          this.#own.replace(bound)
          this.#pool.broadcast({ kind: 'own-addresses', addresses: bound })
        },
      },
      { families, keepalive },
    )
    this.#directory = new PlanDirectory({
      ...deps,
      factsOf: (facts) => this.#factsOf(facts),
      slots: new SlotDirectory(this.#slots),
      send: (worker, update) => {
        this.#pool.post(worker, { kind: 'plans', update })
      },
    })
    this.pods = this.#createPods()
  }

  async start(): Promise<void> {
    this.#stopWatching = this.#deps.store.watch((change) => {
      this.#meshChanged(change)
    })
    this.#shareBudget()
    await Promise.all([this.#pool.start(), this.#listeners.apply()])
  }

  get listeners(): readonly ListenerAddressStatus[] {
    return this.#listeners.statuses
  }

  get connectionCount(): number {
    return this.#counts.total
  }

  get descriptorUse(): DescriptorUse {
    return this.#deps.descriptors.use(() => this.connectionCount)
  }

  /** How many workers have died and been started again. */
  get workerRestarts(): number {
    return this.#pool.restarts
  }

  unhealthyEndpoints(): Readonly<Record<Family, number>> {
    return this.#health.unhealthyCount(this.#deps.clock.nowMs())
  }

  async connections(): Promise<readonly ConnectionRecord[]> {
    const told = await this.#pool.ask('records')
    return told.flatMap(({ records }) => records).sort((a, b) => a.openedAtMs - b.openedAtMs)
  }

  async endpoints(): Promise<EndpointReadings> {
    const told = await this.#pool.ask('endpoints')
    const uses = told.flatMap(({ endpoints }) => endpoints)
    return readingsOf(uses, this.#health, this.#deps.clock.nowMs())
  }

  async stopAccepting(): Promise<void> {
    await Promise.all([this.#listeners.close(), this.pods?.stopAccepting()])
  }

  async whenIdle(): Promise<void> {
    // A worker that is idle says so at once; another round sees what has come meanwhile.
    while (this.connectionCount > 0) await this.#pool.ask('idle')
  }

  closeConnections(reason: CloseReason): void {
    this.#pool.broadcast({ kind: 'close-all', reason })
  }

  async close(): Promise<void> {
    await this.stopAccepting()
    this.closeConnections('drained')
    await this.whenIdle()
    await this.pods?.close()
    // Until here a changed policy is one that connections are asked about.
    this.#stopWatching?.()
    this.#budget?.cancel()
    this.#directory.close()
    await this.#pool.close()
  }

  #createPods(): PodSet | undefined {
    const { platform, totals } = this.#deps
    const { pods, connections } = this.#options
    if (platform.podSockets === undefined || pods === undefined) return undefined
    const { families, keepalive } = connections
    return new PodSet(
      {
        ...this.#deps,
        opener: platform.podSockets,
        live: () => this.#pool.live,
        post: (worker, message) => {
          this.#pool.post(worker, message)
        },
        entryOf: totals.listeners.entryOf,
        forget: (uid) => {
          this.#directory.forgetPod(uid)
        },
      },
      { ...pods, families, keepalive },
    )
  }

  #initOf(worker: number): WorkerInit {
    const { totals, descriptors } = this.#deps
    const { workers, connections } = this.#options
    const stats = totals.open(threadName(worker))
    this.#stats.set(worker, stats)
    const { buffer } = stats
    if (!(buffer instanceof SharedArrayBuffer)) throw new TypeError('counters are in shared memory')
    return {
      worker,
      workers,
      firstConnectionId: 1 + this.#lives++ * IDS_PER_LIFE,
      options: connections,
      descriptorLimit: descriptors.limit,
      shared: {
        stats: buffer,
        upstreamEnds: this.#ends.map(({ shared }) => shared),
        slots: this.#slots.shared,
        counts: this.#counts.shared,
      },
    }
  }

  #tellEverything(worker: number): void {
    const changes = this.#health.failures(this.#deps.clock.nowMs())
    // It has what it needs for itself, which is not for connections any more.
    this.#sampleBudget()
    this.#pool.post(worker, { kind: 'own-addresses', addresses: this.#own.all })
    if (changes.length > 0) this.#pool.post(worker, { kind: 'health', changes })
    this.#sockets.workerStarted(worker)
    this.pods?.workerStarted(worker)
    this.#deps.records.add(threadName(worker), (request) => {
      this.#pool.post(worker, request)
    })
  }

  /** A dead worker's part of everything that is shared goes; its connections count as ended by a defect. */
  #clearAfter(worker: number): void {
    const { totals, platform, records, logger } = this.#deps
    const descriptors = platform.reclaim(worker)
    this.#ends[worker]?.clear()
    this.#slots.clear(worker)
    this.#counts.set(worker, 0)
    this.#directory.forgetWorker(worker)
    this.#sockets.workerDied(worker)
    this.pods?.workerDied(worker)
    records.remove(threadName(worker), 'internal')
    const stats = this.#stats.get(worker)
    this.#stats.delete(worker)
    const connections = stats === undefined ? 0 : totals.retire(stats, 'internal')
    if (connections > 0)
      logger.log('error', `worker ${worker} took its connections with it`, { connections, descriptors })
  }

  #received(worker: number, message: FromWorker): void {
    switch (message.kind) {
      case 'routes':
        this.#directory.ask(worker, message.requests)
        break
      case 'health':
        this.#learnt(worker, message.changes)
        break
      case 'live':
        this.#checkPolicies(worker, message.connections)
        break
      case 'unlistened':
        this.#sockets.unlistened(worker, message.socket)
        break
      case 'pod-released':
        this.pods?.released(worker, message.namespaceId)
        break
      case 'records':
      case 'records-flushed':
        this.#deps.records.receive(threadName(worker), message)
        break
      case 'log':
        this.#deps.logger.log(message.level, message.message, { worker, ...message.fields })
        break
      case 'started':
      case 'told':
        break
    }
  }

  /** What one connection found out spares those of the other workers the wait (rule 7). */
  #learnt(worker: number, changes: readonly HealthChange[]): void {
    const nowMs = this.#deps.clock.nowMs()
    for (const change of changes) this.#health.adopt(change, nowMs)
    this.#pool.broadcast({ kind: 'health', changes }, worker)
  }

  #meshChanged(change: MeshChange): void {
    const { snapshot } = this.#deps.store
    for (const name of change.get('listener') ?? []) {
      const listener = snapshot.listener.get(name)
      if (listener !== undefined)
        this.#pool.broadcast({ kind: 'listener', listener: withoutFilterChains(listener) })
    }
    if (change.has('listener')) void this.#listeners.apply()
    if (change.has('policy') || change.has('workload')) this.#mustRecheck = true
    this.#directory.meshChanged(() => {
      if (!this.#mustRecheck) return
      this.#mustRecheck = false
      // Every plan that denies something now is on its way before this, so nothing slips in behind the check.
      const directions = this.#deps.router.judgedDirections
      if (directions.length > 0) this.#pool.broadcast({ kind: 'recheck', directions })
    })
  }

  /** Ends what a changed policy no longer allows (rule 12). */
  #checkPolicies(worker: number, connections: readonly CrossingConnection[]): void {
    const denied = connections.filter((each) => !this.#isStillAllowed(each)).map(({ id }) => id)
    if (denied.length > 0) this.#pool.post(worker, { kind: 'close', ids: denied, reason: 'policy_changed' })
  }

  #isStillAllowed({ facts: crossing, reached }: CrossingConnection): boolean {
    const facts = this.#factsOf(crossing)
    // Connections outlive their listener, and no policy can be asked about them without it.
    return facts === undefined || this.#deps.router.isStillAllowed(facts, reached)
  }

  #factsOf({ listener: name, client, destination, pod: uid }: CrossingFacts): RouteFacts | undefined {
    const listener = this.#listenerOf(name)
    const pod = uid === undefined ? undefined : this.pods?.find(uid)
    if (listener === undefined || (uid !== undefined && pod === undefined)) return undefined
    return { listener, client, destination, pod }
  }

  #listenerOf(name: string): Listener | undefined {
    return this.#deps.store.snapshot.listener.get(name) ?? this.#sockets.listenerOf(name)
  }

  #sampleBudget(): void {
    this.#counts.setOthers(this.#deps.descriptors.sample(() => this.connectionCount))
  }

  #shareBudget(): void {
    this.#sampleBudget()
    this.#budget = this.#deps.clock.setTimer(BUDGET_INTERVAL_MS, () => {
      this.#shareBudget()
    })
  }
}

function threadName(worker: number): string {
  return `worker-${worker}`
}
