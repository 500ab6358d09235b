/** A program that answers each line on its stdin with a line of JSON, and ends with its stdin: with the runner. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import readline from 'node:readline'

import type { ChildProcessWithoutNullStreams } from 'node:child_process'

interface PendingLine {
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: Error) => void
}

/** No single answer takes longer, that of a large transfer included. */
const ANSWER_LIMIT_MS = 120_000

export class LineProcess {
  readonly #name: string
  readonly #child: ChildProcessWithoutNullStreams
  readonly #pending: PendingLine[] = []
  readonly #exited: Promise<unknown>
  #stderr = ''
  #endedBecause: string | undefined

  /** Starts the program. @param name for messages */
  constructor(name: string, [command, ...args]: readonly [string, ...string[]]) {
    this.#name = name
    this.#child = spawn(command, args)
    this.#exited = once(this.#child, 'close').catch(() => undefined)
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text))
    readline.createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const pending = this.#pending.shift()
      try {
        pending?.resolve(JSON.parse(line))
      } catch {
        pending?.reject(new Error(`${this.#name} printed ${line}`))
      }
    })
    this.#child.stdin.on('error', () => {
      // The program is gone; its end says why.
    })
    this.#child.on('error', (error) => {
      this.#end(error.message)
    })
    this.#child.on('close', (code, signal) => {
      this.#end(this.#stderr.trim() || `ended with ${signal ?? code ?? 'nothing'}`)
    })
  }

  /** As the constructor; resolves when the program has said that it is ready. */
  static async start(name: string, commandLine: readonly [string, ...string[]]): Promise<LineProcess> {
    const process = new LineProcess(name, commandLine)
    try {
      await process.next()
    } catch (reason) {
      await process.close()
      throw reason
    }
    return process
  }

  /** The next line that nobody has asked for: that it is ready, or its result. */
  next(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#endedBecause !== undefined) {
        reject(new Error(`${this.#name}: ${this.#endedBecause}`))
        return
      }
      const limit = setTimeout(() => {
        reject(new Error(`${this.#name} did not answer within ${ANSWER_LIMIT_MS / 1_000} s`))
      }, ANSWER_LIMIT_MS)
      this.#pending.push({
        resolve: (value) => {
          clearTimeout(limit)
          resolve(value)
        },
        reject: (reason) => {
          clearTimeout(limit)
          reject(reason)
        },
      })
    })
  }

  /** Sends a line and waits for the answer. Rejects with what the program said when it has ended. */
  ask(line: string): Promise<unknown> {
    const answer = this.next()
    if (this.#endedBecause === undefined) this.#child.stdin.write(`${line}\n`)
    return answer
  }

  /** Ends the program; resolves when it is gone. Idempotent. */
  async close(): Promise<void> {
    this.#child.stdin.end()
    if (this.#endedBecause === undefined) this.#child.kill('SIGKILL')
    await this.#exited
  }

  #end(why: string): void {
    this.#endedBecause ??= why
    for (const line of this.#pending.splice(0)) line.reject(new Error(`${this.#name}: ${why}`))
  }
}
