/**
 * Appends lines to a file or a standard stream without ever making the caller wait: a bounded queue, one write at a
 * time in the background, and lines that do not fit are dropped and counted.
 */
import { Buffer } from 'node:buffer'
import { open } from 'node:fs/promises'
import { write } from 'node:fs'

import { errnoOf, errorMessage } from '../../core/errors.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'

/** Something that bytes can be appended to. */
export interface ByteSink {
  /** Resolves with how many of the bytes were taken; rejects with the errno of the system. */
  write(bytes: Uint8Array): Promise<number>
  close(): Promise<void>
}

export interface LineWriterDeps {
  readonly clock: Clock
  readonly logger: Logger
  /** Opens the sink; called again after a failure and by `reopen`. */
  readonly open: () => Promise<ByteSink>
}

export interface LineWriterOptions {
  /** What messages call the sink. */
  readonly name: string
  /** Characters that may wait; default 4,194,304. */
  readonly maxChars?: number
}

/** Characters that may wait to be written before further lines are dropped. */
export const DEFAULT_MAX_CHARS = 4_194_304
const CHARS_PER_WRITE = 65_536
/** After a failure of the disk or of the path. */
const RETRY_MS = 1_000
/** After EAGAIN: a pipe is full and its reader needs a moment. */
const FULL_PIPE_RETRY_MS = 10
/** How long `close` waits for a reader that does not read. */
const CLOSE_WAIT_MS = 1_000

/** A queue of lines in front of one sink. */
export class LineWriter {
  readonly #deps: LineWriterDeps
  readonly #name: string
  readonly #maxChars: number
  #queue: string[] = []
  #queuedChars = 0
  #rest: Uint8Array | undefined
  #sink: ByteSink | undefined
  #dropped = 0
  #isBusy = false
  #isBroken = false
  #isClosed = false
  #retry: Timer | undefined
  #wantsReopen = false
  #drained: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(deps: LineWriterDeps, options: LineWriterOptions) {
    this.#deps = deps
    this.#name = options.name
    this.#maxChars = options.maxChars ?? DEFAULT_MAX_CHARS
  }

  /** Lines that were dropped since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /** Takes whole lines with their line breaks, all or none of them. Never waits and never throws. */
  write(lines: string, lineCount = 1): void {
    if (this.#isClosed || this.#queuedChars + lines.length > this.#maxChars) {
      this.#dropped += lineCount
      return
    }
    this.#queue.push(lines)
    this.#queuedChars += lines.length
    this.#wake()
  }

  /** Closes the sink and opens it again before the next line: for log rotation. */
  reopen(): void {
    this.#wantsReopen = true
    this.#wake()
  }

  /** Writes what waits, for a second at most, and closes the sink. Idempotent. */
  close(): Promise<void> {
    this.#isClosed = true
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    if (this.#isBusy || this.#queue.length > 0 || this.#rest !== undefined) {
      await new Promise<void>((resolve) => {
        const giveUp = this.#deps.clock.setTimer(CLOSE_WAIT_MS, resolve)
        this.#drained = () => {
          giveUp.cancel()
          resolve()
        }
        this.#wake()
      })
    }
    this.#retry?.cancel()
    const sink = this.#sink
    this.#sink = undefined
    await sink?.close()
  }

  #wake(): void {
    if (this.#isBusy || this.#retry !== undefined) return
    this.#isBusy = true
    void this.#work()
  }

  async #work(): Promise<void> {
    let retryMs: number | undefined
    try {
      if (this.#wantsReopen) await this.#closeForReopen()
      while (this.#rest !== undefined || this.#queue.length > 0) await this.#writeSome()
      this.#isBroken = false
    } catch (error) {
      retryMs = errnoOf(error) === 'EAGAIN' ? FULL_PIPE_RETRY_MS : RETRY_MS
      if (retryMs === RETRY_MS) await this.#fail(error)
    }
    this.#isBusy = false
    if (retryMs === undefined) this.#drained?.()
    else this.#scheduleRetry(retryMs)
  }

  async #writeSome(): Promise<void> {
    this.#sink ??= await this.#deps.open()
    // Encoded once; what a write leaves over goes first in the next one.
    this.#rest ??= Buffer.from(this.#takeText())
    const written = await this.#sink.write(this.#rest)
    this.#rest = written < this.#rest.length ? this.#rest.subarray(written) : undefined
  }

  #takeText(): string {
    let count = 0
    let chars = 0
    while (count < this.#queue.length && chars < CHARS_PER_WRITE) chars += this.#queue[count++]?.length ?? 0
    const text = this.#queue.slice(0, count).join('')
    this.#queue = this.#queue.slice(count)
    this.#queuedChars -= chars
    return text
  }

  async #closeForReopen(): Promise<void> {
    this.#wantsReopen = false
    const sink = this.#sink
    this.#sink = undefined
    await sink?.close()
  }

  async #fail(error: unknown): Promise<void> {
    // Once per outage: a full disk must not fill the other log.
    if (!this.#isBroken) {
      this.#deps.logger.log(
        'warn',
        `cannot write to ${this.#name}: ${errorMessage(error)}; lines are kept, then dropped`,
      )
    }
    this.#isBroken = true
    const sink = this.#sink
    this.#sink = undefined
    // The sink has failed already; how its end goes changes nothing.
    await sink?.close().catch(() => undefined)
  }

  #scheduleRetry(delayMs: number): void {
    this.#retry = this.#deps.clock.setTimer(delayMs, () => {
      this.#retry = undefined
      if (!this.#isBusy) this.#wake()
    })
  }
}

/** Opens a file for appending; made if it is not there. */
export async function openFileSink(path: string): Promise<ByteSink> {
  const file = await open(path, 'a', 0o644)
  return {
    write: async (bytes) => (await file.write(bytes)).bytesWritten,
    close: () => file.close(),
  }
}

/** A standard stream by its descriptor. Goes round process.stdout, which blocks on a full pipe. */
export function standardSink(descriptor: 1 | 2): ByteSink {
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        write(descriptor, bytes, (error, written) => {
          if (error === null) resolve(written)
          else reject(error)
        })
      }),
    close: () => Promise.resolve(),
  }
}
