/** What the source of the configuration has done so far, for metrics. */
import { RESOURCE_KINDS } from '../../mesh/store.ts'

import type { MeshSnapshot, MeshStore } from '../../mesh/store.ts'
import type { SourceReadings } from '../metrics/metrics.ts'

export class SourceStatus {
  readonly #store: MeshStore
  readonly #loads = { applied: 0, rejected: 0 }
  #isLastLoadGood = true

  constructor(deps: { readonly store: MeshStore }) {
    this.#store = deps.store
  }

  /** The source was read, and its mesh is in force or was refused. */
  loaded(result: 'applied' | 'rejected'): void {
    this.#loads[result]++
    this.#isLastLoadGood = result === 'applied'
  }

  /** A file counts as connected while its last reading was good. */
  read(): SourceReadings {
    return {
      isConnected: this.#isLastLoadGood,
      messages: [
        { type: 'file', result: 'accepted', count: this.#loads.applied },
        { type: 'file', result: 'rejected', count: this.#loads.rejected },
      ],
      resources: countResources(this.#store.snapshot),
      reconnects: [],
    }
  }
}

/** How many resources of each kind are in force. */
export function countResources(
  snapshot: MeshSnapshot,
): readonly { readonly type: string; readonly count: number }[] {
  return RESOURCE_KINDS.map((type) => ({ type, count: snapshot[type].size }))
}
