/**
 * The cluster that the tests start with: Istio's tcp-echo in the namespaces dual-stack, ipv4 and ipv6, each with a
 * service of these families in front of pods that have both, and a client that calls them.
 */
import { FAMILIES } from '../../src/core/family.ts'
import { LAB } from '../fixtures/namespaces.ts'

import type { Family } from '../../src/core/family.ts'
import type { Addresses, Cluster, Manifest, Pod, Service } from './cluster.ts'

/** Both addresses of something. */
export type AddressPair = Readonly<Record<Family, string>>

/** A tcp-echo pod. Its application runs in the lab also before and after the cluster knows the pod. */
export interface EchoPod extends Pod {
  readonly addresses: AddressPair
}

/** The ports of tcp-echo; the last one is in none of its services. */
export const ECHO_PORTS = [9_000, 9_001, 9_002] as const
/** The port of its services that the tests call. */
export const ECHO_PORT = ECHO_PORTS[0]
/** What the agent takes as a connection into the pod, see mesh-lab.ts. */
export const INBOUND_PORT = ECHO_PORTS[2]

/** The client, and the node proxy. */
export const SLEEP = podOf('default', 'sleep-0', 'sleep', LAB.client, { node: 'node-a', isCaptured: true })
export const PROXY = podOf(
  'istio-system',
  'ztunnel-0',
  'ztunnel',
  { ipv4: '10.244.0.10', ipv6: 'fd00:10:244::10' },
  { node: 'node-a', isCaptured: false },
)

/** What runs from the start. */
export const PODS = {
  dual: [echoPod('dual-stack', 'tcp-echo-0', 2), echoPod('dual-stack', 'tcp-echo-1', 6)],
  ipv4: [echoPod('ipv4', 'tcp-echo-0', 3)],
  ipv6: [echoPod('ipv6', 'tcp-echo-0', 4)],
} as const
/** A pod of dual-stack that tests add. */
export const ADDED_POD = echoPod('dual-stack', 'tcp-echo-2', 7)
/** Another one. */
export const REPLACEMENT_POD = echoPod('dual-stack', 'tcp-echo-3', 8)
/** A pod that istio-cni has not captured: it takes plain connections. */
export const PLAIN_POD: EchoPod = { ...echoPod('dual-stack', 'tcp-echo-4', 9), isCaptured: false }

export const ECHO_PODS: readonly EchoPod[] = [
  ...PODS.dual,
  ...PODS.ipv4,
  ...PODS.ipv6,
  ADDED_POD,
  REPLACEMENT_POD,
  PLAIN_POD,
]

/** IPv6 first, as the manifest of Istio's sample has it. */
export const DUAL_VIPS: AddressPair = { ipv6: 'fd00:10:96::f9fc', ipv4: '10.96.106.11' }
/** The second address is of when the service becomes dual-stack. */
export const IPV4_VIPS: AddressPair = { ipv4: '10.96.106.12', ipv6: 'fd00:10:96::f9fe' }
export const IPV6_VIP = 'fd00:10:96::f9fd'

export const SERVICES = {
  dual: echoService('dual-stack', [
    ['ipv6', DUAL_VIPS.ipv6],
    ['ipv4', DUAL_VIPS.ipv4],
  ]),
  ipv4: echoService('ipv4', [['ipv4', IPV4_VIPS.ipv4]]),
  ipv6: echoService('ipv6', [['ipv6', IPV6_VIP]]),
} as const
/** {@link SERVICES}.ipv4 after it has become dual-stack. */
export const IPV4_SERVICE_AS_DUAL = echoService('ipv4', [
  ['ipv4', IPV4_VIPS.ipv4],
  ['ipv6', IPV4_VIPS.ipv6],
])

/** The calls of the sample: a client of each family to each service that has an address in it. */
export const CALLS = [
  { service: 'dual-stack', family: 'ipv4', host: DUAL_VIPS.ipv4, pods: PODS.dual },
  { service: 'dual-stack', family: 'ipv6', host: DUAL_VIPS.ipv6, pods: PODS.dual },
  { service: 'ipv4', family: 'ipv4', host: IPV4_VIPS.ipv4, pods: PODS.ipv4 },
  { service: 'ipv6', family: 'ipv6', host: IPV6_VIP, pods: PODS.ipv6 },
] as const

/** Denies the client what is inbound to the pods of dual-stack. */
export const DENY_SLEEP = denySleep(FAMILIES.map((family) => LAB.client[family]))

/** The uid that istiod gives a pod. */
export function uidOf({ namespace, name }: Pod): string {
  return `Kubernetes//Pod/${namespace}/${name}`
}

/** The same for a client that has these addresses. */
export function denySleep(ipBlocks: readonly string[]): Manifest {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'dual-stack', name: 'deny-sleep' },
    spec: {
      selector: { matchLabels: { app: 'tcp-echo' } },
      action: 'DENY',
      rules: [{ from: [{ source: { ipBlocks } }] }],
    },
  }
}

/** Creates all of it, where pods are given with these in the place of its own. */
export async function createScenario(
  cluster: Cluster,
  pods: readonly Pod[] = [SLEEP, PROXY, ...PODS.dual, ...PODS.ipv4, ...PODS.ipv6],
): Promise<void> {
  const nodes = new Set(pods.map(({ node }) => node))
  const accounts = new Map(pods.map((pod) => [`${pod.namespace}/${pod.app}`, pod]))
  await cluster.apply([
    ...['dual-stack', 'ipv4', 'ipv6', 'default'].map(namespaceManifest),
    ...Array.from(nodes, nodeManifest),
    ...Array.from(accounts.values(), ({ namespace, app }) => accountManifest(namespace, app)),
  ])
  await cluster.setServices(...Object.values(SERVICES))
  await cluster.setPods(...pods)
}

function podOf(
  namespace: string,
  name: string,
  app: string,
  addresses: Addresses,
  rest: Pick<Pod, 'node' | 'isCaptured'>,
): Pod {
  return { namespace, name, app, addresses, ...rest }
}

function echoPod(namespace: string, name: string, host: number): EchoPod {
  return {
    namespace,
    name,
    app: 'tcp-echo',
    addresses: { ipv4: `10.244.2.${host}`, ipv6: `fd00:10:244:2::${host}` },
    node: 'node-b',
    isCaptured: true,
  }
}

function echoService(namespace: string, addresses: Service['addresses']): Service {
  return {
    namespace,
    name: 'tcp-echo',
    app: 'tcp-echo',
    addresses,
    ports: [
      { name: 'tcp', port: 9_000 },
      { name: 'tcp-other', port: 9_001 },
    ],
  }
}

function namespaceManifest(name: string): Manifest {
  const labels = { 'istio.io/dataplane-mode': 'ambient' }
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
}

function nodeManifest(name: string): Manifest {
  const labels = { 'topology.kubernetes.io/region': 'region', 'topology.kubernetes.io/zone': 'zone' }
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } }
}

function accountManifest(namespace: string, name: string): Manifest {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } }
}
