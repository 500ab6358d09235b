/**
 * Turns the wire bytes of a message into its JSON form, as proto3 maps the one to the other: what a file of the same
 * configuration would hold, so that one decoder reads both. Field names are snake_case.
 *
 * https://protobuf.dev/programming-guides/json/
 */
import protobuf from 'protobufjs'

import { enterNested, readerOf } from './wire-message.ts'

import type { EnvoySchema } from './envoy-schema.ts'
import type { DecodeReport } from './message-reader.ts'
import type { WireReader } from './wire-message.ts'

/** A message in its JSON form. */
export type JsonMessage = Readonly<Record<string, unknown>>

interface FormContext {
  readonly schema: EnvoySchema
  /** Told of fields, enum values and types that the schema does not have. */
  readonly report: DecodeReport
}

type Message = Record<string, unknown>

/** As deep as protobuf's own parsers go. */
const MAX_DEPTH = 100
const NANOS_PER_SECOND = 1_000_000_000

/**
 * The message up to the end of the reader. What the schema does not know is left out and told to the report.
 *
 * @throws {Error} over bytes that are no message (`isWireError`)
 */
export function jsonForm(reader: WireReader, typeName: string, context: FormContext): JsonMessage {
  const type = context.schema.messageType(typeName)
  if (type === undefined) throw new TypeError(`the schema has no message ${typeName}`)
  return new FormReader(reader, context).message(type)
}

/** Reads one message with all that is in it. */
class FormReader {
  readonly #reader: WireReader
  readonly #context: FormContext
  #depth = 0

  constructor(reader: WireReader, context: FormContext) {
    this.#reader = reader
    this.#context = context
  }

  /** The message up to the end of the reader. */
  message(type: protobuf.Type): Message {
    if (++this.#depth > MAX_DEPTH) throw new Error(`messages are nested deeper than ${MAX_DEPTH}`)
    const reader = this.#reader
    const message = emptyMessage()
    while (reader.pos < reader.len) {
      const tag = reader.uint32()
      const wireType = tag & 7
      const field = type.fieldsById[tag >>> 3]
      if (field !== undefined && this.#readField(field, wireType, message)) continue
      this.#context.report.ignore(type.name, field?.name ?? `#${tag >>> 3}`)
      reader.skipType(wireType, 0, tag >>> 3)
    }
    this.#depth--
    return message
  }

  /** False when the field is not on the wire as its type says; nothing has been read then. */
  #readField(field: protobuf.Field, wireType: number, message: Message): boolean {
    const expected = wireTypeOf(field)
    if (field.repeated && wireType === DELIMITED && expected !== DELIMITED) {
      const outerEnd = enterNested(this.#reader)
      while (this.#reader.pos < this.#reader.len) this.#put(field, message)
      this.#reader.len = outerEnd
      return true
    }
    if (wireType !== expected) return false
    this.#put(field, message)
    return true
  }

  #put(field: protobuf.Field, message: Message): void {
    if (field instanceof protobuf.MapField) {
      const entries = message[field.name] ?? emptyMessage()
      message[field.name] = entries
      if (isMessage(entries)) this.#putEntry(field, entries)
      return
    }
    const value = this.#value(field, field.type)
    if (value === undefined) return
    if (!field.repeated) message[field.name] = value
    else {
      const list = message[field.name]
      if (Array.isArray(list)) list.push(value)
      else message[field.name] = [value]
    }
  }

  #putEntry(field: protobuf.MapField, entries: Message): void {
    const reader = this.#reader
    const outerEnd = enterNested(reader)
    let key = ''
    let value: unknown = emptyMessage()
    while (reader.pos < reader.len) {
      const tag = reader.uint32()
      if (tag === ((1 << 3) | DELIMITED)) key = reader.string()
      else if (tag >>> 3 === 2 && (tag & 7) === wireTypeOf(field)) value = this.#value(field, field.type)
      else reader.skipType(tag & 7, 0, tag >>> 3)
    }
    reader.len = outerEnd
    entries[key] = value
  }

  /** One value; `undefined` for an enum value that is not known. */
  #value(field: protobuf.FieldBase, type: string): unknown {
    const { resolvedType } = field
    if (resolvedType instanceof protobuf.Type) return this.#nested(resolvedType)
    if (resolvedType instanceof protobuf.Enum) {
      const number = this.#reader.int32()
      const name = resolvedType.valuesById[number]
      if (name === undefined)
        this.#context.report.ignore(field.parent?.name ?? '', `${field.name}(${number})`)
      return name
    }
    return readScalar(this.#reader, type)
  }

  #nested(type: protobuf.Type): unknown {
    const outerEnd = enterNested(this.#reader)
    const message = this.message(type)
    this.#reader.len = outerEnd
    return this.#wellKnown(type, message)
  }

  /** What the messages of google.protobuf, and a TypedStruct, are in JSON; any other message is itself. */
  #wellKnown(type: protobuf.Type, message: Message): unknown {
    const name = type.fullName.slice(1)
    switch (name) {
      case 'google.protobuf.Any':
        return this.#any(message)
      case 'google.protobuf.Duration':
        return durationText(message)
      case 'google.protobuf.Struct':
        return message['fields'] ?? emptyMessage()
      case 'google.protobuf.ListValue':
        return message['values'] ?? []
      case 'google.protobuf.Value':
        return structValue(message)
      case 'google.protobuf.BoolValue':
        return message['value'] ?? false
      case 'google.protobuf.StringValue':
        return message['value'] ?? ''
      case 'google.protobuf.DoubleValue':
      case 'google.protobuf.UInt32Value':
      case 'google.protobuf.UInt64Value':
        return message['value'] ?? 0
      default:
        return message
    }
  }

