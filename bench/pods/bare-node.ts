/** A node of bare pods: the applications in them, and a new server of pods and a new agent for each measure. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

import { PACKAGE_ROOT } from '../../src/agent/version.ts'
import { ZdsServer } from '../../test/fixtures/zds-server.ts'
import { LineProcess } from '../lab/line-process.ts'
import { BENCH_NODE, BarePods } from './bare-pods.ts'
import { CapturedAgent } from './captured-agent.ts'

import type { PodInNamespace } from '../../test/fixtures/zds-server-worker.ts'
import type { Scope } from './scope.ts'

/** As many as the node has cores where the figures of bench/README.md were taken: they grow with it. */
const WORKERS = 2

export class BareNode {
  readonly pods: BarePods
  readonly traffic: LineProcess
  readonly #folder: string
  #servers = 0

  private constructor(parts: Pick<BareNode, 'pods' | 'traffic'> & { readonly folder: string }) {
    this.pods = parts.pods
    this.traffic = parts.traffic
    this.#folder = parts.folder
  }

  /** Makes `count` pods with an application in each of the first `served`. The end of the scope removes it. */
  static async create(scope: Scope, count: number, served: number): Promise<BareNode> {
    const folder = await mkdtemp(path.join(tmpdir(), 'twinstack-bench-'))
    scope.teardown(() => rm(folder, { recursive: true, force: true }))
    const pods = new BarePods(count)
    // Before they are made: an operator may have had enough of it meanwhile.
    scope.teardown(() => pods.close())
    await pods.create()
    await writeFile(path.join(folder, 'mesh.json'), pods.meshText)
    const program = path.join(PACKAGE_ROOT, 'dist', 'bench', 'pods', 'pod-traffic.js')
    const traffic = new LineProcess('traffic', [process.execPath, program, pods.prefix])
    scope.teardown(() => traffic.close())
    await traffic.next()
    await traffic.ask(`serve ${served}`)
    return new BareNode({ pods, traffic, folder })
  }

  /** A server that knows pods from the start, for as long as `scope` lasts. */
  startServer(scope: Scope, pods: readonly PodInNamespace[]): Promise<ZdsServer> {
    return ZdsServer.start(scope, path.join(this.#folder, `zds-${++this.#servers}.sock`), { pods })
  }

  /** Starts an agent for as long as `scope` lasts; see {@link CapturedAgent}. */
  startAgent(scope: Scope, server: ZdsServer): Promise<CapturedAgent> {
    return CapturedAgent.start(scope, {
      meshPath: path.join(this.#folder, 'mesh.json'),
      socketPath: server.path,
      node: BENCH_NODE,
      workers: WORKERS,
    })
  }
}
