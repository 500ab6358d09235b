/** The two proxies, each started on the same file in a folder of its own. */
import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import path from 'node:path'

import { eventually } from '../fixtures/eventually.ts'
import { MAIN_PATH } from '../fixtures/program.ts'

import type { ChildProcess } from 'node:child_process'

export type ProxyName = 'envoy' | 'twinstack'

/** Both proxies have their admin endpoint here; it is what the files say, and twinstack's default. */
const ADMIN_PORT = 15_000
const READINESS_PORT = 15_021
const START_MS = 20_000

export interface ProxyOptions {
  readonly name: ProxyName
  /** The Envoy binary. */
  readonly envoyPath: string
  /** The working directory: the file, files that it refers to, and the logs are there. */
  readonly folder: string
  readonly file: string
}

/** A proxy that has read its file, and serves it or has refused it. */
export class RunningProxy {
  readonly name: ProxyName
  readonly folder: string
  readonly #options: ProxyOptions
  readonly #child: ChildProcess
  readonly #gone: Promise<unknown>

  private constructor(options: ProxyOptions, child: ChildProcess) {
    this.name = options.name
    this.folder = options.folder
    this.#options = options
    this.#child = child
    this.#gone = new Promise((resolve) => child.once('close', resolve))
  }

  /** Resolves when the proxy serves, or has ended because it does not take the file. */
  static async start(options: ProxyOptions): Promise<RunningProxy> {
    const { folder } = options
    const [command, ...args] = commandOf(options)
    const [stdout, stderr] = ['stdout', 'stderr'].map((name) => openSync(path.join(folder, name), 'a'))
    const child = spawn(command, args, { cwd: folder, env: ENVIRONMENT, stdio: ['ignore', stdout, stderr] })
    const proxy = new RunningProxy(options, child)
    await eventually('the proxy serves or has ended', () => proxy.#isStarted(), START_MS)
    return proxy
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** True when the proxy ended instead of serving: it does not take the file. */
  get hasRefused(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** The body of an admin endpoint. */
  async admin(urlPath: string): Promise<string> {
    return (await get(ADMIN_PORT, urlPath)).body
  }

  /** True when the proxy would run a file of its folder, by what it says when it only checks it. */
  takes(file: string): Promise<boolean> {
    const [command, ...args] = checkCommandOf(this.#options, file)
    const child = spawn(command, args, { cwd: this.folder, env: ENVIRONMENT, stdio: 'ignore' })
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => {
        resolve(code === 0)
      })
    })
  }

  /** Ends the proxy, with its logs written. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), 1_000)
    if (!this.hasRefused) await this.#gone
    clearTimeout(limit)
  }

  async #isStarted(): Promise<boolean> {
    if (this.hasRefused) return true
    const [port, urlPath] =
      this.name === 'envoy' ? [ADMIN_PORT, '/ready'] : [READINESS_PORT, '/healthz/ready']
    try {
      return (await get(port, urlPath)).status === 200
    } catch {
      // It does not listen yet.
      return false
    }
  }
}

/** Both get the same: nothing of the shell that runs the tests but where programs are and which engine is meant. */
const ENVIRONMENT = {
  PATH: process.env['PATH'] ?? '',
  HOME: process.env['HOME'] ?? '',
  TWINSTACK_ACCESS_LOG: 'off',
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => ['TWINSTACK_ENGINE', 'TWINSTACK_WORKERS'].includes(name)),
  ),
}

function commandOf({ name, envoyPath, file }: ProxyOptions): readonly [string, ...string[]] {
  if (name === 'twinstack') return [process.execPath, '--enable-source-maps', MAIN_PATH, 'agent', '-c', file]
  // One worker, so that turns are one sequence; without hot restart, which shares memory between all that run here.
  const options = ['--concurrency', '1', '--disable-hot-restart', '--file-flush-interval-msec', '50']
  return [envoyPath, '-c', file, ...options, '-l', 'warning']
}

function checkCommandOf({ name, envoyPath }: ProxyOptions, file: string): readonly [string, ...string[]] {
  return name === 'twinstack'
    ? [process.execPath, MAIN_PATH, 'validate', '-c', file]
    : [envoyPath, '--mode', 'validate', '--disable-hot-restart', '-l', 'off', '-c', file]
}

async function get(
  port: number,
  urlPath: string,
): Promise<{ readonly status: number; readonly body: string }> {
  const answer = await fetch(`http://127.0.0.1:${port}${urlPath}`, {
    headers: { connection: 'close' },
    signal: AbortSignal.timeout(15_000),
  })
  return { status: answer.status, body: await answer.text() }
}
