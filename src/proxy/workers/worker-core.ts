/**
 * A worker beside its event loop: accepts on the sockets that it is handed, holds their connections, keeps the plans
 * that it is told, and tells what it learns. Everything comes in as messages and goes out as messages.
 */
import { Connections } from '../connections.ts'
import { FamilyHealth } from '../endpoint-health.ts'
import { LoopGuard } from '../loop-guard.ts'
import { OwnAddresses } from '../own-addresses.ts'
import { ProxyStats } from '../proxy-stats.ts'
import { OVERFLOW_ENTRY } from '../stats-slots.ts'
import { UpstreamEnds } from '../upstream-ends.ts'
import { UpstreamStates } from '../upstream-state.ts'
import { ConnectionCounts } from './connection-counts.ts'
import { ConnectionSlots } from './connection-slots.ts'
import { PlanCache } from './plan-cache.ts'
import { crossingFacts } from './plan-messages.ts'
import { SharedConnectionLimits } from './shared-limits.ts'
import { WorkerPods } from './worker-pods.ts'

import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { Listener, TrafficDirection } from '../../mesh/listener.ts'
import type { LiveFacts } from '../connections.ts'
import type { ConnectionObserver } from '../connection-record.ts'
import type { HealthChange } from '../endpoint-health.ts'
import type { RecordRequest } from '../record-batch.ts'
import type { ListenEvents, Transport } from '../transport.ts'
import type {
  CrossingConnection,
  CrossingSocket,
  EndpointUse,
  FromWorker,
  Told,
  ToWorker,
  WorkerInit,
} from './messages.ts'

/** An engine that accepts on listening sockets which somebody else has opened. */
export interface WorkerTransport extends Transport {
  acceptOn(
    fd: number,
    events: ListenEvents,
    options?: { readonly isShared?: boolean },
  ): { stop(how?: 'accept' | 'leave'): void }
}

export interface WorkerCoreDeps {
  readonly transport: WorkerTransport
  readonly clock: Clock
  readonly random: Random
  readonly observer: ConnectionObserver
  /** Gathers what the observer is told; takes the requests of the main thread. */
  readonly records: { receive(request: RecordRequest): void; close(): void }
  readonly post: (message: FromWorker) => void
  /** Calls back when what happens now has been seen to, before the thread waits again. */
  readonly defer: (callback: () => void) => void
  /** Ends the thread. */
  readonly stop: () => void
}

/** Live connections per message when policies are checked: the main thread turns to other things between two. */
const LIVE_PER_MESSAGE = 512

export class WorkerCore {
  /** The counters of this thread. */
  readonly stats: ProxyStats
  readonly #deps: WorkerCoreDeps
  readonly #connections: Connections
  readonly #plans: PlanCache
  readonly #health = new FamilyHealth()
  readonly #upstreams = new UpstreamStates()
  readonly #own = new OwnAddresses()
  readonly #pods: WorkerPods
  readonly #listeners = new Map<string, Listener>()
  readonly #entries = new Map<string, number>()
  readonly #acceptors = new Map<number, { readonly listener: string; readonly stop: () => void }>()
  #idleRequests: number[] = []
  #learnt: HealthChange[] = []
  #isFlushDue = false

