/** A process that the runner has started and asks things of. Ends with the runner. */
import { fork } from 'node:child_process'
import { once } from 'node:events'

import { decodeReply, encode } from './role-calls.ts'

import type { ChildProcess } from 'node:child_process'
import type { Method } from './role-calls.ts'

/** What is to be started. */
export interface RoleProgram {
  /** For messages: `proxy`, `server`, `load`. */
  readonly name: string
  readonly path: string
  readonly args?: readonly string[]
  /** Options of node itself. */
  readonly nodeArgs?: readonly string[]
  /** Beside the runner's own environment. */
  readonly env?: Readonly<Record<string, string>>
}

interface PendingCall {
  readonly resolve: (result: unknown) => void
  readonly reject: (reason: Error) => void
}

/** No single call takes longer, the largest transfer included. */
const CALL_LIMIT_MS = 120_000
const EXIT_LIMIT_MS = 5_000

export class RoleProcess<Methods extends Record<keyof Methods, Method>> {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #pending = new Map<number, PendingCall>()
  readonly #exited: Promise<unknown>
  #lastId = 0
  #endedBecause: string | undefined

  /** Starts the program. Calls wait until it has loaded. */
  constructor(program: RoleProgram) {
    this.#name = program.name
    this.#child = fork(program.path, [...(program.args ?? [])], {
      execArgv: ['--expose-gc', ...(program.nodeArgs ?? [])],
      env: { ...process.env, ...program.env },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#exited = once(this.#child, 'exit')
    this.#child.on('message', (message: unknown) => {
      const reply = decodeReply(message)
      const call = this.#pending.get(reply.id)
      this.#pending.delete(reply.id)
      if (reply.isOk) call?.resolve(reply.result)
      else call?.reject(new Error(`${this.#name}: ${reply.error}`))
    })
    this.#child.on('error', (error) => {
      this.#failPending(error.message)
    })
    this.#child.on('exit', (code, signal) => {
      this.#failPending(`ended with ${signal ?? code ?? 'nothing'}`)
    })
  }

  /** Asks for something. Rejects when the process fails, ends, or does not answer. */
  async call<Name extends keyof Methods & string>(
    method: Name,
    params: Methods[Name]['params'],
  ): Promise<Methods[Name]['result']> {
    const id = ++this.#lastId
    return await new Promise((resolve, reject) => {
      if (this.#endedBecause !== undefined) {
        reject(new Error(`${this.#name} ${this.#endedBecause}`))
        return
      }
      const limit = setTimeout(() => {
        this.#pending.delete(id)
        reject(new Error(`${this.#name} did not answer ${method} within ${CALL_LIMIT_MS / 1_000} s`))
      }, CALL_LIMIT_MS)
      this.#pending.set(id, {
        resolve: (result) => {
          clearTimeout(limit)
          resolve(result)
        },
        reject: (reason) => {
          clearTimeout(limit)
          reject(reason)
        },
      })
      this.#child.send(encode({ id, method, params }))
    })
  }

  /** Ends the process; resolves when it is gone. Idempotent. */
  async close(): Promise<void> {
    // A process that is asked to end by its channel can still write a profile.
    if (this.#child.connected) this.#child.disconnect()
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_LIMIT_MS)
    await this.#exited
    clearTimeout(kill)
  }

  #failPending(why: string): void {
    this.#endedBecause ??= why
    for (const call of this.#pending.values()) call.reject(new Error(`${this.#name} ${why}`))
    this.#pending.clear()
  }
}
