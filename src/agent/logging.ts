/** The agent's own log on pino, to stderr: stdout belongs to access logs and to what a command prints. */
import { pino } from 'pino'

import type { DestinationStream, LevelWithSilent } from 'pino'
import type { LogFields, Logger, LogLevel } from '../core/logger.ts'

/** A logger whose level can be changed while it is used. */
export interface AgentLogger extends Logger {
  level: LogLevel
}

export interface LoggingOptions {
  readonly level: LogLevel
  /** `plain`: time, level, message and fields in one readable line. `json`: one object per line. */
  readonly format: 'plain' | 'json'
}

/** Builds the logger. Lines are written at once, so that none is lost when the process ends. */
export function createLogger(
  options: LoggingOptions,
  destination: DestinationStream = pino.destination({ fd: 2, sync: true }),
): AgentLogger {
  const stream = options.format === 'json' ? destination : plainLines(destination)
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
    },
    stream,
  )
  return {
    get level() {
      return levelOf(log.level)
    },
    set level(level) {
      log.level = level
    },
    isEnabled: (level) => log.isLevelEnabled(level),
    log: (level: LogLevel, message: string, fields: LogFields = {}) => {
      log[level](fields, message)
    },
  }
}

/** Turns pino's lines into `time level message key=value`. */
function plainLines(destination: DestinationStream): DestinationStream {
  return {
    write: (line) => {
      const record: unknown = JSON.parse(line)
      const { time, level, message, ...fields } = Object.fromEntries(
        Object.entries(typeof record === 'object' && record !== null ? record : {}).map(([key, value]) => [
          key,
          text(value),
        ]),
      )
      const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${value}`)
      destination.write(`${time ?? ''}\t${level ?? ''}\t${message ?? ''}${rest.join('')}\n`)
    },
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function levelOf(level: LevelWithSilent | string): LogLevel {
  return level === 'error' || level === 'warn' || level === 'info' ? level : 'debug'
}