  constructor(deps: WorkerCoreDeps, init: WorkerInit) {
    this.#deps = deps
    const { clock, random } = deps
    const { worker, shared, descriptorLimit } = init
    const counts = new ConnectionCounts(shared.counts)
    const slots = new ConnectionSlots(shared.slots)
    this.stats = new ProxyStats({
      slots: new Float64Array(shared.stats),
      entryOf: (listener) => this.#entries.get(listener) ?? OVERFLOW_ENTRY,
    })
    this.#plans = new PlanCache({
      clock,
      random,
      ask: (requests) => {
        deps.post({ kind: 'routes', requests })
      },
      flushSoon: this.#flushSoon,
    })
    this.#connections = new Connections(
      {
        ...deps,
        stats: this.stats,
        logger: {
          isEnabled: (level) => level !== 'debug',
          log: (level, message, fields) => {
            deps.post({ kind: 'log', level, message, ...(fields !== undefined && { fields }) })
          },
        },
        routes: this.#plans,
        health: this.#health,
        upstreams: this.#upstreams,
        limits: new SharedConnectionLimits(
          { slots, slotOf: (upstream) => this.#plans.slotOf(upstream) },
          { worker },
        ),
        loops: loopGuardOf(init),
        isOwnAddress: (address, pod) =>
          pod === undefined ? this.#own.has(address) : this.#pods.isOwnAddress(address, pod),
        hasRoom: () => counts.hasRoom(descriptorLimit),
        sizeChanged: (size) => {
          counts.set(worker, size)
          if (size === 0) this.#tellIdle()
        },
      },
      init.options,
      init.firstConnectionId,
    )
    this.#pods = new WorkerPods({
      acceptOn: (fd, events, options) => deps.transport.acceptOn(fd, events, options),
      accept: (socket, listener, place) => {
        this.#connections.accept(socket, listener, place)
      },
      acceptFailed: (code) => {
        this.#connections.acceptFailed(code)
      },
    })
    this.#health.watch((change) => {
      this.#learnt.push(change)
      this.#flushSoon()
    })
  }

  /** Begins to check time limits, and says that messages can come. */
  start(): void {
    this.#connections.start()
    this.#deps.post({ kind: 'started' })
  }

  /** Brings the byte counts of live connections into the counters. */
  foldStats(): void {
    this.#connections.foldBytes()
  }

  receive(message: ToWorker): void {
    switch (message.kind) {
      case 'listen':
        this.#listen(message.socket)
        break
      case 'unlisten':
        this.#unlisten(message.socket)
        break
      case 'listener':
        if (this.#listeners.has(message.listener.name))
          this.#listeners.set(message.listener.name, message.listener)
        break
      case 'pod-listeners':
        this.#pods.setListeners(message.listeners.map(({ listener }) => listener))
        for (const { listener, entry } of message.listeners) this.#entries.set(listener.name, entry)
        break
      case 'pod':
        this.#pods.update(message)
        break
      case 'pod-gone':
        this.#pods.remove(message.namespaceId)
        this.#connections.closeIn(message.namespaceId, 'pod_removed')
        this.#deps.post({ kind: 'pod-released', namespaceId: message.namespaceId })
        break
      case 'pods-unlisten':
        this.#pods.stopAccepting()
        // Routes that were asked for go first.
        this.#flush()
        this.#deps.post({ kind: 'pod-released' })
        break
      case 'plans':
        this.#plans.apply(message.update)
        break
      case 'health':
        for (const change of message.changes) this.#health.adopt(change, this.#deps.clock.nowMs())
        break
      case 'own-addresses':
        this.#own.replace(message.addresses)
        break
      case 'close':
        for (const id of message.ids) this.#connections.close(id, message.reason)
        break
      case 'close-all':
        this.#connections.closeAll(message.reason)
        break
      case 'recheck':
        this.#tellLive(message.directions)
        break
      case 'tell':
        this.#tell(message.request, message.what)
        break
      case 'records-taken':
      case 'flush-records':
        this.#deps.records.receive(message)
        break
      case 'stop':
        this.#connections.stop()
        this.#deps.records.close()
        this.#deps.stop()
        break
    }
  }

  #listen({ id, fd, listener, entry }: CrossingSocket): void {
    const { name } = listener
    this.#listeners.set(name, listener)
    this.#entries.set(name, entry)
    const acceptor = this.#deps.transport.acceptOn(fd, {
      accepted: (socket) => {
        this.#connections.accept(socket, this.#listeners.get(name) ?? listener)
      },
      acceptFailed: (code) => {
        this.#connections.acceptFailed(code)
      },
    })
    this.#acceptors.set(id, {
      listener: name,
      stop: () => {
        acceptor.stop()
      },
    })
  }

  #unlisten(id: number): void {
    const acceptor = this.#acceptors.get(id)
    if (acceptor !== undefined) {
      acceptor.stop()
      this.#acceptors.delete(id)
      const isLast = [...this.#acceptors.values()].every(({ listener }) => listener !== acceptor.listener)
      if (isLast) {
        this.#listeners.delete(acceptor.listener)
        this.#entries.delete(acceptor.listener)
      }
    }
    // Routes that were asked for go first: the main thread still knows the listener.
    this.#flush()
    this.#deps.post({ kind: 'unlistened', socket: id })
  }

  readonly #flushSoon = (): void => {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#deps.defer(() => {
      this.#flush()
    })
  }

  /** Sends what the turn has brought. */
  #flush(): void {
    this.#isFlushDue = false
    this.#plans.flush()
    if (this.#learnt.length === 0) return
    this.#deps.post({ kind: 'health', changes: this.#learnt })
    this.#learnt = []
  }

  #tellLive(directions: readonly TrafficDirection[]): void {
    const live = this.#connections.judged(directions)
    for (let start = 0; start < live.length; start += LIVE_PER_MESSAGE) {
      const connections = live.slice(start, start + LIVE_PER_MESSAGE).map(crossing)
      this.#deps.post({ kind: 'live', connections })
    }
  }

  #tell(request: number, what: Told['what']): void {
    switch (what) {
      case 'records':
        this.#answer(request, { what, records: this.#connections.records })
        break
      case 'endpoints':
        this.#answer(request, { what, endpoints: this.#endpointUses() })
        break
      case 'idle':
        this.#idleRequests.push(request)
        if (this.#connections.size === 0) this.#tellIdle()
        break
    }
  }

  #tellIdle(): void {
    for (const request of this.#idleRequests.splice(0)) this.#answer(request, { what: 'idle' })
  }

  #answer(request: number, told: Told): void {
    this.#deps.post({ kind: 'told', request, told })
  }

  #endpointUses(): readonly EndpointUse[] {
    const nowMs = this.#deps.clock.nowMs()
    return [...this.#upstreams].flatMap(([upstream, { activeByEndpoint, ejection }]) => {
      const ejected = new Set(ejection.ejectedIds(nowMs))
      return [...new Set([...activeByEndpoint.keys(), ...ejected])].map((endpointId) => ({
        upstream,
        endpointId,
        active: activeByEndpoint.get(endpointId) ?? 0,
        isEjected: ejected.has(endpointId),
      }))
    })
  }
}

function loopGuardOf({ worker, shared }: WorkerInit): LoopGuard {
  const ends = shared.upstreamEnds.map((memory) => new UpstreamEnds(memory))
  const own = ends[worker]
  if (own === undefined) throw new TypeError(`worker ${worker} has no table of upstream ends`)
  return new LoopGuard(
    own,
    ends.filter((each) => each !== own),
  )
}

function crossing({ facts, ...live }: LiveFacts): CrossingConnection {
  return { ...live, facts: crossingFacts(facts) }
}
