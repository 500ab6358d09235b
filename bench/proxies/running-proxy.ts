/** A proxy under test: its process in the node's namespace, and what that uses. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { FAMILIES } from '../../src/core/family.ts'
import { readCpuSeconds, readRssBytes } from '../lab/process-usage.ts'
import { redirect } from '../lab/redirection.ts'
import { SERVICE_PORTS } from '../lab/services.ts'

import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Lab, PortRange } from '../lab/lab.ts'
import type { CapturePorts } from '../lab/redirection.ts'
import type { ProxyPlace, ProxyProgram, StaticService } from './proxy-program.ts'

/** How to start a proxy, beside what it is. */
export interface StartOptions extends Pick<ProxyPlace, 'workers' | 'isObserved'> {
  /** Each gets a port of the node; see {@link RunningProxy.portOf}. */
  readonly staticServices: readonly Omit<StaticService, 'listenPort'>[]
}

/** The common case: one thread, nothing logged, nothing scraped. */
export const PLAIN: StartOptions = { workers: 1, isObserved: false, staticServices: [] }

/** Where the ports of static services begin among those of the proxy. */
const FIRST_STATIC_PORT = 10
const START_LIMIT_MS = 20_000
const POLL_INTERVAL_MS = 50
/** What a proxy gets to end by itself, and to write a profile. */
const END_LIMIT_MS = 5_000

/** Runs `use` on a proxy of its own and closes it, whatever happens. What fails is told with the proxy's name. */
export async function withProxy<Result>(
  lab: Lab,
  program: ProxyProgram,
  options: StartOptions,
  use: (proxy: RunningProxy) => Promise<Result>,
): Promise<Result> {
  const proxy = await RunningProxy.start(lab, program, options)
  try {
    return await use(proxy)
  } catch (reason) {
    throw new Error(`${program.name}: ${reason instanceof Error ? reason.message : String(reason)}`, {
      cause: reason,
    })
  } finally {
    await proxy.close()
  }
}

type ProxyChild = ChildProcessByStdio<null, null, Readable>

interface ProxyParts {
  readonly name: string
  readonly child: ProxyChild
  readonly folder: string
  readonly ports: PortRange
  readonly capturePorts: CapturePorts
  readonly metricsPort: number | undefined
  readonly staticServices: readonly StaticService[]
}

export class RunningProxy {
  readonly name: string
  readonly capturePorts: CapturePorts
  readonly metricsPort: number | undefined
  readonly #lab: Lab
  readonly #child: ProxyChild
  readonly #exited: Promise<unknown>
  readonly #folder: string
  readonly #ports: PortRange
  readonly #staticServices: readonly StaticService[]
  #stderr = ''

  private constructor(lab: Lab, parts: ProxyParts) {
    this.name = parts.name
    this.capturePorts = parts.capturePorts
    this.metricsPort = parts.metricsPort
    this.#lab = lab
    this.#child = parts.child
    this.#folder = parts.folder
    this.#ports = parts.ports
    this.#staticServices = parts.staticServices
    this.#exited = once(parts.child, 'exit')
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text))
  }

  /** Starts a proxy; resolves when a client of each family has been answered through it. */
  static async start(lab: Lab, program: ProxyProgram, options: StartOptions): Promise<RunningProxy> {
    const folder = await mkdtemp(path.join(tmpdir(), 'twinstack-bench-'))
    const ports = lab.takePorts()
    const staticServices = options.staticServices.map((service, index) => ({
      ...service,
      listenPort: ports.first + FIRST_STATIC_PORT + index,
    }))
    const { command, args, env, files, capturePorts, metricsPort } = program.prepare({
      ...options,
      staticServices,
      folder,
      firstPort: ports.first,
    })
    for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text)
    const [first, ...rest] = lab.namespaces.within('node', command, args)
    const child = spawn(first, rest, {
      cwd: folder,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const proxy = new RunningProxy(lab, {
      name: program.name,
      child,
      folder,
      ports,
      capturePorts,
      metricsPort,
      staticServices,
    })
    try {
      await proxy.#untilAnswering()
    } catch (reason) {
      await proxy.close()
      throw reason
    }
    return proxy
  }

  /** The process; it may have children. */
  get pid(): number {
    this.#requireAlive()
    return this.#child.pid ?? 0
  }

  /** The node's port of a static service. */
  portOf(name: string): number {
    const service = this.#staticServices.find((each) => each.name === name)
    if (service === undefined) throw new TypeError(`${this.name} has no service ${name}`)
    return service.listenPort
  }

  cpuSeconds(): Promise<number> {
    return readCpuSeconds(this.pid)
  }

  rssBytes(): Promise<number> {
    return readRssBytes(this.pid)
  }

  /** Ends it, with patience for a profile, and removes its files. Idempotent. */
  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM')
      const limit = setTimeout(() => this.#child.kill('SIGKILL'), END_LIMIT_MS)
      await this.#exited
      clearTimeout(limit)
    }
    this.#ports.release()
    await rm(this.#folder, { recursive: true, force: true })
  }

  #requireAlive(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) return
    throw new Error(`${this.name} has ended: ${this.#stderr.trim()}`)
  }

  async #untilAnswering(): Promise<void> {
    const deadlineMs = performance.now() + START_LIMIT_MS
    await redirect(this.#lab.namespaces, this.capturePorts)
    for (const family of FAMILIES) {
      for (;;) {
        this.#requireAlive()
        const isAnswered = await this.#lab.timeConnections('server', family, SERVICE_PORTS.echo, 1).then(
          () => true,
          () => false,
        )
        if (isAnswered) break
        if (performance.now() > deadlineMs)
          throw new Error(`${this.name} does not carry ${family}: ${this.#stderr.trim()}`)
        await sleep(POLL_INTERVAL_MS)
      }
    }
  }
}
