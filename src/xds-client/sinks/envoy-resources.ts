/**
 * What a control plane has said of clusters, assignments and listeners, and what of it is in force. Makes before it
 * breaks: a cluster is used once its endpoints are there, a listener once its clusters are, and a cluster goes when no
 * listener names it any more; until then what was in force stays. Pure: time is an argument, changes are the result.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
 */
import { isDeepStrictEqual } from 'node:util'

import type { Cluster, LoadAssignment } from '../../mesh/cluster.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { MeshUpdate } from '../../mesh/store.ts'

/** How long a cluster waits for its assignment where it does not say, as Envoy. */
export const INITIAL_FETCH_TIMEOUT_MS = 15_000
/**
 * How long a listener waits for its clusters, a cluster that is gone for the listeners that still name it, and one that
 * has changed for its assignment to come again. A control plane that keeps its order needs less than a second.
 */
export const ORDER_TIMEOUT_MS = 15_000

/** What became of the resources of one type. */
export interface TypeChange<Resource> {
  readonly upserts: readonly Resource[]
  /** Names. */
  readonly removed: readonly string[]
}

/** A resource on its way from one version to the next. */
interface Transition<Resource> {
  inForce: Resource | undefined
  /** What the control plane has; `undefined` when it is gone there. The same object as `inForce` when all is done. */
  latest: Resource | undefined
  /** When `latest` is put in force whatever is still missing; Infinity: never. */
  dueMs: number
}

export class EnvoyResources {
  readonly #clusters = new Map<string, Transition<Cluster>>()
  readonly #listeners = new Map<string, Transition<Listener>>()
  readonly #assignments = new Map<string, LoadAssignment>()
  #assignmentNames: ReadonlySet<string> = new Set()

  /** The assignments that clusters of the control plane need. */
  get assignmentNames(): ReadonlySet<string> {
    return this.#assignmentNames
  }

