/** Which lines a closed connection gives, for which targets: the agent's own log, and those that Envoy's files ask for. */
import { compileFormat } from './access-log-format.ts'
import { OwnLineFormatter } from './own-log-line.ts'

import type { Clock } from '../../core/clock.ts'
import type { AccessLog } from '../../mesh/listener.ts'
import type { ClosedConnectionRecord } from '../../proxy/connection-record.ts'
import type { LineFormatter } from './access-log-format.ts'
import type { OwnLineFormat } from './own-log-line.ts'
import type { AccessLogTarget } from '../settings/settings.ts'

export interface AccessLogOptions {
  readonly target: AccessLogTarget
  readonly format: OwnLineFormat
}

/** Takes lines, each with its line break. */
export interface LineSink {
  /** @param name of the target: two targets of one name are the same file */
  write(target: AccessLog['target'], name: string, line: string): void
}

/** Prints lines; keeps what many lines share. */
export class AccessLogPrinter {
  readonly #clock: Clock
  readonly #ownTarget: AccessLog['target'] | undefined
  readonly #ownName: string
  readonly #ownLines: OwnLineFormatter
  readonly #formatters = new WeakMap<AccessLog, LineFormatter>()

  constructor(deps: { readonly clock: Clock }, options: AccessLogOptions) {
    this.#clock = deps.clock
    this.#ownTarget = targetOf(options.target)
    this.#ownName = this.#ownTarget === undefined ? '' : nameOfTarget(this.#ownTarget)
    this.#ownLines = new OwnLineFormatter(options.format)
  }

  /** Gives the lines of a connection to `sink`. */
  print(record: ClosedConnectionRecord, sink: LineSink): void {
    let ownLine: string | undefined
    if (this.#ownTarget !== undefined) {
      ownLine = this.#ownLines.format(record, this.#clock.wallTimeMs())
      sink.write(this.#ownTarget, this.#ownName, ownLine)
    }
    for (const log of record.accessLogs) {
      const name = nameOfTarget(log.target)
      if (log.format !== undefined) sink.write(log.target, name, this.#formatterOf(log)(record))
      else if (this.#ownTarget === undefined || name !== this.#ownName) {
        ownLine ??= this.#ownLines.format(record, this.#clock.wallTimeMs())
        sink.write(log.target, name, ownLine)
      }
    }
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

/** What tells targets apart. */
export function nameOfTarget(target: AccessLog['target']): string {
  return target.kind === 'file' ? target.path : target.kind
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
