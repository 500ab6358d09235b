/**
 * Decodes istio.networking.nds.v1.NameTable: the addresses that istiod knows for host names. Of an entry only those are
 * kept; registry, short name and namespace have no reader here.
 */
import { tryParseIp } from '../../core/address.ts'
import { packIp } from '../../core/packed-ip.ts'
import { decodeResource, delimited, readFields, readNested, wireFields } from '../wire-message.ts'

import type { Result } from '../../core/result.ts'
import type { NameEntry } from '../../mesh/store.ts'
import type { EnvoyResource } from './wire-envoy.ts'

/** Every name, each once. */
export type NameTable = readonly NameEntry[]

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

/** Decodes a NameTable. An empty one is a table without names; an address that is none is listed and left out. */
export function decodeNameTableResource(value: Uint8Array): Result<EnvoyResource<NameTable>> {
  return decodeResource(value, (reader) => {
    const table = new Map<string, readonly string[]>()
    readFields(reader, NAME_TABLE, table, undefined)
    const ignoredFields: string[] = []
    const entries = Array.from(table, ([hostname, ips]) => ({
      hostname,
      addresses: ips.flatMap((text) => {
        const ip = tryParseIp(text)
        if (ip === undefined) ignoredFields.push(`NameInfo.ips(${text} of ${hostname})`)
        return ip === undefined ? [] : packIp(ip)
      }),
    }))
    return { value: entries, ignoredFields: [...new Set(ignoredFields)] }
  })
}