  /** The clusters that the control plane has. */
  get clusterNames(): readonly string[] {
    return namesOf(this.#clusters)
  }

  /** The listeners that the control plane has. */
  get listenerNames(): readonly string[] {
    return namesOf(this.#listeners)
  }

  /** False while something new cannot be used: a cluster without its assignment, or a listener without its clusters. */
  get isComplete(): boolean {
    return [this.#clusters, this.#listeners].every((table) =>
      [...table.values()].every(({ inForce }) => inForce !== undefined),
    )
  }

  /** When `settle` has to be called because time passes; `undefined`: nothing waits for that. */
  get nextDueMs(): number | undefined {
    let nextMs = Infinity
    for (const table of [this.#clusters, this.#listeners])
      for (const { inForce, latest, dueMs } of table.values())
        if (inForce !== latest) nextMs = Math.min(nextMs, dueMs)
    return nextMs === Infinity ? undefined : nextMs
  }

  /** The held object that is equal to a cluster, or the cluster itself. Costs a comparison of the two. */
  knownCluster(cluster: Cluster): Cluster {
    return knownIn(this.#clusters.get(cluster.name), cluster)
  }

  /** The held object that is equal to a listener, or the listener itself. Costs a comparison of the two. */
  knownListener(listener: Listener): Listener {
    return knownIn(this.#listeners.get(listener.name), listener)
  }

  /** Takes clusters that came through `knownCluster`, and says what changes in the mesh. */
  updateClusters({ upserts, removed }: TypeChange<Cluster>, nowMs: number): readonly MeshUpdate[] {
    for (const cluster of upserts) advance(this.#clusters, cluster, nowMs + this.#patienceWith(cluster))
    for (const name of removed) retire(this.#clusters, name, nowMs)
    return this.settle(nowMs)
  }

  /** Takes listeners that came through `knownListener`, and says what changes in the mesh. */
  updateListeners({ upserts, removed }: TypeChange<Listener>, nowMs: number): readonly MeshUpdate[] {
    for (const listener of upserts) advance(this.#listeners, listener, nowMs + ORDER_TIMEOUT_MS)
    for (const name of removed) retire(this.#listeners, name, nowMs)
    return this.settle(nowMs)
  }

  /**
   * Takes assignments, and says what changes in the mesh. One that the control plane does not have ends the wait for it,
   * and keeps the endpoints that there are: it does not empty a cluster.
   */
  updateAssignments({ upserts, removed }: TypeChange<LoadAssignment>, nowMs: number): readonly MeshUpdate[] {
    const needed = upserts.filter(({ name }) => this.#assignmentNames.has(name))
    for (const assignment of needed) this.#assignments.set(assignment.name, assignment)
    const arrived = new Set([...needed.map(({ name }) => name), ...removed])
    return [
      ...needed.map((upsert): MeshUpdate => ({ kind: 'assignment', upsert })),
      ...this.settle(nowMs, arrived),
    ]
  }

  /** Puts in force what has nothing more to wait for, and says what changes in the mesh. Costs the number of resources. */
  settle(nowMs: number, arrived: ReadonlySet<string> = new Set()): readonly MeshUpdate[] {
    return [
      ...this.#useClusters(nowMs, arrived),
      ...this.#useListeners(nowMs),
      ...this.#dropClusters(nowMs),
      ...this.#dropAssignments(),
    ]
  }

  /** A control plane need not send again what it has sent: what there is of a changed cluster is used in the end. */
  #patienceWith({ name, discovery }: Cluster): number {
    if (discovery.kind !== 'eds') return 0
    const { assignmentName, initialFetchTimeoutMs = INITIAL_FETCH_TIMEOUT_MS } = discovery
    const timeoutMs = initialFetchTimeoutMs === 0 ? Infinity : initialFetchTimeoutMs
    const canServe = this.#clusters.get(name)?.inForce !== undefined && this.#assignments.has(assignmentName)
    return canServe ? Math.min(timeoutMs, ORDER_TIMEOUT_MS) : timeoutMs
  }

  #useClusters(nowMs: number, arrived: ReadonlySet<string>): readonly MeshUpdate[] {
    const updates: MeshUpdate[] = []
    for (const cluster of this.#clusters.values()) {
      const { latest, inForce } = cluster
      if (latest === undefined || latest === inForce) continue
      if (cluster.dueMs > nowMs && !this.#hasEndpoints(latest, inForce === undefined, arrived)) continue
      cluster.inForce = latest
      updates.push({ kind: 'cluster', upsert: latest })
    }
    return updates
  }

  /** A changed cluster waits for its assignment to come again, even unchanged: what there is may belong to the old one. */
  #hasEndpoints({ discovery }: Cluster, isNew: boolean, arrived: ReadonlySet<string>): boolean {
    if (discovery.kind !== 'eds') return true
    const { assignmentName } = discovery
    return arrived.has(assignmentName) || (isNew && this.#assignments.has(assignmentName))
  }

  #useListeners(nowMs: number): readonly MeshUpdate[] {
    const updates: MeshUpdate[] = []
    for (const [name, listener] of this.#listeners) {
      const { latest, inForce } = listener
      if (latest === inForce) continue
      if (latest === undefined) {
        this.#listeners.delete(name)
        updates.push({ kind: 'listener', remove: name })
      } else if (listener.dueMs <= nowMs || !clusterNamesOf(latest).some((each) => this.#isAwaited(each))) {
        listener.inForce = latest
        updates.push({ kind: 'listener', upsert: latest })
      }
    }
    return updates
  }

  /** The control plane has the cluster, and no version of it can be used yet. One that it does not have is not awaited. */
  #isAwaited(clusterName: string): boolean {
    const cluster = this.#clusters.get(clusterName)
    return cluster?.latest !== undefined && cluster.inForce === undefined
  }

  #dropClusters(nowMs: number): readonly MeshUpdate[] {
    const gone = [...this.#clusters].filter(([, { latest }]) => latest === undefined)
    if (gone.length === 0) return []
    const named = new Set(
      [...this.#listeners.values()].flatMap(({ inForce, latest }) =>
        [inForce, latest].flatMap((listener) => (listener === undefined ? [] : clusterNamesOf(listener))),
      ),
    )
    const dropped = gone.filter(([name, { dueMs }]) => !named.has(name) || dueMs <= nowMs)
    return dropped.map(([name]) => {
      this.#clusters.delete(name)
      return { kind: 'cluster', remove: name }
    })
  }

  #dropAssignments(): readonly MeshUpdate[] {
    const needed = new Set<string>()
    const used = new Set<string>()
    for (const { inForce, latest } of this.#clusters.values()) {
      if (latest?.discovery.kind === 'eds') needed.add(latest.discovery.assignmentName)
      if (inForce?.discovery.kind === 'eds') used.add(inForce.discovery.assignmentName)
    }
    this.#assignmentNames = needed
    const dropped = [...this.#assignments.keys()].filter((name) => !needed.has(name) && !used.has(name))
    return dropped.map((name) => {
      this.#assignments.delete(name)
      return { kind: 'assignment', remove: name }
    })
  }
}

function namesOf(table: ReadonlyMap<string, Transition<unknown>>): readonly string[] {
  return [...table].flatMap(([name, { latest }]) => (latest === undefined ? [] : [name]))
}

function knownIn<Resource>(held: Transition<Resource> | undefined, resource: Resource): Resource {
  if (held === undefined) return resource
  return [held.latest, held.inForce].find((each) => isDeepStrictEqual(each, resource)) ?? resource
}

function advance<Resource extends { readonly name: string }>(
  table: Map<string, Transition<Resource>>,
  resource: Resource,
  dueMs: number,
): void {
  const held = table.get(resource.name)
  if (held === undefined) table.set(resource.name, { inForce: undefined, latest: resource, dueMs })
  // The same again does not begin a new wait.
  else if (held.latest !== resource) table.set(resource.name, { ...held, latest: resource, dueMs })
}

function retire(table: Map<string, Transition<unknown>>, name: string, nowMs: number): void {
  const held = table.get(name)
  if (held?.inForce === undefined) table.delete(name)
  else if (held.latest !== undefined)
    table.set(name, { ...held, latest: undefined, dueMs: nowMs + ORDER_TIMEOUT_MS })
}

function clusterNamesOf({ filterChains, defaultFilterChain }: Listener): readonly string[] {
  const chains = defaultFilterChain === undefined ? filterChains : [...filterChains, defaultFilterChain]
  return chains.flatMap((chain) =>
    'tcpProxy' in chain ? chain.tcpProxy.clusters.map(({ name }) => name) : [],
  )
}
