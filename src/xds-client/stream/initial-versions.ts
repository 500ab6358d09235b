/**
 * The names and versions that a delta client claims on a new stream. There is one per resource of the mesh, so they are
 * written in steps, and straight into one buffer.
 */
import { LENGTH_DELIMITED, tagOf } from '../reading/wire-message.ts'
import { ITEMS_PER_STEP } from '../slices.ts'

import type { Steps } from '../slices.ts'

const FIELD_KEY = tagOf(5, LENGTH_DELIMITED)
const NAME_KEY = tagOf(1, LENGTH_DELIMITED)
const VERSION_KEY = tagOf(2, LENGTH_DELIMITED)

/**
 * Writes DeltaDiscoveryRequest.initial_resource_versions, step by step: a map, so an entry per name. What is without a
 * name cannot be claimed. `versions` must stay as it is meanwhile. Linear.
 */
export function* encodeVersionsSteps(versions: ReadonlyMap<string, string>): Steps<Uint8Array> {
  let total = 0
  for (const [index, { bytes }] of entriesOf(versions)) {
    if (index % ITEMS_PER_STEP === 0) yield
    total += 1 + varintSize(bytes) + bytes
  }
  const buffer = Buffer.allocUnsafe(total)
  let at = 0
  for (const [index, { name, nameBytes, version, versionBytes, bytes }] of entriesOf(versions)) {
    if (index % ITEMS_PER_STEP === 0) yield
    buffer[at++] = FIELD_KEY
    at = writeVarint(buffer, at, bytes)
    at = writeTextField(buffer, at, NAME_KEY, name, nameBytes)
    at = writeTextField(buffer, at, VERSION_KEY, version, versionBytes)
  }
  return buffer
}

interface VersionEntry {
  readonly name: string
  readonly nameBytes: number
  readonly version: string
  readonly versionBytes: number
  readonly bytes: number
}

function* entriesOf(versions: ReadonlyMap<string, string>): Iterable<readonly [number, VersionEntry]> {
  let index = 0
  for (const [name, version] of versions) {
    if (name === '') continue
    const nameBytes = Buffer.byteLength(name)
    const versionBytes = Buffer.byteLength(version)
    const bytes = textSize(nameBytes) + textSize(versionBytes)
    yield [index++, { name, nameBytes, version, versionBytes, bytes }]
  }
}

function textSize(bytes: number): number {
  return bytes === 0 ? 0 : 1 + varintSize(bytes) + bytes
}

function varintSize(value: number): number {
  let size = 1
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++
  return size
}

function writeVarint(buffer: Buffer, start: number, value: number): number {
  let at = start
  let rest = value
  while (rest > 127) {
    buffer[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  buffer[at++] = rest
  return at
}

/** Nothing for an empty text, as proto3 does. */
function writeTextField(buffer: Buffer, start: number, key: number, text: string, bytes: number): number {
  if (bytes === 0) return start
  buffer[start] = key
  const at = writeVarint(buffer, start + 1, bytes)
  return at + buffer.write(text, at)
}
