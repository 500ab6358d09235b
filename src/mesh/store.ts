/**
 * Holds the mesh as one immutable snapshot and replaces it a batch at a time. Readers take `snapshot` once and see one
 * state; they are told which resources changed, once per batch, after the swap.
 */
import { isDeepStrictEqual } from 'node:util'

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

/** The resources of a mesh by kind. Envoy's: listener, cluster, assignment. Ambient's: workload, service, policy. */
export interface MeshResources {
  readonly listener: Listener
  readonly cluster: Cluster
  readonly assignment: LoadAssignment
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
  'workload',
  'service',
  'policy',
  'host',
]

/** One state of the mesh. Maps are by key: name, uid, `namespace/hostname`, `namespace/name`, host name. */
export type MeshSnapshot = {
  readonly [Kind in ResourceKind]: ReadonlyMap<string, MeshResources[Kind]>
} & {
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
  workload: (workload) => workload.uid,
  service: serviceKey,
  policy: policyKey,
  host: (host) => host.hostname,
}

/** The mesh as it is now, and the only way to change it. */
export class MeshStore {
  readonly #watchers = new Set<(change: MeshChange, snapshot: MeshSnapshot) => void>()
  #snapshot: MeshSnapshot = emptySnapshot()

  get snapshot(): MeshSnapshot {
    return this.#snapshot
  }

  /** Calls `watcher` after each batch that changed something. Returns the function that stops it. */
  watch(watcher: (change: MeshChange, snapshot: MeshSnapshot) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /**
   * Applies a batch as one step: removals first, then upserts, then one swap. A resource that is equal to what is held
   * keeps its identity and does not count as a change. Costs the size of the kinds that the batch touches.
   */
  apply(batch: readonly MeshUpdate[]): MeshChange {
    const draft = new SnapshotDraft(this.#snapshot)
    for (const update of batch) if ('remove' in update) draft.remove(update.kind, update.remove)
    for (const update of batch) if ('upsert' in update) draft.upsert(update.kind, update.upsert)
    const change = draft.change()
    if (change.size === 0) return change
    this.#snapshot = draft.snapshot(change)
    for (const watcher of [...this.#watchers]) watcher(change, this.#snapshot)
    return change
  }

  /**
   * Makes the resources of `kinds` exactly those of `upserts`, as one batch: what a file, or a response that is the
   * whole state of a type, means.
   */
  replace(kinds: readonly ResourceKind[], upserts: readonly MeshUpsert[]): MeshChange {
    const kept = new Set(upserts.map((update) => `${update.kind} ${keyOf(update.kind, update.upsert)}`))
    const removals: MeshUpdate[] = []
    for (const kind of kinds) {
      for (const key of this.#snapshot[kind].keys())
        if (!kept.has(`${kind} ${key}`)) removals.push({ kind, remove: key })
    }
    return this.apply([...removals, ...upserts])
  }
}

/** The key by which the store holds a resource. */
export function keyOf<Kind extends ResourceKind>(kind: Kind, resource: MeshResources[Kind]): string {
  return KEY_OF[kind](resource)
}

/** A copy of the maps that a batch touches, and what it changed in them. */
class SnapshotDraft {
  readonly #base: MeshSnapshot
  readonly #maps = new Map<ResourceKind, Map<string, MeshResources[ResourceKind]>>()
  readonly #touched = new Map<ResourceKind, Set<string>>()

  constructor(base: MeshSnapshot) {
    this.#base = base
  }

  remove(kind: ResourceKind, key: string): void {
    if (this.#map(kind).delete(key)) this.#touch(kind, key)
  }

  upsert<Kind extends ResourceKind>(kind: Kind, resource: MeshResources[Kind]): void {
    const key = keyOf(kind, resource)
    const held = this.#base[kind].get(key)
    if (held !== undefined && isDeepStrictEqual(held, resource)) {
      this.#map(kind).set(key, held)
      return
    }
    this.#map(kind).set(key, resource)
    this.#touch(kind, key)
  }

  /** What differs from the base in the end: a resource removed and put back unchanged in one batch has not changed. */
  change(): MeshChange {
    const change = new Map<ResourceKind, ReadonlySet<string>>()
    for (const [kind, keys] of this.#touched) {
      const differing = [...keys].filter((key) => this.#map(kind).get(key) !== this.#base[kind].get(key))
      if (differing.length > 0) change.set(kind, new Set(differing))
    }
    return change
  }

  /** Kinds without a change keep their map, so that what was built from it holds. */
  snapshot(change: MeshChange): MeshSnapshot {
    const maps = [...this.#maps].filter(([kind]) => change.has(kind))
    return { ...this.#base, ...Object.fromEntries(maps), version: this.#base.version + 1 }
  }

  #map(kind: ResourceKind): Map<string, MeshResources[ResourceKind]> {
    let map = this.#maps.get(kind)
    if (map === undefined) {
      map = new Map<string, MeshResources[ResourceKind]>(this.#base[kind])
      this.#maps.set(kind, map)
    }
    return map
  }

  #touch(kind: ResourceKind, key: string): void {
    const keys = this.#touched.get(kind)
    if (keys === undefined) this.#touched.set(kind, new Set([key]))
    else keys.add(key)
  }
}

function emptySnapshot(): MeshSnapshot {
  return {
    version: 0,
    listener: new Map(),
    cluster: new Map(),
    assignment: new Map(),
    workload: new Map(),
    service: new Map(),
    policy: new Map(),
    host: new Map(),
  }
}
