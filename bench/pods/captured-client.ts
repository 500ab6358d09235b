/** The client of the lab as a pod: an agent on the node that captures inside the client's namespace, when it is told to. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

import { IN_POD_RULES } from '../../test/fixtures/in-pod-rules.ts'
import { podMeshText } from '../../test/fixtures/pod-mesh.ts'
import { ZdsServer } from '../../test/fixtures/zds-server.ts'
import { CapturedAgent } from './captured-agent.ts'
import { servedSnapshot } from './served-snapshot.ts'

import type { Pod } from '../../src/mesh/pod.ts'
import type { Lab } from '../lab/lab.ts'
import type { MeasuredProxy } from '../lab/window.ts'
import type { Scope } from './scope.ts'

export const CLIENT_NODE = 'client-node'

const CLIENT: Pod = { uid: 'uid-client', name: 'client', namespace: 'bench', serviceAccount: 'default' }

/** The mesh that knows the client, as ztunnel's local file. */
export const CLIENT_MESH = podMeshText({
  pods: [
    {
      pod: CLIENT,
      addresses: { ipv4: '10.244.1.2', ipv6: 'fd00:10:244:1::2' },
      node: { name: CLIENT_NODE },
    },
  ],
})

export class CapturedClient implements MeasuredProxy {
  readonly name = 'captured in the pod'
  readonly #lab: Lab
  readonly #agent: CapturedAgent

  private constructor(lab: Lab, agent: CapturedAgent) {
    this.#lab = lab
    this.#agent = agent
  }

  /** Starts it for as long as `scope` lasts; resolves when the pod is served. Nothing is captured yet. */
  static async start(
    scope: Scope,
    lab: Lab,
    { workers }: { readonly workers: number },
  ): Promise<CapturedClient> {
    const folder = await mkdtemp(path.join(tmpdir(), 'twinstack-bench-'))
    scope.teardown(() => rm(folder, { recursive: true, force: true }))
    const meshPath = path.join(folder, 'mesh.json')
    await writeFile(meshPath, CLIENT_MESH)
    const { namespaces } = lab
    const server = await ZdsServer.start(scope, path.join(folder, 'zds.sock'), {
      pods: [{ pod: CLIENT, netns: namespaces.fileOf('client') }],
    })
    const agent = await CapturedAgent.start(scope, {
      meshPath,
      socketPath: server.path,
      node: CLIENT_NODE,
      workers,
      within: (command, args) => namespaces.within('node', command, args),
    })
    await servedSnapshot(server)
    return new CapturedClient(lab, agent)
  }

  cpuSeconds(): Promise<number> {
    return this.#agent.cpuSeconds()
  }

  /** Runs `use` while the client's connections are captured in its namespace. */
  async whileCaptured<Result>(use: () => Promise<Result>): Promise<Result> {
    const { namespaces } = this.#lab
    await namespaces.run('client', 'nft', ['-f', '-'], IN_POD_RULES.nft)
    await namespaces.run('client', 'sh', ['-s'], IN_POD_RULES.routes)
    try {
      return await use()
    } finally {
      // The namespace is the bench's own: nothing else is in there.
      await namespaces.run('client', 'nft', ['flush', 'ruleset'])
    }
  }
}
