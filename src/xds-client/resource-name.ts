/**
 * Reads the name of an encoded resource that cannot be decoded. Listener.name, Cluster.name and
 * ClusterLoadAssignment.cluster_name are all field 1.
 *
 * https://protobuf.dev/programming-guides/encoding/
 */

const NAME_TAG = (1 << 3) | 2
const WIRE_TYPE_BITS = 0b111
/** Bytes of a value by wire type; the others carry their length. */
const FIXED_BYTES: Readonly<Record<number, number>> = { 1: 8, 5: 4 }
const LENGTH_DELIMITED = 2
const VARINT = 0

/** The name of a resource whose field 1 it is; empty when the bytes do not say so. */
export function nameInField1(bytes: Uint8Array): string {
  let at = 0
  while (at < bytes.length) {
    const tag = readVarint(bytes, at)
    if (tag === undefined) return ''
    const wireType = tag.value & WIRE_TYPE_BITS
    at = tag.end
    if (wireType === LENGTH_DELIMITED) {
      const length = readVarint(bytes, at)
      if (length === undefined || length.end + length.value > bytes.length) return ''
      at = length.end + length.value
      if (tag.value === NAME_TAG) return textOf(bytes.subarray(length.end, at))
    } else if (wireType === VARINT) {
      const value = readVarint(bytes, at)
      if (value === undefined) return ''
      at = value.end
    } else {
      const size = FIXED_BYTES[wireType]
      if (size === undefined) return ''
      at += size
    }
  }
  return ''
}

function readVarint(
  bytes: Uint8Array,
  start: number,
): { readonly value: number; readonly end: number } | undefined {
  let value = 0
  let factor = 1
  for (let at = start; at < Math.min(bytes.length, start + 10); at++) {
    const byte = bytes[at] ?? 0
    value += (byte & 0x7f) * factor
    if (byte < 0x80) return { value, end: at + 1 }
    factor *= 0x80
  }
  return undefined
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    // Not UTF-8: the resource has no name that anything could be known by.
    return ''
  }
}
