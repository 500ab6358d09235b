/**
 * Carries out a race over real sockets: starts and aborts attempts as race.ts says, keeps the timers, and reports how
 * each attempt ended. Knows nothing of endpoints' health or of the client.
 */
import { Race } from './race.ts'
import { sourceOf } from './source-address.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { TrafficDirection } from '../mesh/listener.ts'
import type { Keepalive } from '../mesh/upstream.ts'
import type { AttemptRecord, AttemptResult } from './connection-record.ts'
import type { AttemptTarget } from './endpoint-selection.ts'
import type { LoopGuard } from './loop-guard.ts'
import type { RaceAction } from './race.ts'
import type { SourcePlan } from './source-address.ts'
import type { ConnectionEnds } from './upstream-ends.ts'
import type { ConnectAttempt, NetworkNamespace, Transport, TransportSocket } from './transport.ts'

/** What one race is about. */
export interface DialPlan {
  /** In the order in which they start; not empty. */
  readonly targets: readonly AttemptTarget[]
  readonly attemptDelayMs: number
  /** Bounds the whole race. */
  readonly connectTimeoutMs: number
  readonly source: SourcePlan
  /** Of the listener. */
  readonly direction?: TrafficDirection
  /** Marks the packets of the attempts; absent: no mark. */
  readonly packetMark?: number | undefined
  readonly keepalive: Keepalive
  /** Where the attempts are made from; absent: the agent's own network namespace. */
  readonly namespace?: NetworkNamespace | undefined
}

/** Called as the race goes on; `won` or `lost` is the last call, and neither comes after `cancel`. */
export interface DialEvents {
  attemptEnded(attempt: AttemptRecord): void
  won(target: AttemptTarget, socket: TransportSocket): void
  lost(): void
}

export interface DialDeps {
  readonly transport: Transport
  readonly clock: Clock
  /** Told of the addresses that attempts connect from. */
  readonly loops: Pick<LoopGuard, 'connecting' | 'settled' | 'abandoned'>
}

interface RunningAttempt {
  readonly target: AttemptTarget
  readonly startedAtMs: number
  connect: ConnectAttempt | undefined
  /** Where it connects from, once that is known. */
  ends: ConnectionEnds | undefined
}

const RESULT_BY_CODE: Partial<Readonly<Record<ErrorCode, AttemptResult>>> = {
  refused: 'refused',
  unreachable: 'unreachable',
  timeout: 'timeout',
  reset: 'reset',
  address_unavailable: 'source_unavailable',
  address_in_use: 'source_unavailable',
}

/** One race under way. Construct, then `begin`; events can come from within `begin` only when there is no target. */
export class Dial {
  readonly #deps: DialDeps
  readonly #plan: DialPlan
  readonly #events: DialEvents
  readonly #race: Race
  readonly #running = new Map<number, RunningAttempt>()
  #winner: TransportSocket | undefined
  #delay: Timer | undefined
  #deadline: Timer | undefined

  constructor(deps: DialDeps, plan: DialPlan, events: DialEvents) {
    this.#deps = deps
    this.#plan = plan
    this.#events = events
    this.#race = new Race(plan.targets.length)
  }

  begin(): void {
    this.#deadline = this.#deps.clock.setTimer(this.#plan.connectTimeoutMs, () => {
      this.#carryOut(this.#race.deadlinePassed())
    })
    this.#carryOut(this.#race.begin())
  }

  /** Gives every attempt up. Idempotent; does nothing after the race is over. */
  cancel(): void {
    this.#carryOut(this.#race.cancel())
    this.#deadline?.cancel()
  }

  #carryOut(actions: readonly RaceAction[]): void {
    for (const action of actions) {
      switch (action.kind) {
        case 'start':
          this.#start(action.index)
          break
        case 'abort':
          this.#abort(action.index)
          this.#attemptEnded(action.index, action.why)
          break
        case 'arm':
          this.#delay?.cancel()
          this.#delay = this.#deps.clock.setTimer(this.#plan.attemptDelayMs, () => {
            this.#carryOut(this.#race.delayPassed())
          })
          break
        case 'disarm':
          this.#delay?.cancel()
          break
        case 'won':
          this.#deadline?.cancel()
          this.#won(action.index)
          break
        case 'lost':
          this.#deadline?.cancel()
          this.#events.lost()
          break
      }
    }
  }

  #start(index: number): void {
    const target = this.#plan.targets[index]
    if (target === undefined) throw new TypeError(`the race started address ${index}, which does not exist`)
    const { source, direction, packetMark, keepalive, namespace } = this.#plan
    const { from, isTransparent } = sourceOf(source, target)
    const { clock, loops, transport } = this.#deps
    const attempt: RunningAttempt = {
      target,
      startedAtMs: clock.nowMs(),
      connect: undefined,
      ends: undefined,
    }
    this.#running.set(index, attempt)
    attempt.connect = transport.connect(
      {
        to: target.address,
        from,
        isTransparent,
        direction,
        mark: packetMark,
        keepalive,
        namespace,
      },
      {
        started: (local) => {
          attempt.ends = { from: local, to: target.address, namespaceId: namespace?.id }
          loops.connecting(attempt.ends, clock.nowMs())
        },
        connected: (socket) => {
          this.#winner = socket
          this.#carryOut(this.#race.connected(index))
        },
        failed: (code) => {
          if (attempt.ends !== undefined) loops.settled(attempt.ends)
          this.#attemptEnded(index, RESULT_BY_CODE[code] ?? 'failed')
          this.#carryOut(code === 'reset' ? this.#race.wasReset(index) : this.#race.failed(index))
        },
      },
    )
  }

  #abort(index: number): void {
    const attempt = this.#running.get(index)
    attempt?.connect?.abort()
    if (attempt?.ends === undefined) return
    // Within a pod what is marked is not captured, and nobody's other end is still to be accepted; its port may be another's.
    if (attempt.ends.namespaceId === undefined)
      this.#deps.loops.abandoned(attempt.ends, this.#deps.clock.nowMs())
    else this.#deps.loops.settled(attempt.ends)
  }

  #attemptEnded(index: number, result: AttemptResult): void {
    const running = this.#running.get(index)
    if (running === undefined) return
    this.#running.delete(index)
    this.#events.attemptEnded({
      endpoint: running.target.endpoint,
      address: running.target.address,
      result,
      durationMs: this.#deps.clock.nowMs() - running.startedAtMs,
    })
  }

  #won(index: number): void {
    const attempt = this.#running.get(index)
    const socket = this.#winner
    if (attempt === undefined || socket === undefined)
      throw new TypeError('a race was won by an attempt that never ran')
    this.#attemptEnded(index, 'connected')
    this.#events.won(attempt.target, socket)
    // Whoever relays the socket has told the guard of it by now.
    if (attempt.ends !== undefined) this.#deps.loops.settled(attempt.ends)
  }
}
