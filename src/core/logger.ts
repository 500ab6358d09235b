/** The log as a collaborator. The agent supplies the writer; nothing below it knows the format. */

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** Values that a log line carries beside its message. */
export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
  /** True when a line of that level would be written: ask before building an expensive one. */
  isEnabled(level: LogLevel): boolean
  log(level: LogLevel, message: string, fields?: LogFields): void
}

/** A logger that writes nothing. */
export const silentLogger: Logger = { isEnabled: () => false, log: () => undefined }
