/**
 * The agent's own log: pino for JSON, tab-separated lines like ztunnel's for people. It goes to stderr, because stdout
 * belongs to access logs and to what commands print. The level can be changed while the agent runs.
 */
import { pino } from 'pino'

import type { Logger as PinoLogger } from 'pino'
import type { LogFields, Logger, LogLevel } from '../core/logger.ts'

export interface LoggingDeps {
  /** Takes whole lines. */
  readonly destination: { write(line: string): unknown }
  readonly wallTimeMs: () => number
}

export interface LoggingOptions {
  readonly level: LogLevel
  readonly format: 'plain' | 'json'
}

/** Every level, loudest first. */
export const LOG_LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

/** A {@link Logger} with a level that can be changed. */
export class AgentLogger implements Logger {
  readonly #deps: LoggingDeps
  readonly #json: PinoLogger | undefined
  #level: LogLevel

  constructor(deps: LoggingDeps, options: LoggingOptions) {
    this.#deps = deps
    this.#level = options.level
    this.#json = options.format === 'json' ? jsonLogger(deps) : undefined
  }

  get level(): LogLevel {
    return this.#level
  }

  setLevel(level: LogLevel): void {
    this.#level = level
  }

  isEnabled(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) <= LOG_LEVELS.indexOf(this.#level)
  }

  log(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!this.isEnabled(level)) return
    if (this.#json !== undefined) this.#json[level](fields, message)
    else this.#deps.destination.write(plainLine(this.#deps.wallTimeMs(), level, message, fields))
  }
}

/** Where the log of a running agent goes. Synchronous, so that the last words of a process are not lost. */
export function stderrDestination(): LoggingDeps['destination'] {
  return pino.destination({ dest: 2, sync: true })
}

function plainLine(timeMs: number, level: LogLevel, message: string, fields: LogFields): string {
  // A message may hold text from outside; one message is one line.
  const head = `${new Date(timeMs).toISOString()}\t${level}\t${message.replaceAll('\n', '\\n')}`
  const tail = formatFields(fields)
  return tail === '' ? `${head}\n` : `${head}\t${tail}\n`
}

/** `key=value` pairs as ztunnel writes them: text quoted, numbers not; what is undefined is left out. */
function formatFields(fields: LogFields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${formatValue(value)}`)
    .join(' ')
}

function formatValue(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message)
  try {
    return JSON.stringify(value)
  } catch {
    // A bigint or a value that contains itself: a log line must not end the program.
    return JSON.stringify(String(value))
  }
}

function jsonLogger({ destination, wallTimeMs }: LoggingDeps): PinoLogger {
  return pino(
    {
      // What is written is decided by AgentLogger.
      level: 'debug',
      base: null,
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date(wallTimeMs()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => void destination.write(line) },
  )
}
