/**
 * The machines of a mesh as network namespaces: a client, a node that the agent runs on, a server that has the addresses
 * of the tcp-echo pods, and the control plane beside them, which the node reaches over both families.
 */
import { FAMILIES } from '../../src/core/family.ts'
import { NamespaceHost } from '../fixtures/namespace-host.ts'
import { createLab, createNamespace } from '../fixtures/namespaces.ts'
import { Cluster } from './cluster.ts'
import { ControlPlane } from './control-plane.ts'
import { ECHO_PODS, ECHO_PORTS, INBOUND_PORT, createScenario } from './scenario.ts'

import type { Test } from 'tap'
import type { Namespace, NamespaceLab } from '../fixtures/namespaces.ts'
import type { IstioBinaries } from './istio-binaries.ts'

export interface MeshLab extends NamespaceLab {
  readonly control: Namespace
  readonly controlPlane: ControlPlane
  /** Holds the scenario. */
  readonly cluster: Cluster
  readonly clientHost: NamespaceHost
  readonly nodeHost: NamespaceHost
  readonly serverHost: NamespaceHost
}

/** The addresses that istiod is reached at. */
export const ISTIOD = { ipv4: '10.244.0.2', ipv6: 'fd00:10:244::2' } as const
const NODE_AT_ISTIOD = { ipv4: '10.244.0.1', ipv6: 'fd00:10:244::1' } as const

/** What the client opens is taken as outbound of its pod, and to one port as inbound of the pod that it goes to. */
const REDIRECTION = `
table inet capture {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "to-client" tcp dport ${INBOUND_PORT} redirect to :15006
    iifname "to-client" tcp dport != { 15001, 15006 } redirect to :15001
  }
}`

/** Makes the namespaces, starts the control plane but not istiod, and creates the scenario; the test's end ends all. */
export async function createMeshLab(t: Test, binaries: IstioBinaries): Promise<MeshLab> {
  const lab = createLab(t)
  const { node, server } = lab
  const control = createNamespace(t, 'control')
  node.ip(`link add to-control type veth peer name eth0 netns ${control.name}`)
  control.ip('link set eth0 up')
  node.ip(
    'link set to-control up',
    `addr add ${NODE_AT_ISTIOD.ipv4}/24 dev to-control`,
    `addr add ${NODE_AT_ISTIOD.ipv6}/64 dev to-control nodad`,
  )
  control.ip(
    `addr add ${ISTIOD.ipv4}/24 dev eth0`,
    `addr add ${ISTIOD.ipv6}/64 dev eth0 nodad`,
    `route add default via ${NODE_AT_ISTIOD.ipv4}`,
    `route add default via ${NODE_AT_ISTIOD.ipv6}`,
  )
  node.nft(REDIRECTION)
  // The server's own addresses are those of the first pod.
  server.ip(
    ...ECHO_PODS.map(({ addresses }) => `addr replace ${addresses.ipv4}/24 dev eth0`),
    ...ECHO_PODS.map(({ addresses }) => `addr replace ${addresses.ipv6}/64 dev eth0 nodad`),
  )
  const [controlPlane, clientHost, nodeHost, serverHost] = await Promise.all([
    ControlPlane.start(t, control, binaries, ISTIOD.ipv4),
    NamespaceHost.start(t, lab.client),
    NamespaceHost.start(t, node),
    NamespaceHost.start(t, server),
  ])
  for (const { addresses } of ECHO_PODS) {
    for (const family of FAMILIES) {
      for (const port of ECHO_PORTS) await serverHost.listen(addresses[family], port)
    }
  }
  const cluster = new Cluster(controlPlane)
  await createScenario(cluster)
  return { ...lab, control, controlPlane, cluster, clientHost, nodeHost, serverHost }
}
