/**
 * The live connections of one thread: makes a Connection of each socket that was accepted, checks their time limits,
 * and ends them when asked to. What they share with those of other threads comes as collaborators.
 */
import { Connection } from './connection.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Listener, TrafficDirection } from '../mesh/listener.ts'
import type { ReachedEndpoint, RouteFacts } from '../mesh/router.ts'
import type { CloseReason } from './close-reason.ts'
import type { ConnectionDeps } from './connection.ts'
import type { ConnectionOptions } from './connection-options.ts'
import type { ConnectionRecord } from './connection-record.ts'
import type { PodPlace } from './pods/pod-place.ts'
import type { TransportSocket } from './transport.ts'

/** How often time limits of connections are checked. */
export const SWEEP_INTERVAL_MS = 1_000

export interface ConnectionsDeps extends Omit<ConnectionDeps, 'ended'> {
  readonly clock: Clock
  readonly logger: Logger
  /** False: there are no descriptors for one more connection. */
  readonly hasRoom: () => boolean
  /** Told of each connection that begins or ends, after `size` has changed. */
  readonly sizeChanged?: (size: number) => void
}

/** A live connection by what policies are asked about, see {@link Router.isStillAllowed}. */
export interface LiveFacts {
  readonly id: number
  readonly facts: RouteFacts
  /** Empty for an inbound connection. */
  readonly reached: readonly ReachedEndpoint[]
}

export class Connections {
  readonly #deps: ConnectionsDeps
  readonly #options: ConnectionOptions
  readonly #connectionDeps: ConnectionDeps
  readonly #live = new Map<number, Connection>()
  readonly #idleWaiters = new Set<() => void>()
  #nextId: number
  #sweep: Timer | undefined

  /** @param firstId the id of the first connection; the others count up from it */
  constructor(deps: ConnectionsDeps, options: ConnectionOptions, firstId = 1) {
    this.#deps = deps
    this.#options = options
    this.#nextId = firstId
    this.#connectionDeps = {
      ...deps,
      ended: ({ id }) => {
        this.#live.delete(id)
        deps.sizeChanged?.(this.#live.size)
        if (this.#live.size === 0) this.#becomeIdle()
      },
    }
  }

  /** Begins to check time limits. */
  start(): void {
    this.#sweep = this.#deps.clock.setTimer(SWEEP_INTERVAL_MS, () => {
      const nowMs = this.#deps.clock.nowMs()
      for (const connection of [...this.#live.values()]) connection.checkTimeouts(nowMs)
      this.start()
    })
  }

  /** Stops the timer. Live connections go on. Idempotent. */
  stop(): void {
    this.#sweep?.cancel()
  }

  /** Takes over a socket that was accepted, in a pod if there is a place. */
  accept(socket: TransportSocket, listener: Listener, place?: PodPlace): void {
    if (!this.#deps.hasRoom()) {
      socket.reset()
      this.#deps.stats.closed('connection_limit')
      return
    }
    const connection = new Connection(this.#connectionDeps, this.#options, {
      id: this.#nextId++,
      socket,
      listener,
      place,
    })
    this.#live.set(connection.id, connection)
    this.#deps.sizeChanged?.(this.#live.size)
    connection.start()
  }

  /** Counts a connection that was lost between the kernel's queue and the process. */
  acceptFailed(code: ErrorCode): void {
    this.#deps.stats.closed('connection_limit')
    this.#deps.logger.log('error', 'a connection was lost before it was accepted', { code })
  }

  get size(): number {
    return this.#live.size
  }

  /** The live connections as they are now, oldest first. */
  get records(): readonly ConnectionRecord[] {
    return Array.from(this.#live.values(), (connection) => connection.record())
  }

  /**
   * What policies have to be asked about after a change: not what still waits for its route, which is decided by the
   * mesh as it is then. Its pod may be unknown until that comes, and nothing is allowed into an unknown pod.
   */
  judged(directions: readonly TrafficDirection[]): readonly LiveFacts[] {
    return [...this.#live.values()]
      .filter(({ isRouted, facts }) => isRouted && directions.includes(facts.listener.direction))
      .map(({ id, facts, reached }) => ({
        id,
        facts,
        reached: facts.listener.direction === 'inbound' ? [] : reached,
      }))
  }

  /** Brings the byte counts of live connections into the stats; call it before they are read. */
  foldBytes(): void {
    for (const connection of this.#live.values()) connection.foldBytes()
  }

  /** Ends one connection for a reason, if it still lives. */
  close(id: number, reason: CloseReason): void {
    this.#live.get(id)?.close(reason)
  }

  /** Ends every live connection that was accepted in a network namespace, see NetworkNamespace. */
  closeIn(namespaceId: number, reason: CloseReason): void {
    for (const connection of [...this.#live.values()])
      if (connection.namespaceId === namespaceId) connection.close(reason)
  }

  /** Ends every live connection for a reason. */
  closeAll(reason: CloseReason): void {
    for (const connection of [...this.#live.values()]) connection.close(reason)
  }

  /** Resolves when no connection is left, at once if there is none. */
  whenIdle(): Promise<void> {
    if (this.#live.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idleWaiters.add(resolve))
  }

  #becomeIdle(): void {
    for (const resolve of this.#idleWaiters) resolve()
    this.#idleWaiters.clear()
  }
}