  /** A TypedStruct stands for the message that it names, as Envoy takes it. */
  #any(any: Message): Message {
    const typeUrl = typeof any['type_url'] === 'string' ? any['type_url'] : ''
    const typeName = typeUrl.slice(typeUrl.lastIndexOf('/') + 1)
    const type = this.#context.schema.messageType(typeName)
    if (type === undefined) return Object.assign(emptyMessage(), { '@type': typeUrl })
    const bytes = typeof any['value'] === 'string' ? Buffer.from(any['value'], 'base64') : Buffer.alloc(0)
    const inner = new FormReader(readerOf(bytes), this.#context)
    inner.#depth = this.#depth
    const message = inner.message(type)
    if (type.name !== 'TypedStruct') return Object.assign(emptyMessage(), { '@type': typeUrl }, message)
    const fields = isMessage(message['value']) ? message['value'] : {}
    return Object.assign(emptyMessage(), fields, { '@type': message['type_url'] })
  }
}

const VARINT = 0
const FIXED64 = 1
const DELIMITED = 2
const FIXED32 = 5

function wireTypeOf(field: protobuf.FieldBase): number {
  if (field instanceof protobuf.MapField || field.resolvedType instanceof protobuf.Type) return DELIMITED
  switch (field.type) {
    case 'string':
    case 'bytes':
      return DELIMITED
    case 'double':
    case 'fixed64':
      return FIXED64
    case 'float':
    case 'fixed32':
      return FIXED32
    default:
      return VARINT
  }
}

/** 64-bit numbers are as exact as a number is, which is enough for what they count. */
function readScalar(reader: WireReader, type: string): unknown {
  switch (type) {
    case 'string':
      return reader.string()
    case 'bytes':
      return Buffer.from(reader.bytes()).toString('base64')
    case 'bool':
      return reader.bool()
    case 'double':
      return reader.double()
    case 'float':
      return reader.float()
    case 'int32':
      return reader.int32()
    case 'int64':
      return protobuf.util.LongBits.from(reader.int64()).toNumber(false)
    case 'uint64':
      return protobuf.util.LongBits.from(reader.uint64()).toNumber(true)
    case 'uint32':
      return reader.uint32()
    default:
      throw new TypeError(`fields of type ${type} are not read`)
  }
}

function durationText(message: Message): string {
  const seconds = Number(message['seconds'] ?? 0)
  const nanos = Number(message['nanos'] ?? 0)
  const fraction = nanos === 0 ? '' : (nanos / NANOS_PER_SECOND).toFixed(9).replace(/^-?0|0+$/g, '')
  return `${seconds}${fraction}s`
}

/** google.protobuf.Value is the value of whichever of its fields is there. */
function structValue(message: Message): unknown {
  for (const [name, value] of Object.entries(message)) if (name !== 'nullValue') return value
  return null
}

function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Without a prototype, so that no field or key of a map can be mistaken for one of its properties. */
function emptyMessage(): Message {
  const message: Message = {}
  Object.setPrototypeOf(message, null)
  return message
}
