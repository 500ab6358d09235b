/**
 * Reads messages in protobuf's wire form, for the resources that come by the hundred thousand: no object per value, and
 * a problem costs something only where there is one. What a message means is the decoder's.
 *
 * https://protobuf.dev/programming-guides/encoding/
 */
import protobuf from 'protobufjs/minimal.js'

import { errorMessage, isWireError } from '../../core/errors.ts'

import type { Path, Problem, Result } from '../../core/result.ts'

export type WireReader = protobuf.Reader

/** The wire type of what has its length before it. */
export const LENGTH_DELIMITED = 2

/** How a field is read: what its wire type must be, and what it does to the draft of the message. */
export interface WireField<Draft, Context> {
  readonly wireType: number
  readonly read: (draft: Draft, reader: WireReader, context: Context) => unknown
}

/** The fields of a message, by what stands before them on the wire: number and wire type. */
export type WireFields<Draft, Context> = readonly (WireField<Draft, Context> | undefined)[]

/** Reports an error at a path of the resource. */
export type OnProblem = (path: Path, message: string, at?: 'key') => void

/**
 * Decodes one resource. `read` gets the reader and a function to report problems with; one problem refuses the
 * resource. Bytes that are no message are a problem too, never a throw.
 */
export function decodeResource<Value>(
  value: Uint8Array,
  read: (reader: WireReader, onProblem: OnProblem) => Value | undefined,
): Result<Value> {
  const problems: Problem[] = []
  const onProblem: OnProblem = (path, message, at) => {
    problems.push({ path, severity: 'error', message, ...(at !== undefined && { at }) })
  }
  try {
    const decoded = read(readerOf(value), onProblem)
    if (decoded !== undefined && problems.length === 0) return { ok: true, value: decoded }
    if (problems.length === 0) onProblem([], 'the resource is empty')
  } catch (error) {
    if (!isWireError(error)) throw error
    onProblem([], `the bytes are no message of the type: ${errorMessage(error)}`)
  }
  return { ok: false, problems }
}

/** A reader over the bytes, which are not copied. */
export function readerOf(value: Uint8Array): WireReader {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  return protobuf.Reader.create(bytes)
}

/** Makes the table of a message's fields, from each number to what reads it. */
export function wireFields<Draft, Context>(
  byNumber: Readonly<Record<number, WireField<Draft, Context> | readonly WireField<Draft, Context>[]>>,
): WireFields<Draft, Context> {
  const table: (WireField<Draft, Context> | undefined)[] = []
  for (const [number, fields] of Object.entries(byNumber))
    for (const field of [fields].flat()) table[tagOf(Number(number), field.wireType)] = field
  // Without holes, which would be slow to look into.
  return Array.from(table)
}

/** A field that is a varint on the wire: integers, booleans, enums. */
export function varint<Draft, Context>(read: WireField<Draft, Context>['read']): WireField<Draft, Context> {
  return { wireType: 0, read }
}

/** A field that has its length before it: text, bytes, messages, packed numbers. */
export function delimited<Draft, Context>(
  read: WireField<Draft, Context>['read'],
): WireField<Draft, Context> {
  return { wireType: LENGTH_DELIMITED, read }
}

/** A repeated integer or enum: each as a field of its own, or all packed into one. */
export function varints<Draft, Context>(
  read: (draft: Draft, value: number, context: Context) => void,
): readonly WireField<Draft, Context>[] {
  return [
    varint((draft, reader, context) => read(draft, reader.uint32(), context)),
    delimited((draft, reader, context) => {
      const outerEnd = enterNested(reader)
      while (reader.pos < reader.len) read(draft, reader.uint32(), context)
      reader.len = outerEnd
    }),
  ]
}

/** Reads the fields up to the end of the reader into `draft`. True when some are not in the table; they are skipped. */
export function readFields<Draft, Context>(
  reader: WireReader,
  fields: WireFields<Draft, Context>,
  draft: Draft,
  context: Context,
): boolean {
  let hasUnknown = false
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    const field = fields[tag]
    if (field !== undefined) field.read(draft, reader, context)
    else {
      hasUnknown = true
      reader.skipType(tag & 7, 0, tag >>> 3)
    }
  }
  return hasUnknown
}

/** Reads the message that follows, and nothing behind it, into `draft`. True when it has fields that are not known. */
export function readNested<Draft, Context>(
  reader: WireReader,
  fields: WireFields<Draft, Context>,
  draft: Draft,
  context: Context,
): boolean {
  const outerEnd = enterNested(reader)
  const hasUnknown = readFields(reader, fields, draft, context)
  reader.len = outerEnd
  return hasUnknown
}

/** Reads the message that follows, and nothing behind it, by a function that goes up to the end of its reader. */
export function readNestedWith<Context, Value>(
  reader: WireReader,
  read: (reader: WireReader, context: Context) => Value,
  context: Context,
): Value {
  const outerEnd = enterNested(reader)
  const value = read(reader, context)
  reader.len = outerEnd
  return value
}

/** Narrows the reader to the message that follows and gives what its `len` has to be again behind it. */
export function enterNested(reader: WireReader): number {
  const length = reader.uint32()
  const outerEnd = reader.len
  const end = reader.pos + length
  if (end > outerEnd) throw new RangeError(`a message of ${length} bytes does not fit into the one around it`)
  reader.len = end
  return outerEnd
}

/** The bytes of the message or value that follows, as text that is equal for equal bytes only. */
export function readRaw(reader: WireReader): string {
  const length = reader.uint32()
  const start = reader.pos
  reader.skip(length)
  return bufferOf(reader).toString('latin1', start, start + length)
}

/** `readerOf` makes readers over nothing but buffers. */
function bufferOf(reader: WireReader): Buffer {
  return Buffer.isBuffer(reader.buf) ? reader.buf : Buffer.from(reader.buf)
}

/** What stands before a field. */
export function tagOf(number: number, wireType: number): number {
  return (number << 3) | wireType
}
