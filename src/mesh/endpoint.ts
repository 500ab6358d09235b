/** One application instance with all of its addresses: the record that the whole model is built on. */
import type { SocketAddress } from '../core/address.ts'

/**
 * What the control plane says of an endpoint. Envoy's UNKNOWN is `healthy`; UNHEALTHY, DRAINING and TIMEOUT are
 * `unhealthy`. What this node found out by itself is kept per family in proxy/endpoint-health.ts, not here.
 */
export type EndpointHealth = 'healthy' | 'degraded' | 'unhealthy'

/** Where an endpoint runs. A part that is not known is empty. */
export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

/** One application instance. Both of its families are in this one record; nothing exists once per family. */
export interface Endpoint {
  /**
   * Names the instance across updates and upstreams; health, load and live connections are remembered by it. It stays
   * when an address of the other family joins or leaves.
   */
  readonly id: string
  /** At least one, canonical, without repetition, in the order of the control plane. */
  readonly addresses: readonly SocketAddress[]
  /** Share of the connections among endpoints of one priority; 1 or more. */
  readonly weight: number
  /** 0 is tried first; 0–128 (Envoy's LocalityLbEndpoints.priority). */
  readonly priority: number
  readonly health: EndpointHealth
  readonly locality?: Locality
  /** Weight of the locality as a whole; counts only in an upstream that is `localityWeighted`. */
  readonly localityWeight?: number
  /** `hbone`: the mesh wants mTLS to this endpoint, so plain text is not a substitute. */
  readonly protocol: 'tcp' | 'hbone'
  /**
   * A pod of the node that the client is a pod of. Its answers to the client's address may reach the client past the node, by
   * a bridge that both are on, so that the address is no source for connections to it.
   */
  readonly isBesideClient?: boolean
  /** The workload behind the endpoint, where the control plane says so; source of metric labels. */
  readonly workload?: WorkloadLabels
}

/** What metrics and logs say about a workload. A part that is not known is empty. */
export interface WorkloadLabels {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly cluster: string
  readonly locality: Locality
}

/** What metrics and logs say about the service that a client asked for. */
export interface ServiceLabels {
  readonly hostname: string
  readonly namespace: string
  readonly name: string
}
