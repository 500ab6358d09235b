/** The proxy under test: the agent as operators start it, with a probe beside it and its counters at hand. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

import { LOOPBACK } from '../../test/fixtures/loopback.ts'
import { renderMeshConfig } from './mesh-config.ts'
import { countBoundSockets, parseProxyCounters } from './proxy-counters.ts'
import { RoleProcess } from './role-process.ts'

import type { Family } from '../../src/core/family.ts'
import type { ProbeMethods } from '../roles/probe.ts'
import type { MeshService } from './mesh-config.ts'
import type { ProcessSample } from './process-sample.ts'
import type { ProxyCounters } from './proxy-counters.ts'

export interface ProxyProcessOptions {
  /** Value of TWINSTACK_ENGINE; absent: what the environment or the agent chooses. */
  readonly engine?: string
  /** Where the proxy writes a CPU profile when it ends; absent: none. */
  readonly profileFolder?: string
}

/** What the proxy is to serve. */
export interface ProxyPlan {
  readonly services: readonly MeshService[]
  readonly families: readonly Family[]
  /** Three free ports: admin, metrics, readiness. */
  readonly operatorPorts: readonly number[]
}

const AGENT_PATH = path.join(import.meta.dirname, '../../src/agent/main.js')
const PROBE_URL = pathToFileURL(path.join(import.meta.dirname, '../roles/probe.js')).href
const START_LIMIT_MS = 10_000
const POLL_INTERVAL_MS = 20

export class ProxyProcess {
  readonly #process: RoleProcess<ProbeMethods>
  readonly #metricsUrl: string
  readonly #folder: string

  private constructor(process: RoleProcess<ProbeMethods>, place: { metricsUrl: string; folder: string }) {
    this.#process = process
    this.#metricsUrl = place.metricsUrl
    this.#folder = place.folder
  }

  /** Starts the agent on a mesh; resolves when every listener is bound in every family. */
  static async start(
    { services, families, operatorPorts }: ProxyPlan,
    options: ProxyProcessOptions,
  ): Promise<ProxyProcess> {
    const folder = await mkdtemp(path.join(tmpdir(), 'twinstack-bench-'))
    const configPath = path.join(folder, 'mesh.json')
    await writeFile(configPath, renderMeshConfig(services, families))
    const [adminPort = 0, metricsPort = 0, readinessPort = 0] = operatorPorts
    const child = new RoleProcess<ProbeMethods>({
      name: 'proxy',
      path: AGENT_PATH,
      args: ['agent', '-c', configPath],
      nodeArgs: ['--import', PROBE_URL, ...profileArgs(options.profileFolder)],
      env: {
        TWINSTACK_ADMIN_PORT: String(adminPort),
        TWINSTACK_METRICS_PORT: String(metricsPort),
        TWINSTACK_READINESS_PORT: String(readinessPort),
        TWINSTACK_ACCESS_LOG: 'off',
        TWINSTACK_LOG_LEVEL: 'error',
        ...(options.engine !== undefined && { TWINSTACK_ENGINE: options.engine }),
      },
    })
    const host = families.includes('ipv4') ? LOOPBACK.ipv4 : `[${LOOPBACK.ipv6}]`
    const proxy = new ProxyProcess(child, { metricsUrl: `http://${host}:${metricsPort}/metrics`, folder })
    try {
      await proxy.#untilBound(services.length * families.length)
    } catch (reason) {
      await proxy.close()
      throw reason
    }
    return proxy
  }

  /** What the process has used. Rejects when it is gone. */
  sample(options: { readonly collect: boolean }): Promise<ProcessSample> {
    return this.#process.call('sample', options)
  }

  async counters(): Promise<ProxyCounters> {
    return parseProxyCounters(await this.#readMetrics())
  }

  /** Ends the process and removes its files. Idempotent. */
  async close(): Promise<void> {
    await this.#process.close()
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #untilBound(sockets: number): Promise<void> {
    const deadlineMs = performance.now() + START_LIMIT_MS
    for (;;) {
      // Rejects at once when the agent has refused to start.
      await this.sample({ collect: false })
      const text = await this.#readMetrics().catch(() => '')
      if (countBoundSockets(text) >= sockets) return
      if (performance.now() > deadlineMs)
        throw new Error(`the proxy has not bound ${sockets} sockets within ${START_LIMIT_MS / 1_000} s`)
      await sleep(POLL_INTERVAL_MS)
    }
  }

  async #readMetrics(): Promise<string> {
    const response = await fetch(this.#metricsUrl)
    if (!response.ok) throw new Error(`${this.#metricsUrl} answers ${response.status}`)
    return await response.text()
  }
}

function profileArgs(folder: string | undefined): readonly string[] {
  return folder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', folder]
}
