/**
 * Nodes of captured pods in a mesh that istiod tells of: the lab of pods, the control plane on the host beside its nodes,
 * the scenario with the lab's pods in it, and on each node a server of pods, istio-cni's own where it has been built.
 */
import { loggedByAny, startPodAgent } from '../fixtures/captured-pods.ts'
import { IstioCniServer, whyNoIstioCni } from '../fixtures/istio-cni-server.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { createPodLab, setNames } from '../fixtures/pod-lab.ts'
import { startTcpEcho } from '../fixtures/pod-programs.ts'
import { ECHO_PODS, SLEEP_POD } from '../fixtures/tcp-echo-scenario.ts'
import { ZdsServer, socketPath } from '../fixtures/zds-server.ts'
import { capturedPods, knownServices } from './ambient-state.ts'
import { becomes } from './becomes.ts'
import { Cluster } from './cluster.ts'
import { ControlPlane } from './control-plane.ts'
import { nodeProxyEnv } from './mesh-agents.ts'
import { SERVICES, createScenario } from './scenario.ts'

import type { Test } from 'tap'
import type { AccessLogLine, NamespaceAgent } from '../fixtures/namespace-agent.ts'
import type { LabNode, LabPod, PodLab, PodSpec } from '../fixtures/pod-lab.ts'
import type { PodServer } from '../fixtures/zds-server.ts'
import type { Pod } from './cluster.ts'
import type { IstioBinaries } from './istio-binaries.ts'

export interface MeshNode {
  readonly node: LabNode
  /** In its namespace: the agent's own ports are asked from there. */
  readonly host: NamespaceHost
  readonly podServer: PodServer
  readonly socket: string
}

/** The agents of all nodes. */
export interface MeshAgents {
  readonly agents: readonly NamespaceAgent[]
  /** As that of CapturedLab. */
  readonly logged: (direction: 'outbound' | 'inbound', client: string) => Promise<AccessLogLine>
}

export class CapturedMesh {
  readonly lab: PodLab
  readonly nodes: readonly MeshNode[]
  readonly controlPlane: ControlPlane
  /** Holds the scenario. */
  readonly cluster: Cluster

  private constructor(parts: Pick<CapturedMesh, 'lab' | 'nodes' | 'controlPlane' | 'cluster'>) {
    this.lab = parts.lab
    this.nodes = parts.nodes
    this.controlPlane = parts.controlPlane
    this.cluster = parts.cluster
  }

  /** Starts everything but the agents; the end of the test ends it. */
  static async start(t: Test, binaries: IstioBinaries): Promise<CapturedMesh> {
    const lab = createPodLab(t, { nodes: 2, pods: [SLEEP_POD, ...ECHO_PODS] })
    for (const pod of lab.pods) pod.redirect()
    const [controlPlane, nodes] = await Promise.all([
      ControlPlane.start(t, lab.outside.network, binaries, istiodAddress(lab)),
      Promise.all(lab.nodes.map((node) => startNode(t, { lab, node, version: binaries.version }))),
      ...lab.pods.filter(isEcho).map((pod) => startTcpEcho(t, pod)),
    ])
    const cluster = new Cluster(controlPlane)
    await createScenario(cluster, [...lab.nodes.map(proxyOf), ...lab.pods.map(clusterPod)])
    await controlPlane.startIstiod()
    for (const pod of lab.pods) setNames(pod, SERVICE_NAMES)
    return new CapturedMesh({ lab, nodes, controlPlane, cluster })
  }

  /** Starts an agent on each node; resolves when they know the services and serve the pods. */
  async startAgents(t: Test, env: Readonly<Record<string, string>> = {}): Promise<MeshAgents> {
    const istiod = istiodAddress(this.lab)
    const agents = await Promise.all(
      this.nodes.map(async ({ node, host, socket }) => {
        const agent = await startPodAgent(t, {
          node,
          socket,
          env: { ...nodeProxyEnv(proxyOf(node), istiod), ...env },
        })
        const own = this.lab.pods.filter((pod) => pod.node === node)
        await becomes(
          t,
          `pods captured on ${node.name}`,
          () => capturedPods(host),
          Object.fromEntries(own.map(({ pod }) => [pod.uid, `Up ${pod.namespace}/${pod.name}`])),
        )
        await becomes(t, 'the services', async () => Object.keys(await knownServices(host)).length >= 3, true)
        return agent
      }),
    )
    return { agents, logged: (direction, client) => loggedByAny(agents, direction, client) }
  }

  /** Makes a pod of tcp-echo in the lab, whom neither the agents nor the cluster know of yet. */
  async addPod(t: Test, spec: PodSpec): Promise<LabPod> {
    const pod = this.lab.addPod(spec)
    pod.redirect()
    await startTcpEcho(t, pod)
    return pod
  }

  /** The node of a pod. */
  nodeOf({ node }: LabPod): MeshNode {
    const found = this.nodes.find((each) => each.node === node)
    if (found === undefined) throw new TypeError(`${node.name} is of another lab`)
    return found
  }
}

/** A pod of the lab as the cluster has it. */
export function clusterPod({ pod, node, addresses }: LabPod): Pod {
  const { namespace, name, serviceAccount } = pod
  return { namespace, name, app: serviceAccount, node: node.name, addresses, isCaptured: true }
}

/** `tcp-echo.NAMESPACE` as the DNS of the cluster has it. */
const SERVICE_NAMES = Object.values(SERVICES).map(({ namespace, name, addresses }) => ({
  name: `${name}.${namespace}`,
  addresses: addresses.map(([, address]) => address),
}))

async function startNode(
  t: Test,
  { lab, node, version }: { readonly lab: PodLab; readonly node: LabNode; readonly version: string },
): Promise<MeshNode> {
  const socket = socketPath(t)
  const pods = lab.pods.filter((pod) => pod.node === node).map(({ pod, netns }) => ({ pod, netns }))
  const why = whyNoIstioCni()
  const [host, podServer] = await Promise.all([
    NamespaceHost.start(t, node.network),
    why === undefined
      ? IstioCniServer.start(t, socket, { pods, version })
      : ZdsServer.start(t, socket, { pods }),
  ])
  const teller =
    podServer instanceof IstioCniServer
      ? `istio-cni ${podServer.version}`
      : `the server of the tests: ${why ?? ''}`
  t.comment(`pods of ${node.name} are told by ${teller}`)
  return { node, host, podServer, socket }
}

/** The agent's own pod; it has the address of its node. */
function proxyOf({ name, addresses }: LabNode): Pod {
  return {
    namespace: 'istio-system',
    name: `ztunnel-${name}`,
    app: 'ztunnel',
    node: name,
    addresses,
    isCaptured: false,
  }
}

function istiodAddress({ outside }: PodLab): string {
  return outside.addresses.ipv4 ?? ''
}

function isEcho({ pod }: LabPod): boolean {
  return pod.serviceAccount === 'tcp-echo'
}
