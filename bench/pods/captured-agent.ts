/** An agent that captures pods, as a process of its own: when it was started, when it is ready, what it holds. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import { freePort } from '../../test/fixtures/loopback.ts'
import { MAIN_PATH } from '../../test/fixtures/program.ts'
import { readCpuSeconds, readRssBytes } from '../lab/process-usage.ts'
import { agentEnvironment } from '../proxies/agent-environment.ts'

import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Scope } from './scope.ts'

export interface CapturedAgentOptions {
  /** ztunnel's local file. */
  readonly meshPath: string
  /** Of the server that tells of pods. */
  readonly socketPath: string
  readonly node: string
  readonly workers: number
  /** Puts the program into a namespace; its own is this process's when absent. */
  readonly within?: (command: string, args: readonly string[]) => readonly [string, ...string[]]
}

/** What a process holds. */
export interface Holdings {
  readonly descriptors: number
  readonly threads: number
  readonly residentBytes: number
}

const READY_LIMIT_MS = 120_000
const POLL_INTERVAL_MS = 10
/** What has just been used is given back, and small objects are collected. */
const SETTLE_MS = 1_500
/** Pods that have gone are let go of within this. */
const EQUAL_LIMIT_MS = 10_000

export class CapturedAgent {
  /** Since 1970, as all times here. */
  readonly startedAtMs: number
  readonly #child: ChildProcessByStdio<null, null, Readable>
  readonly #exited: Promise<unknown>
  readonly #readinessPort: number
  #stderr = ''

  private constructor(child: ChildProcessByStdio<null, null, Readable>, readinessPort: number) {
    this.startedAtMs = performance.timeOrigin + performance.now()
    this.#child = child
    this.#exited = once(child, 'exit')
    this.#readinessPort = readinessPort
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text))
  }

  /** Starts the program; the end of the scope kills it. It is not ready yet. */
  static async start(scope: Scope, options: CapturedAgentOptions): Promise<CapturedAgent> {
    const { meshPath, socketPath, node, workers, within } = options
    const [adminPort, metricsPort, readinessPort] = [await freePort(), await freePort(), await freePort()]
    const own = [MAIN_PATH, 'agent'] as const
    const [command, ...args] = within?.(process.execPath, own) ?? [process.execPath, ...own]
    const child = spawn(command, args, {
      env: {
        ...process.env,
        LOCAL_XDS_PATH: meshPath,
        INPOD_ENABLED: 'true',
        INPOD_UDS: socketPath,
        NODE_NAME: node,
        ...agentEnvironment({ workers, adminPort, metricsPort, readinessPort }),
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const agent = new CapturedAgent(child, readinessPort)
    scope.teardown(() => agent.kill())
    return agent
  }

  /** Resolves when /healthz/ready says so, with that time. For an agent in this namespace. */
  async ready(): Promise<number> {
    const deadlineMs = performance.now() + READY_LIMIT_MS
    while (!(await this.#isReady())) {
      this.#requireAlive()
      if (performance.now() > deadlineMs) throw new Error(`the agent is not ready: ${this.#stderr.trim()}`)
      await sleep(POLL_INTERVAL_MS)
    }
    return performance.timeOrigin + performance.now()
  }

  /** What it holds, when it has settled. */
  async holdings(): Promise<Holdings> {
    await sleep(SETTLE_MS)
    return this.#read()
  }

  /** As {@link holdings}, when descriptors and threads are no more than they were; else what is left after 10 s. */
  async holdingsAfter(before: Holdings): Promise<Holdings> {
    const deadlineMs = performance.now() + EQUAL_LIMIT_MS
    for (;;) {
      const now = await this.holdings()
      const isEqual = now.descriptors <= before.descriptors && now.threads <= before.threads
      if (isEqual || performance.now() > deadlineMs) return now
    }
  }

  /** Of all threads, so far. */
  cpuSeconds(): Promise<number> {
    this.#requireAlive()
    return readCpuSeconds(this.#child.pid ?? 0)
  }

  /** kill -9; resolves when it is gone. Idempotent. */
  async kill(): Promise<void> {
    if (!this.#hasEnded) {
      this.#child.kill('SIGKILL')
      await this.#exited
    }
  }

  async #read(): Promise<Holdings> {
    this.#requireAlive()
    const pid = this.#child.pid ?? 0
    const [descriptors, threads, residentBytes] = await Promise.all([
      readdir(`/proc/${pid}/fd`),
      readdir(`/proc/${pid}/task`),
      readRssBytes(pid),
    ])
    return { descriptors: descriptors.length, threads: threads.length, residentBytes }
  }

  async #isReady(): Promise<boolean> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.#readinessPort}/healthz/ready`, {
        // A connection that stays would be among the descriptors.
        headers: { connection: 'close' },
      })
      await answer.text()
      return answer.ok
    } catch {
      // It does not listen yet.
      return false
    }
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  #requireAlive(): void {
    if (this.#hasEnded) throw new Error(`the agent has ended: ${this.#stderr.trim()}`)
  }
}
