/**
 * The main thread's end of all RecordBatchers: hands what they send to the workload metrics and to the access log, and
 * has every thread bring its numbers up to date before a scrape.
 */
import { PendingAnswers } from '../../core/pending-answers.ts'

import type { Clock } from '../../core/clock.ts'
import type { CloseReason } from '../../proxy/close-reason.ts'
import type { LogLines, RecordMessage, RecordRequest } from '../../proxy/record-batch.ts'
import type { WorkloadMetrics } from '../metrics/workload-metrics.ts'

export interface RecordCollectorDeps {
  readonly clock: Clock
  readonly workloads: WorkloadMetrics
  readonly log: {
    /** Takes whole lines for one target. */
    writeLines(lines: LogLines): void
    /** Counts lines that were dropped before they got here. */
    countDropped(lines: number): void
  }
}

export interface RecordCollectorOptions {
  /** How long a scrape waits for a thread; default 250. */
  readonly deadlineMs?: number
}

const DEFAULT_DEADLINE_MS = 250

export class RecordCollector {
  readonly #deps: RecordCollectorDeps
  readonly #deadlineMs: number
  readonly #threads = new Map<string, (request: RecordRequest) => void>()
  readonly #rounds = new Map<number, PendingAnswers<string>>()
  #lastRound = 0

  constructor(deps: RecordCollectorDeps, options: RecordCollectorOptions = {}) {
    this.#deps = deps
    this.#deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS
  }

  /** A thread has begun; `send` reaches its RecordBatcher. */
  add(thread: string, send: (request: RecordRequest) => void): void {
    this.#threads.set(thread, send)
  }

  /** A thread has ended. The connections that it still had count as closed for `reason`. */
  remove(thread: string, reason: CloseReason): void {
    if (!this.#threads.delete(thread)) return
    this.#deps.workloads.threadGone(thread, reason)
    for (const pending of this.#rounds.values()) pending.settle(thread)
  }

  /** Takes a message of a thread. What still comes from a thread that was removed is left out. */
  receive(thread: string, message: RecordMessage): void {
    const send = this.#threads.get(thread)
    if (send === undefined) return
    switch (message.kind) {
      case 'records':
        if (message.traffic !== undefined) this.#deps.workloads.merge(thread, message.traffic)
        for (const lines of message.lines) this.#deps.log.writeLines(lines)
        this.#deps.log.countDropped(message.droppedLines)
        send({ kind: 'records-taken' })
        break
      case 'records-flushed':
        this.#rounds.get(message.request)?.settle(thread)
        break
    }
  }

  /** Resolves when every thread has sent what it has, or the deadline has passed: a hung thread delays, no more. */
  async refresh(): Promise<void> {
    const id = ++this.#lastRound
    const pending = new PendingAnswers(this.#deps.clock, this.#threads.keys(), this.#deadlineMs)
    this.#rounds.set(id, pending)
    for (const send of [...this.#threads.values()]) send({ kind: 'flush-records', request: id })
    await pending.done
    this.#rounds.delete(id)
    this.#deps.workloads.forgetGone()
  }
}
