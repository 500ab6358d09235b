/** Puts the names of a response in force: as one batch, which is read in slices. */
import { decodeUpdate } from './resource-decoding.ts'
import { readNameEntry } from '../resources/name-table.ts'
import { inSlices } from '../slices.ts'

import type { Result } from '../../core/result.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { Rejection, TypeUpdate } from '../discovery.ts'
import type { NameTable } from '../resources/name-table.ts'
import type { SliceDeps } from '../slices.ts'

export interface NameTableDeps extends SliceDeps {
  readonly store: MeshStore
  readonly decode: (value: Uint8Array) => Result<NameTable>
}

/** What became of a response. */
export interface NameTableOutcome {
  readonly rejections: readonly Rejection[]
  /** What was read over, by host name; absent where no table is in force that was not before. */
  readonly ignoredFields?: ReadonlyMap<string, readonly string[]>
}

/** A table is the whole truth of names: those that are not in it go. A response without a good one changes nothing. */
export async function applyNameTable(deps: NameTableDeps, update: TypeUpdate): Promise<NameTableOutcome> {
  const { store, decode } = deps
  const tables: NameTable[] = []
  const rejections = await decodeUpdate(deps, update, { decode }, ({ value }) => tables.push(value))
  const [table] = tables
  if (table === undefined) return { rejections }
  const draft = store.draft()
  const gone = [...store.snapshot.name.keys()].filter((hostname) => !table.has(hostname))
  draft.stage(gone.map((remove) => ({ kind: 'name', remove })))
  const ignored = new Map<string, readonly string[]>()
  await inSlices(deps, table, ([hostname, ips]) => {
    const { value: upsert, ignoredFields } = readNameEntry(hostname, ips)
    if (ignoredFields.length > 0) ignored.set(hostname, ignoredFields)
    draft.stage([{ kind: 'name', upsert }])
  })
  draft.commit()
  return { rejections, ignoredFields: ignored }
}
