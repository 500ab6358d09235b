/** A program that runs in a network namespace until it is stopped, with its output in a file. */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'

import type { ChildProcess } from 'node:child_process'
import type { Test } from 'tap'
import type { Namespace } from '../fixtures/namespaces.ts'

export interface DaemonOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd: string
  /** What it prints is added here. */
  readonly logFile: string
}

/** Also a test process that is killed takes its daemons with it. */
const END_WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL']
const SHOWN_LINES = 20

export class Daemon {
  readonly #child: ChildProcess
  readonly #logFile: string
  readonly #gone: Promise<void>
  #hasExited = false

  private constructor(child: ChildProcess, logFile: string) {
    this.#child = child
    this.#logFile = logFile
    this.#gone = new Promise((resolve) => {
      const settle = (): void => {
        this.#hasExited = true
        resolve()
      }
      child.once('close', settle)
      // It could not be started: what waits for it sees that it has ended.
      child.once('error', settle)
    })
  }

  /** Starts a program; the end of the test ends it. */
  static start(
    t: Test,
    { prefix }: Namespace,
    program: readonly string[],
    { env = {}, cwd, logFile }: DaemonOptions,
  ): Daemon {
    const [command = '', ...args] = [...prefix, ...END_WITH_PARENT, ...program]
    const log = openSync(logFile, 'a')
    const child = spawn(command, args, {
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'], HOME: cwd, ...env },
      cwd,
    })
    closeSync(log)
    const daemon = new Daemon(child, logFile)
    t.teardown(() => daemon.stop())
    return daemon
  }

  get hasExited(): boolean {
    return this.#hasExited
  }

  /** The last that it printed. */
  get lastLines(): string {
    return readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-SHOWN_LINES).join('\n')
  }

  /** Kills it, as an out-of-memory kill would, and resolves when it is gone. */
  async stop(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#gone
  }
}
