/**
 * Writes access log lines to files and standard streams: those of the connections of this thread, and those that
 * other threads have formatted. Lines go through bounded queues, so that a slow disk or reader never slows anybody.
 */
import { AccessLogPrinter, nameOfTarget } from './access-log-printer.ts'
import { LineWriter, openFileSink, standardSink } from './line-writer.ts'

import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { AccessLog } from '../../mesh/listener.ts'
import type { ClosedConnectionRecord, ConnectionObserver } from '../../proxy/connection-record.ts'
import type { LogLines } from '../../proxy/record-batch.ts'
import type { AccessLogOptions, LineSink } from './access-log-printer.ts'
import type { ByteSink } from './line-writer.ts'

export interface AccessLogDeps {
  readonly clock: Clock
  readonly logger: Logger
  /** Opens what lines go to; {@link openAccessLogSink} outside of tests. */
  readonly open: (target: AccessLog['target']) => Promise<ByteSink>
}

/** The access log of the process. Close it last: it writes what waits. */
export class AccessLogWriter implements ConnectionObserver, LineSink {
  readonly #deps: AccessLogDeps
  readonly #printer: AccessLogPrinter
  readonly #writers = new Map<string, LineWriter>()
  #droppedElsewhere = 0

  constructor(deps: AccessLogDeps, options: AccessLogOptions) {
    this.#deps = deps
    this.#printer = new AccessLogPrinter(deps, options)
  }

  connected(): void {
    // A connection is logged once, when it ends.
  }

  closed(record: ClosedConnectionRecord): void {
    this.#printer.print(record, this)
  }

  write(target: AccessLog['target'], name: string, line: string): void {
    this.#writerOf(target, name).write(line)
  }

  /** Takes the lines of another thread. They are written one after the other, or dropped together. */
  writeLines({ target, text, lineCount }: LogLines): void {
    this.#writerOf(target, nameOfTarget(target)).write(text, lineCount)
  }

  /** Counts lines that another thread has dropped. */
  countDropped(lines: number): void {
    this.#droppedElsewhere += lines
  }

  /** Lines that were dropped since the start. */
  get droppedLines(): number {
    return [...this.#writers.values()].reduce((sum, { dropped }) => sum + dropped, this.#droppedElsewhere)
  }

  /** Opens every file again: after a log rotation, on SIGUSR1. */
  reopen(): void {
    for (const writer of this.#writers.values()) writer.reopen()
  }

  /** Writes what waits, within a second, and closes the files. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.#writers.values()].map((writer) => writer.close()))
  }

  /** One writer per file, whoever logs to it: two would tear each other's lines. */
  #writerOf(target: AccessLog['target'], name: string): LineWriter {
    let writer = this.#writers.get(name)
    if (writer === undefined) {
      const { clock, logger, open } = this.#deps
      writer = new LineWriter({ clock, logger, open: () => open(target) }, { name: `access log ${name}` })
      this.#writers.set(name, writer)
    }
    return writer
  }
}

/** Opens a file or a standard stream for access log lines. */
export function openAccessLogSink(target: AccessLog['target']): Promise<ByteSink> {
  switch (target.kind) {
    case 'stdout':
      return Promise.resolve(standardSink(1))
    case 'stderr':
      return Promise.resolve(standardSink(2))
    case 'file':
      return openFileSink(target.path)
  }
}
