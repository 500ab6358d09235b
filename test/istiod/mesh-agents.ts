/** Agents of a mesh lab: the node proxy, and the sidecar of a pod. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

import { writeFile } from '../fixtures/envoy-files.ts'
import { startNamespaceAgent } from '../fixtures/namespace-agent.ts'
import { startProgram } from '../fixtures/program.ts'
import { ADMIN_PORT } from './ambient-state.ts'
import { XDS_PORTS } from './control-plane.ts'
import { ISTIOD } from './mesh-lab.ts'
import { PROXY } from './scenario.ts'
import { sidecarBootstrap } from './sidecar-bootstrap.ts'

import type { Test } from 'tap'
import type { NamespaceAgent } from '../fixtures/namespace-agent.ts'
import type { Namespace } from '../fixtures/namespaces.ts'
import type { RunningProgram } from '../fixtures/program.ts'
import type { Pod } from './cluster.ts'
import type { MeshLab } from './mesh-lab.ts'
import type { AdsProtocol } from './sidecar-bootstrap.ts'

type Environment = Readonly<Record<string, string>>

const NODE_PROXY_ENV = nodeProxyEnv(PROXY, ISTIOD.ipv4)

/** What the DaemonSet of ztunnel sets for a pod of it, on the plaintext port of istiod at an address. */
export function nodeProxyEnv({ node, namespace, name, app, addresses }: Pod, istiod: string): Environment {
  return {
    XDS_ADDRESS: `http://${istiod}:${XDS_PORTS.plaintext}`,
    ISTIO_META_CLUSTER_ID: 'Kubernetes',
    NODE_NAME: node,
    POD_NAME: name,
    POD_NAMESPACE: namespace,
    SERVICE_ACCOUNT: app,
    INSTANCE_IPS: Object.values(addresses).join(),
    TWINSTACK_ADMIN_PORT: String(ADMIN_PORT),
  }
}

/** Starts `twinstack agent` on the node as that pod. */
export function startNodeProxy(t: Test, { node }: MeshLab, env: Environment = {}): Promise<NamespaceAgent> {
  return startNamespaceAgent(t, node, [], { env: { ...NODE_PROXY_ENV, ...env } })
}

/** The same where it is not expected to be served: nothing is waited for. */
export function startRefusedNodeProxy(t: Test, { node }: MeshLab, env: Environment): RunningProgram {
  return startProgram(t, ['agent'], { prefix: node.prefix, env: { ...NODE_PROXY_ENV, ...env } })
}

/** A sidecar to start. */
export interface SidecarOptions {
  readonly pod: Pod
  readonly apiType: AdsProtocol
  readonly env?: Environment
}

/** Starts `twinstack agent -c` as the sidecar of a pod, on the plaintext port of istiod. */
export function startSidecar(
  t: Test,
  namespace: Namespace,
  { pod, apiType, env = {} }: SidecarOptions,
): Promise<NamespaceAgent> {
  // Not t.testdir(): a second one in the same test takes the place of the first.
  const folder = mkdtempSync(path.join(tmpdir(), 'twinstack-sidecar-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const file = writeFile(folder, 'bootstrap.json', sidecarBootstrap(pod, apiType))
  return startNamespaceAgent(t, namespace, ['-c', file], {
    env: { TWINSTACK_ADMIN_PORT: String(ADMIN_PORT), ...env },
  })
}
