/** What every command of the command line is given. */

/** What a command may touch of the process. */
export interface CommandContext {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Calls back for each request to end; the argument says whose it is. */
  readonly onStopRequest: (callback: (source: string) => void) => void
  /** Calls back for each request to open log files again (SIGUSR1, as Envoy has it). */
  readonly onReopenRequest: (callback: () => void) => void
}

/** Flags as they were given, by name without dashes. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>

/** Runs a command; resolves with the exit code, rejects with what the operator has to know. */
export type RunCommand = (context: CommandContext, flags: Flags) => Promise<number>
