/**
 * The objects of a cluster, and what its controllers would do about them: the status that a kubelet gives a pod, the
 * EndpointSlices that a controller keeps for a service.
 */
import { FAMILIES } from '../../src/core/family.ts'

import type { Family } from '../../src/core/family.ts'
import type { ControlPlane } from './control-plane.ts'

/** An address of each family that there is. */
export type Addresses = Readonly<Partial<Record<Family, string>>>

export interface Pod {
  readonly namespace: string
  readonly name: string
  /** The label that services select by; also the name of its service account. */
  readonly app: string
  readonly node: string
  readonly addresses: Addresses
  /** True where istio-cni has redirected its traffic, so that it takes HBONE. */
  readonly isCaptured: boolean
}

export interface Service {
  readonly namespace: string
  readonly name: string
  /** The label of its pods. */
  readonly app: string
  /** One for each of its families; the first is the primary one, as Kubernetes has it. */
  readonly addresses: readonly (readonly [family: Family, address: string])[]
  readonly ports: readonly ServicePort[]
}

export interface ServicePort {
  readonly name: string
  readonly port: number
}

/** An object as its manifest has it. */
export type Manifest = Readonly<Record<string, unknown>>

const APPLY = ['apply', '--server-side', '--force-conflicts', '--validate=ignore', '--filename', '-']
const ADDRESS_TYPES: Readonly<Record<Family, string>> = { ipv4: 'IPv4', ipv6: 'IPv6' }

export class Cluster {
  readonly #controlPlane: ControlPlane
  readonly #pods = new Map<string, Pod>()
  readonly #services = new Map<string, Service>()

  constructor(controlPlane: ControlPlane) {
    this.#controlPlane = controlPlane
  }

  /** Creates or changes objects of any kind. */
  async apply(manifests: readonly Manifest[]): Promise<void> {
    await this.#controlPlane.kubectl(APPLY, listOf(manifests))
  }

  /** Removes an object. */
  async delete(kind: string, namespace: string, name: string): Promise<void> {
    const command = [
      'delete',
      kind,
      name,
      '--namespace',
      namespace,
      '--wait=false',
      '--grace-period=0',
      '--force',
    ]
    await this.#controlPlane.kubectl(command)
  }

  /** Creates services, or changes those that are there. */
  async setServices(...services: readonly Service[]): Promise<void> {
    for (const service of services) this.#services.set(keyOf(service), service)
    await this.apply([...services.map(serviceManifest), ...this.#slicesOf(services)])
  }

  /** Creates pods that run and are ready, or changes those that are there. */
  async setPods(...pods: readonly Pod[]): Promise<void> {
    await this.createPods(...pods)
    await this.runPods(...pods)
  }

  /** Creates pods that have no address yet: istiod tells nobody of them. */
  async createPods(...pods: readonly Pod[]): Promise<void> {
    await this.apply(pods.map(podManifest))
  }

  /** Has pods that were created run and be ready. */
  async runPods(...pods: readonly Pod[]): Promise<void> {
    for (const pod of pods) this.#pods.set(keyOf(pod), pod)
    // In a call of its own: the status is not part of the object for who creates it.
    await this.#controlPlane.kubectl([...APPLY, '--subresource=status'], listOf(pods.map(statusManifest)))
    await this.apply(this.#slicesOf(this.#servicesOf(pods)))
  }

  async deletePod(pod: Pod): Promise<void> {
    this.#pods.delete(keyOf(pod))
    await this.delete('pod', pod.namespace, pod.name)
    await this.apply(this.#slicesOf(this.#servicesOf([pod])))
  }

  #servicesOf(pods: readonly Pod[]): readonly Service[] {
    return [...this.#services.values()].filter((service) => pods.some((pod) => selects(service, pod)))
  }

  #slicesOf(services: readonly Service[]): readonly Manifest[] {
    return services.flatMap((service) => {
      const pods = [...this.#pods.values()].filter((pod) => selects(service, pod))
      return service.addresses.map(([family]) => sliceManifest(service, family, pods))
    })
  }
}

function selects(service: Service, pod: Pod): boolean {
  return service.namespace === pod.namespace && service.app === pod.app
}

function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`
}

function listOf(items: readonly Manifest[]): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
}

function podManifest({ namespace, name, app, node, isCaptured }: Pod): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace,
      name,
      labels: { app, version: 'v1' },
      ...(isCaptured && { annotations: { 'ambient.istio.io/redirection': 'enabled' } }),
    },
    spec: { nodeName: node, serviceAccountName: app, containers: [{ name: 'app', image: 'none' }] },
  }
}

function statusManifest({ namespace, name, addresses }: Pod): Manifest {
  const podIPs = FAMILIES.flatMap((family) => addresses[family] ?? []).map((ip) => ({ ip }))
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name },
    status: {
      phase: 'Running',
      podIP: podIPs[0]?.ip,
      podIPs,
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

function serviceManifest({ namespace, name, app, addresses, ports }: Service): Manifest {
  const clusterIPs = addresses.map(([, address]) => address)
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: {
      selector: { app },
      ipFamilyPolicy: addresses.length === 1 ? 'SingleStack' : 'RequireDualStack',
      ipFamilies: addresses.map(([family]) => ADDRESS_TYPES[family]),
      clusterIP: clusterIPs[0],
      clusterIPs,
      ports: ports.map(({ name, port }) => ({ name, port, targetPort: port, protocol: 'TCP' })),
    },
  }
}

function sliceManifest(service: Service, family: Family, pods: readonly Pod[]): Manifest {
  const { namespace, name, ports } = service
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace,
      name: `${name}-${family}`,
      labels: { 'kubernetes.io/service-name': name },
      // As the controller does: istiod makes endpoints anew when a slice is written, not when a pod changes.
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': new Date().toISOString() },
    },
    addressType: ADDRESS_TYPES[family],
    ports: ports.map((port) => ({ ...port, protocol: 'TCP' })),
    endpoints: pods.flatMap((pod) => {
      const address = pod.addresses[family]
      if (address === undefined) return []
      return {
        addresses: [address],
        conditions: { ready: true },
        nodeName: pod.node,
        targetRef: { kind: 'Pod', namespace, name: pod.name },
      }
    }),
  }
}
