/**
 * The names and versions that a delta client claims on a new stream. There is one per resource of the mesh, and all go out
 * in one turn of the event loop, so they are written straight into one buffer.
 */

const FIELD_KEY = (5 << 3) | 2
const NAME_KEY = (1 << 3) | 2
const VERSION_KEY = (2 << 3) | 2

/** Writes DeltaDiscoveryRequest.initial_resource_versions: a map, so an entry per name. Linear. */
export function encodeVersions(versions: Iterable<readonly [string, string]>): Buffer {
  const entries = Array.from(versions, ([name, version]) => {
    const nameBytes = Buffer.byteLength(name)
    const versionBytes = Buffer.byteLength(version)
    return { name, nameBytes, version, versionBytes, bytes: textSize(nameBytes) + textSize(versionBytes) }
  })
  const total = entries.reduce((sum, { bytes }) => sum + 1 + varintSize(bytes) + bytes, 0)
  const buffer = Buffer.allocUnsafe(total)
  let at = 0
  for (const { name, nameBytes, version, versionBytes, bytes } of entries) {
    buffer[at++] = FIELD_KEY
    at = writeVarint(buffer, at, bytes)
    at = writeTextField(buffer, at, NAME_KEY, name, nameBytes)
    at = writeTextField(buffer, at, VERSION_KEY, version, versionBytes)
  }
  return buffer
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
