/**
 * What passes between a stream of discovery responses and whoever keeps the resources: one response as one update of one
 * type, resources still encoded. The stream knows nonces and versions, the sink knows what a resource means.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */

/** One resource of a response. */
export interface EncodedResource {
  /** As the delta protocol wraps it; empty in the state-of-the-world protocol, where only the resource itself says. */
  readonly name: string
  /** Empty where the control plane gives resources no versions of their own. */
  readonly version: string
  /** Other names under which it can be subscribed to. */
  readonly aliases: readonly string[]
  /** Of the google.protobuf.Any that holds it; differs from that of the update only in a wrong response. */
  readonly typeUrl: string
  /** A view into the response: a copy must be made of what is kept. */
  readonly value: Uint8Array
}

/** What one response says about one type. */
export interface TypeUpdate {
  readonly typeUrl: string
  /** `version_info` or `system_version_info`. */
  readonly version: string
  readonly resources: readonly EncodedResource[]
  /** Names that are gone, delta only. */
  readonly removed: readonly string[]
  /** True in the state-of-the-world protocol: for listeners and clusters, what is not in `resources` is gone. */
  readonly isWholeState: boolean
}

/** A resource that was not accepted, of which the last good version stays. */
export interface Rejection {
  /** As in the update, or what the resource calls itself; empty when nothing says. */
  readonly name: string
  /** Each names path and problem. */
  readonly problems: readonly string[]
}

/** Whoever keeps resources. */
export interface UpdateSink {
  /**
   * Applies what is good of an update and resolves with the rest, for the NACK. Called for one update at a time. May take
   * long for a large one, in slices that leave the event loop its turns. Never rejects: a defect ends the process.
   */
  apply(update: TypeUpdate): Promise<readonly Rejection[]>
}

/** Type URLs by what the mesh calls the resource. */
export const TYPE_URLS = {
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  assignment: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  nameTable: 'type.googleapis.com/istio.networking.nds.v1.NameTable',
  address: 'type.googleapis.com/istio.workload.Address',
  authorization: 'type.googleapis.com/istio.security.Authorization',
} as const
