/**
 * Keeps the worker threads running: starts them, starts anew what dies, carries messages, and collects answers of all
 * of them. Knows nothing of what the messages are about.
 */
import { Backoff } from '../../core/backoff.ts'
import { errorMessage } from '../../core/errors.ts'
import { PendingAnswers } from '../../core/pending-answers.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { FromWorker, Told, ToWorker } from './messages.ts'

/** How long until a worker that died is started again. */
export const RESTART_BACKOFF = { initialMs: 50, maxMs: 10_000 } as const
/** A worker that has lived so long is started again at once should it die. */
const STABLE_AFTER_MS = 60_000
/** How long all workers together have for an answer: a hung one is left out. */
export const ANSWER_DEADLINE_MS = 1_000
/** How long a worker has to end when it is asked to. */
const STOP_DEADLINE_MS = 2_000

/** A running thread. */
export interface WorkerThread {
  /** Sends a message and wakes the thread. Does nothing when it has ended. */
  post(message: ToWorker): void
  /** Ends it at once, whatever it does; `exited` follows. */
  terminate(): void
}

export interface WorkerThreadEvents {
  received(message: FromWorker): void
  /** The thread runs no more; nothing is received after that. `reason` is what it threw, if it did. */
  exited(reason: unknown): void
}

/** Starts the thread of a worker. It throws where the kernel gives no thread or no descriptor. */
export type SpawnWorker = (worker: number, events: WorkerThreadEvents) => WorkerThread

export interface WorkerPoolEvents {
  /** A worker takes messages. It knows nothing, whether it is the first or in the place of one that died. */
  started(worker: number): void
  received(worker: number, message: FromWorker): void
  /** A worker has died; what it had is to be cleared away. It is started again unless the pool is closing. */
  died(worker: number): void
}

export interface WorkerPoolDeps {
  readonly spawn: SpawnWorker
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

interface Member {
  thread: WorkerThread | undefined
  isStarted: boolean
  /** Called when it has started for the first time, or could not. */
  begun: () => void
  startedAtMs: number
  readonly backoff: Backoff
  restart: Timer | undefined
}

interface Round {
  readonly pending: PendingAnswers<number>
  readonly answers: Told[]
}

export class WorkerPool {
  readonly #deps: WorkerPoolDeps
  readonly #events: WorkerPoolEvents
  readonly #members: readonly Member[]
  readonly #rounds = new Map<number, Round>()
  readonly #exits = new Set<() => void>()
  #lastRound = 0
  #restarts = 0
  #isClosing = false

  /** @param options.workers 1 or more */
  constructor(deps: WorkerPoolDeps, options: { readonly workers: number }, events: WorkerPoolEvents) {
    this.#deps = deps
    this.#events = events
    this.#members = Array.from({ length: options.workers }, () => ({
      thread: undefined,
      isStarted: false,
      begun: () => undefined,
      startedAtMs: 0,
      backoff: new Backoff(deps, RESTART_BACKOFF),
      restart: undefined,
    }))
  }

  /** How many workers have died and been started again. */
  get restarts(): number {
    return this.#restarts
  }

  /** Starts every thread. Resolves when each takes messages, or has died once. */
  async start(): Promise<void> {
    const begun = this.#members.map(
      (member) =>
        new Promise<void>((resolve) => {
          member.begun = resolve
        }),
    )
    for (const worker of this.#members.keys()) this.#start(worker)
    await Promise.all(begun)
  }

  /** Sends to one worker, if it has started. */
  post(worker: number, message: ToWorker): void {
    const member = this.#members[worker]
    if (member?.isStarted === true) member.thread?.post(message)
  }

  /** Sends to every worker that has started, but not to `except`. */
  broadcast(message: ToWorker, except?: number): void {
    for (const worker of this.#members.keys()) if (worker !== except) this.post(worker, message)
  }

  /** The workers that have started and live. */
  get live(): readonly number[] {
    return [...this.#members.keys()].filter((worker) => this.#members[worker]?.isStarted === true)
  }

  /**
   * Asks every worker; resolves with the answers of those that answer within the deadline. One that dies meanwhile is
   * left out. Without a deadline for `idle`, which takes as long as it takes.
   */
  async ask<What extends Told['what']>(what: What): Promise<readonly Extract<Told, { what: What }>[]> {
    const { clock, logger } = this.#deps
    const id = ++this.#lastRound
    const answers: Told[] = []
    const pending = new PendingAnswers(clock, this.live, what === 'idle' ? undefined : ANSWER_DEADLINE_MS)
    this.#rounds.set(id, { pending, answers })
    this.broadcast({ kind: 'tell', request: id, what })
    const isComplete = await pending.done
    this.#rounds.delete(id)
    if (!isComplete) logger.log('warn', 'a worker does not answer', { what })
    return answers.filter((told) => isOf(told, what))
  }

  /** Ends every thread and starts none again. Resolves when none runs. Idempotent. */
  async close(): Promise<void> {
    this.#isClosing = true
    for (const member of this.#members) member.restart?.cancel()
    const running = this.#members.flatMap(({ thread }) => thread ?? [])
    if (running.length === 0) return
    const ended = new Promise<void>((resolve) => this.#exits.add(resolve))
    const deadline = this.#deps.clock.setTimer(STOP_DEADLINE_MS, () => {
      for (const { thread } of this.#members) thread?.terminate()
    })
    for (const thread of running) thread.post({ kind: 'stop' })
    await ended
    deadline.cancel()
  }

  #start(worker: number): void {
    const member = this.#members[worker]
    if (member === undefined || this.#isClosing) return
    member.startedAtMs = this.#deps.clock.nowMs()
    try {
      member.thread = this.#deps.spawn(worker, {
        received: (message) => {
          this.#received(worker, member, message)
        },
        exited: (reason) => {
          this.#exited(worker, member, reason)
        },
      })
    } catch (error) {
      // No descriptor or no thread is left for it (EMFILE, EAGAIN): that passes, as the others show that go on.
      this.#exited(worker, member, error)
    }
  }

  #received(worker: number, member: Member, message: FromWorker): void {
    if (message.kind === 'started') {
      member.isStarted = true
      this.#events.started(worker)
      member.begun()
    } else if (message.kind === 'told') {
      const round = this.#rounds.get(message.request)
      if (round?.pending.settle(worker) === true) round.answers.push(message.told)
    } else {
      this.#events.received(worker, message)
    }
  }

  #exited(worker: number, member: Member, reason: unknown): void {
    const { clock, logger } = this.#deps
    member.thread = undefined
    member.isStarted = false
    member.begun()
    for (const { pending } of this.#rounds.values()) pending.settle(worker)
    this.#events.died(worker)
    if (this.#isClosing) {
      if (this.#members.every(({ thread }) => thread === undefined))
        for (const resolve of [...this.#exits]) resolve()
      return
    }
    if (clock.nowMs() - member.startedAtMs >= STABLE_AFTER_MS) member.backoff.reset()
    const delayMs = member.backoff.nextDelayMs()
    logger.log('error', `worker ${worker} died and is started again`, {
      reason: reason === undefined ? 'it ended by itself' : errorMessage(reason),
      ...(reason instanceof Error && { stack: reason.stack }),
      delay_ms: Math.round(delayMs),
    })
    this.#restarts++
    member.restart = clock.setTimer(delayMs, () => {
      this.#start(worker)
    })
  }
}

function isOf<What extends Told['what']>(told: Told, what: What): told is Extract<Told, { what: What }> {
  return told.what === what
}
