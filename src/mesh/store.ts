/**
 * Holds the mesh as one immutable snapshot and replaces it a batch at a time. Readers take `snapshot` once and see one
 * state; they are told which resources changed, once per batch, after the swap.
 */
import { MeshDraft } from './mesh-draft.ts'
import { emptySnapshot, keyOf } from './snapshot.ts'

import type { MeshChange, MeshSnapshot, MeshUpdate, MeshUpsert, ResourceKind } from './snapshot.ts'

// Who works with a store needs one module.
export { RESOURCE_KINDS, keyOf } from './snapshot.ts'
export type { MeshDraft } from './mesh-draft.ts'
export type {
  MeshChange,
  MeshResources,
  MeshSnapshot,
  MeshUpdate,
  MeshUpsert,
  ResolvedHost,
  ResourceKind,
} from './snapshot.ts'

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
   * keeps its identity and does not count as a change. Costs the size of the batch, whatever that of the mesh.
   */
  apply(batch: readonly MeshUpdate[]): MeshChange {
    const draft = this.draft()
    draft.stage(batch)
    return draft.commit()
  }

  /**
   * Starts a batch that is too large to be applied in one turn of the event loop: stage it in slices, then commit. One
   * that is not committed leaves no trace.
   */
  draft(): MeshDraft {
    return new MeshDraft({
      current: () => this.#snapshot,
      swap: (snapshot, change) => {
        this.#snapshot = snapshot
        for (const watcher of [...this.#watchers]) watcher(change, snapshot)
      },
    })
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
