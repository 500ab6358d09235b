/**
 * Writes one line per closed connection: to the agent's own access log, and to the logs that Envoy's configuration
 * asks for. Lines go through bounded queues, so that a slow disk or reader never slows a connection.
 */
import { compileFormat, formatOwnLine } from './access-log-format.ts'
import { LineWriter, openFileSink, standardSink } from './line-writer.ts'

import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { AccessLog } from '../mesh/listener.ts'
import type { ClosedConnectionRecord, ConnectionObserver } from '../proxy/connection-record.ts'
import type { LineFormatter } from './access-log-format.ts'
import type { ByteSink } from './line-writer.ts'
import type { AccessLogTarget } from './settings.ts'

export interface AccessLogDeps {
  readonly clock: Clock
  readonly logger: Logger
  /** Opens what lines go to; {@link openAccessLogSink} outside of tests. */
  readonly open: (target: AccessLog['target']) => Promise<ByteSink>
}

export interface AccessLogOptions {
  readonly target: AccessLogTarget
  readonly format: 'plain' | 'json'
}

/** The access log of the process. Close it last: it writes what waits. */
export class AccessLogWriter implements ConnectionObserver {
  readonly #deps: AccessLogDeps
  readonly #format: AccessLogOptions['format']
  readonly #ownTarget: AccessLog['target'] | undefined
  readonly #writers = new Map<string, LineWriter>()
  readonly #formatters = new WeakMap<AccessLog, LineFormatter>()

  constructor(deps: AccessLogDeps, options: AccessLogOptions) {
    this.#deps = deps
    this.#format = options.format
    this.#ownTarget = targetOf(options.target)
  }

  connected(): void {
    // A connection is logged once, when it ends.
  }

  closed(record: ClosedConnectionRecord): void {
    const timeMs = this.#deps.clock.wallTimeMs()
    const ownLine = (): string => formatOwnLine(record, { format: this.#format, timeMs })
    if (this.#ownTarget !== undefined) this.#writerOf(this.#ownTarget).write(ownLine())
    for (const log of record.accessLogs) {
      if (log.format !== undefined) this.#writerOf(log.target).write(this.#formatterOf(log)(record))
      else if (!this.#isOwn(log.target)) this.#writerOf(log.target).write(ownLine())
    }
  }

  /** Lines that were dropped since the start. */
  get droppedLines(): number {
    return [...this.#writers.values()].reduce((sum, { dropped }) => sum + dropped, 0)
  }

  /** Opens every file again: after a log rotation, on SIGUSR1. */
  reopen(): void {
    for (const writer of this.#writers.values()) writer.reopen()
  }

  /** Writes what waits, within a second, and closes the files. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.#writers.values()].map((writer) => writer.close()))
  }

  #isOwn(target: AccessLog['target']): boolean {
    return this.#ownTarget !== undefined && nameOf(target) === nameOf(this.#ownTarget)
  }

  /** One writer per file, whoever logs to it: two would tear each other's lines. */
  #writerOf(target: AccessLog['target']): LineWriter {
    const name = nameOf(target)
    let writer = this.#writers.get(name)
    if (writer === undefined) {
      const { clock, logger, open } = this.#deps
      writer = new LineWriter({ clock, logger, open: () => open(target) }, { name: `access log ${name}` })
      this.#writers.set(name, writer)
    }
    return writer
  }

  #formatterOf(log: AccessLog): LineFormatter {
    let formatter = this.#formatters.get(log)
    if (formatter === undefined) {
      formatter = compileFormat(log.format ?? { kind: 'text', template: '' })
      this.#formatters.set(log, formatter)
    }
    return formatter
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

function targetOf(target: AccessLogTarget): AccessLog['target'] | undefined {
  switch (target.kind) {
    case 'off':
      return undefined
    case 'stdout':
      return { kind: 'stdout' }
    case 'file':
      return { kind: 'file', path: target.path }
  }
}

function nameOf(target: AccessLog['target']): string {
  return target.kind === 'file' ? target.path : target.kind
}
