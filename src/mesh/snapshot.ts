/** What the mesh is at one moment: its resources by kind and key, the indexes over them, and the steps that change it. */
import { PolicyIndex } from './policy-index.ts'
import { ServiceIndex } from './service-index.ts'
import { ShardedMap } from './collections/sharded-map.ts'
import { WorkloadIndex } from './workload-index.ts'
import { policyKey, serviceKey } from './workload.ts'

import type { IpAddress } from '../core/address.ts'
import type { Cluster, LoadAssignment } from './cluster.ts'
import type { Listener } from './listener.ts'
import type { AuthorizationPolicy, Service, Workload } from './workload.ts'

/** The addresses that a host name resolved to, both families together. */
export interface ResolvedHost {
  readonly hostname: string
  readonly addresses: readonly IpAddress[]
}

/**
 * What the control plane has for a host name: the virtual addresses of a service, or those of the pods of a headless one,
 * both families together.
 */
export interface NameEntry {
  readonly hostname: string
  readonly addresses: readonly IpAddress[]
}

/** The resources of a mesh by kind. Envoy's: listener, cluster, assignment, name. Ambient's: workload, service, policy. */
export interface MeshResources {
  readonly listener: Listener
  readonly cluster: Cluster
  readonly assignment: LoadAssignment
  readonly name: NameEntry
  readonly workload: Workload
  readonly service: Service
  readonly policy: AuthorizationPolicy
  readonly host: ResolvedHost
}

export type ResourceKind = keyof MeshResources

/** Every kind, in the order in which tables list them. */
export const RESOURCE_KINDS: readonly ResourceKind[] = [
  'listener',
  'cluster',
  'assignment',
  'name',
  'workload',
  'service',
  'policy',
  'host',
]

/** One state of the mesh. Maps are by key: name, host name, uid, `namespace/hostname`, `namespace/name`. */
export type MeshSnapshot = {
  readonly [Kind in ResourceKind]: ShardedMap<string, MeshResources[Kind]>
} & {
  readonly workloadIndex: WorkloadIndex
  readonly serviceIndex: ServiceIndex
  readonly policyIndex: PolicyIndex
  /** Grows by one with each batch that changed something. */
  readonly version: number
}

/** One step of a batch. */
export type MeshUpdate = MeshUpsert | { readonly kind: ResourceKind; readonly remove: string }

/** A resource that is new or takes the place of the one with its key. */
export type MeshUpsert = {
  [Kind in ResourceKind]: { readonly kind: Kind; readonly upsert: MeshResources[Kind] }
}[ResourceKind]

/** The keys that a batch added, changed or removed, by kind; kinds without a change are left out. */
export type MeshChange = ReadonlyMap<ResourceKind, ReadonlySet<string>>

const KEY_OF: { readonly [Kind in ResourceKind]: (resource: MeshResources[Kind]) => string } = {
  listener: (listener) => listener.name,
  cluster: (cluster) => cluster.name,
  assignment: (assignment) => assignment.name,
  name: (name) => name.hostname,
  workload: (workload) => workload.uid,
  service: serviceKey,
  policy: policyKey,
  host: (host) => host.hostname,
}

/** The key by which the store holds a resource. */
export function keyOf<Kind extends ResourceKind>(kind: Kind, resource: MeshResources[Kind]): string {
  return KEY_OF[kind](resource)
}

/** A mesh without resources. */
export function emptySnapshot(): MeshSnapshot {
  return {
    version: 0,
    listener: new ShardedMap(),
    cluster: new ShardedMap(),
    assignment: new ShardedMap(),
    name: new ShardedMap(),
    workload: new ShardedMap(),
    service: new ShardedMap(),
    policy: new ShardedMap(),
    host: new ShardedMap(),
    workloadIndex: new WorkloadIndex(),
    serviceIndex: new ServiceIndex(),
    policyIndex: new PolicyIndex(),
  }
}
