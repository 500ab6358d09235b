/** The resources of one kind while a batch is staged: what they come to, and which of them have become others. */
import { isDeepStrictEqual } from 'node:util'

import { ShardedMapDraft } from './collections/sharded-map-draft.ts'

import type { ShardedMap } from './collections/sharded-map.ts'

/** An index that follows the resources of a kind. */
export interface IndexDraft<Resource> {
  /** Puts `after` in the place of `before`; without the one it is new, without the other it goes. */
  replace(before: Resource | undefined, after: Resource | undefined): void
}

export class KindDraft<Resource extends object> {
  /** Keys whose resource differs from that of the base. */
  readonly changed = new Set<string>()
  /** Keys that the batch has said something of, be it what the base says. */
  readonly staged = new Set<string>()
  /** What was held when the batch began. */
  readonly #base: ShardedMap<string, Resource>
  readonly #index: IndexDraft<Resource> | undefined
  readonly #resources: ShardedMapDraft<string, Resource>

  constructor(base: ShardedMap<string, Resource>, index?: IndexDraft<Resource>) {
    this.#base = base
    this.#index = index
    this.#resources = new ShardedMapDraft(base)
  }

  remove(key: string): void {
    this.#put(key, undefined)
  }

  /** A resource that is equal to that of the base leaves that one in its place. */
  upsert(key: string, resource: Resource): void {
    const held = this.#base.get(key)
    this.#put(key, held !== undefined && isDeepStrictEqual(held, resource) ? held : resource)
  }

  /** Stages what another draft has staged. */
  stageAll(other: KindDraft<Resource>): void {
    for (const key of other.staged) {
      const resource = other.#resources.get(key)
      if (resource === undefined) this.remove(key)
      else this.upsert(key, resource)
    }
  }

  /** The resources after the batch; `current`, those in force, when none has become another. */
  seal(current: ShardedMap<string, Resource>): ShardedMap<string, Resource> {
    return this.changed.size === 0 ? current : this.#resources.seal()
  }

  #put(key: string, resource: Resource | undefined): void {
    this.staged.add(key)
    const current = this.#resources.get(key)
    if (current === resource) return
    this.#index?.replace(current, resource)
    if (resource === undefined) this.#resources.delete(key)
    else this.#resources.set(key, resource)
    // Removed and put back unchanged in one batch is no change.
    if (resource === this.#base.get(key)) this.changed.delete(key)
    else this.changed.add(key)
  }
}
