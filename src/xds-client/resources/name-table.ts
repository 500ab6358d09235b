/** Decodes istio.networking.nds.v1.NameTable: the addresses that istiod knows for host names. */
import { decodeResource, delimited, readFields, readNested, wireFields } from '../wire-message.ts'

import type { Result } from '../../core/result.ts'

/** What a host name stands for. */
export interface NameEntry {
  /** As istiod writes them: addresses of both families, not looked at yet. */
  readonly ips: readonly string[]
  /** Where the name comes from, such as `Kubernetes`. */
  readonly registry: string
  readonly shortname: string
  readonly namespace: string
}

/** Entries by host name. */
export type NameTable = ReadonlyMap<string, NameEntry>

interface EntryDraft {
  ips: string[]
  registry: string
  shortname: string
  namespace: string
}

const NAME_INFO = wireFields<EntryDraft, undefined>({
  1: delimited((draft, reader) => draft.ips.push(reader.string())),
  2: delimited((draft, reader) => (draft.registry = reader.string())),
  3: delimited((draft, reader) => (draft.shortname = reader.string())),
  4: delimited((draft, reader) => (draft.namespace = reader.string())),
})
const TABLE_ENTRY = wireFields<{ hostname: string; entry: EntryDraft }, undefined>({
  1: delimited((draft, reader) => (draft.hostname = reader.string())),
  2: delimited((draft, reader) => readNested(reader, NAME_INFO, draft.entry, undefined)),
})
const NAME_TABLE = wireFields<Map<string, NameEntry>, undefined>({
  1: delimited((table, reader) => {
    const draft = { hostname: '', entry: { ips: [], registry: '', shortname: '', namespace: '' } }
    readNested(reader, TABLE_ENTRY, draft, undefined)
    table.set(draft.hostname, draft.entry)
  }),
})

/** Decodes a NameTable. An empty one is a table without names. */
export function decodeNameTableResource(value: Uint8Array): Result<NameTable> {
  return decodeResource(value, (reader) => {
    const table = new Map<string, NameEntry>()
    readFields(reader, NAME_TABLE, table, undefined)
    return table
  })
}
