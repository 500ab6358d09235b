/**
 * Decodes istio.networking.nds.v1.NameTable: the addresses that istiod knows for host names. Of an entry only those are
 * kept; registry, short name and namespace have no reader here.
 */
import { tryParseIp } from '../../core/address.ts'
import { packIp } from '../../core/packed-ip.ts'
import { decodeResource, delimited, readFields, readNested, wireFields } from '../reading/wire-message.ts'

import type { Result } from '../../core/result.ts'
import type { NameEntry } from '../../mesh/store.ts'
import type { EnvoyResource } from './wire-envoy.ts'

/** Addresses by host name, as istiod writes them. Not looked at yet: that is work for slices. */
export type NameTable = ReadonlyMap<string, readonly string[]>

interface EntryDraft {
  readonly ips: string[]
}

const NAME_INFO = wireFields<EntryDraft, undefined>({
  1: delimited((draft, reader) => draft.ips.push(reader.string())),
})
const TABLE_ENTRY = wireFields<EntryDraft & { hostname: string }, undefined>({
  1: delimited((draft, reader) => (draft.hostname = reader.string())),
  2: delimited((draft, reader) => readNested(reader, NAME_INFO, draft, undefined)),
})
const NAME_TABLE = wireFields<Map<string, readonly string[]>, undefined>({
  1: delimited((table, reader) => {
    const draft = { hostname: '', ips: [] }
    readNested(reader, TABLE_ENTRY, draft, undefined)
    table.set(draft.hostname, draft.ips)
  }),
})

/** Decodes a NameTable. An empty one is a table without names. */
export function decodeNameTableResource(value: Uint8Array): Result<NameTable> {
  return decodeResource(value, (reader) => {
    const table = new Map<string, readonly string[]>()
    readFields(reader, NAME_TABLE, table, undefined)
    return table
  })
}

/** Reads one name of a table. A text that is no address is listed and left out. */
export function readNameEntry(hostname: string, ips: readonly string[]): EnvoyResource<NameEntry> {
  const ignoredFields = new Set<string>()
  const addresses = ips.flatMap((text) => {
    const ip = tryParseIp(text)
    if (ip === undefined) ignoredFields.add(`NameInfo.ips(${text})`)
    return ip === undefined ? [] : packIp(ip)
  })
  return { value: { hostname, addresses }, ignoredFields: [...ignoredFields] }
}
