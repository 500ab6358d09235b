/**
 * A batch that is applied in slices: each `stage` costs its own updates, and what is staged, indexes included, stands
 * beside the snapshot in force until `commit` swaps the two.
 */
import { packIp } from '../core/packed-ip.ts'
import { KindDraft } from './kind-draft.ts'
import { PolicyIndexDraft } from './policy-index.ts'
import { ServiceIndexDraft } from './service-index.ts'
import { RESOURCE_KINDS, keyOf } from './snapshot.ts'
import { WorkloadIndexDraft } from './workload-index.ts'

import type { MeshChange, MeshResources, MeshSnapshot, MeshUpdate, ResourceKind } from './snapshot.ts'
import type { Workload } from './workload.ts'

/** Where a draft comes from and what it becomes. */
export interface DraftOrigin {
  readonly current: () => MeshSnapshot
  readonly swap: (snapshot: MeshSnapshot, change: MeshChange) => void
}

type KindDrafts = { readonly [Kind in ResourceKind]: KindDraft<MeshResources[Kind]> }

export class MeshDraft {
  readonly #origin: DraftOrigin
  readonly #base: MeshSnapshot
  readonly #workloadIndex: WorkloadIndexDraft
  readonly #serviceIndex: ServiceIndexDraft
  readonly #policyIndex: PolicyIndexDraft
  readonly #kinds: KindDrafts
  #isCommitted = false

  constructor(origin: DraftOrigin) {
    const base = origin.current()
    this.#origin = origin
    this.#base = base
    this.#workloadIndex = new WorkloadIndexDraft(base.workloadIndex)
    this.#serviceIndex = new ServiceIndexDraft(base.serviceIndex)
    this.#policyIndex = new PolicyIndexDraft(base.policyIndex)
    this.#kinds = {
      listener: new KindDraft(base.listener),
      cluster: new KindDraft(base.cluster),
      assignment: new KindDraft(base.assignment),
      workload: new KindDraft(base.workload, this.#workloadIndex),
      service: new KindDraft(base.service, this.#serviceIndex),
      policy: new KindDraft(base.policy, this.#policyIndex),
      host: new KindDraft(base.host),
    }
  }

  /** Adds a slice of the batch: its removals first, then its upserts. A later slice has the last word on a key. */
  stage(updates: readonly MeshUpdate[]): void {
    if (this.#isCommitted) throw new TypeError('a draft that is committed takes no more updates')
    for (const update of updates) if ('remove' in update) this.#kinds[update.kind].remove(update.remove)
    for (const update of updates) {
      if (!('upsert' in update)) continue
      if (update.kind === 'workload') this.#upsert('workload', packed(update.upsert))
      else this.#upsert(update.kind, update.upsert)
    }
  }

  /**
   * Swaps the snapshot in force for the staged one, and tells the watchers once. Costs the number of shards, not that of
   * the resources, unless another batch has changed a kind that this one touches: then all is staged again on top of it.
   */
  commit(): MeshChange {
    if (this.#isCommitted) throw new TypeError('a draft is committed once')
    const current = this.#origin.current()
    if (RESOURCE_KINDS.some((kind) => this.#isOvertaken(kind, current))) return this.#restaged().commit()
    this.#isCommitted = true
    const change = new Map<ResourceKind, ReadonlySet<string>>()
    for (const kind of RESOURCE_KINDS) {
      const { changed } = this.#kinds[kind]
      if (changed.size > 0) change.set(kind, changed)
    }
    if (change.size > 0) this.#origin.swap(this.#sealed(current, change), change)
    return change
  }

  #upsert<Kind extends ResourceKind>(kind: Kind, resource: MeshResources[Kind]): void {
    this.#kinds[kind].upsert(keyOf(kind, resource), resource)
  }

  #isOvertaken(kind: ResourceKind, current: MeshSnapshot): boolean {
    return this.#kinds[kind].staged.size > 0 && this.#base[kind] !== current[kind]
  }

  #restaged(): MeshDraft {
    this.#isCommitted = true
    const draft = new MeshDraft(this.#origin)
    for (const kind of RESOURCE_KINDS) restage(kind, this.#kinds, draft.#kinds)
    return draft
  }

  /** Kinds without a change keep their map and their index, so that what was made from them holds. */
  #sealed(current: MeshSnapshot, change: MeshChange): MeshSnapshot {
    const kinds = this.#kinds
    const policy = kinds.policy.seal(current.policy)
    return {
      version: current.version + 1,
      listener: kinds.listener.seal(current.listener),
      cluster: kinds.cluster.seal(current.cluster),
      assignment: kinds.assignment.seal(current.assignment),
      workload: kinds.workload.seal(current.workload),
      service: kinds.service.seal(current.service),
      policy,
      host: kinds.host.seal(current.host),
      workloadIndex: change.has('workload') ? this.#workloadIndex.seal() : current.workloadIndex,
      serviceIndex: change.has('service') ? this.#serviceIndex.seal() : current.serviceIndex,
      policyIndex: change.has('policy') ? this.#policyIndex.seal(policy) : current.policyIndex,
    }
  }
}

function restage<Kind extends ResourceKind>(
  kind: Kind,
  from: Pick<KindDrafts, Kind>,
  onto: Pick<KindDrafts, Kind>,
): void {
  onto[kind].stageAll(from[kind])
}

/** Workloads are the many; their addresses are held in the small form. */
function packed(workload: Workload): Workload {
  return { ...workload, addresses: workload.addresses.map(packIp) }
}
