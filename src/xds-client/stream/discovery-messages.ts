/**
 * The messages of the xDS transport on the wire: requests of both protocols are written, responses read. Resources stay
 * encoded, as views into the response. Written by hand, because a response of 100,000 resources is read in one go.
 *
 * https://github.com/envoyproxy/data-plane-api/blob/main/envoy/service/discovery/v3/discovery.proto
 */
import protobuf from 'protobufjs/minimal.js'

import { errorMessage, isWireError } from '../../core/errors.ts'
import { ITEMS_PER_STEP } from '../slices.ts'
import { writeMessage, writeNode, writeText } from './node-message.ts'
import { LENGTH_DELIMITED, enterNested, tagOf } from '../reading/wire-message.ts'

import type { Result } from '../../core/result.ts'
import type { EncodedResource } from '../discovery.ts'
import type { DiscoveryNode } from './node-message.ts'
import type { Steps } from '../slices.ts'

/** `sotw`: every response is the whole state of its type. `delta`: it is what changed. */
export type XdsMode = 'sotw' | 'delta'

/** Why a response was rejected: google.rpc.Status. Its presence makes a request a NACK. */
export interface ErrorDetail {
  readonly code: number
  readonly message: string
}

/** A request of the state-of-the-world protocol. */
export interface SotwRequest {
  readonly typeUrl: string
  readonly node?: DiscoveryNode
  readonly version: string
  readonly names: readonly string[]
  readonly nonce: string
  readonly error?: ErrorDetail
}

/** A request of the delta protocol. */
export interface DeltaRequest {
  readonly typeUrl: string
  readonly node?: DiscoveryNode
  readonly subscribe?: Iterable<string>
  readonly unsubscribe?: Iterable<string>
  /** What the client still has from an earlier stream, as `encodeVersionsSteps` has written it. */
  readonly initialVersions?: Uint8Array
  readonly nonce?: string
  readonly error?: ErrorDetail
}

/** A response of either protocol. */
export interface DiscoveryResponse {
  readonly typeUrl: string
  readonly version: string
  readonly nonce: string
  readonly resources: readonly EncodedResource[]
  /** Empty in the state-of-the-world protocol. */
  readonly removed: readonly string[]
  /** What the control plane calls itself; empty when it does not say. */
  readonly controlPlane: string
}

const NO_BYTES: Uint8Array = new Uint8Array(0)
const NO_ALIASES: readonly string[] = []

/** Writes envoy.service.discovery.v3.DiscoveryRequest. */
export function encodeSotwRequest(request: SotwRequest): Uint8Array {
  const writer = protobuf.Writer.create()
  const { node, error } = request
  writeText(writer, 1, request.version)
  if (node !== undefined)
    writeMessage(writer, 2, () => {
      writeNode(writer, node)
    })
  writeList(writer, 3, request.names)
  writeText(writer, 4, request.typeUrl)
  writeText(writer, 5, request.nonce)
  writeError(writer, 6, error)
  return writer.finish()
}

/** Writes envoy.service.discovery.v3.DeltaDiscoveryRequest. */
export function encodeDeltaRequest(request: DeltaRequest): Uint8Array {
  const writer = protobuf.Writer.create()
  const { node, error } = request
  if (node !== undefined)
    writeMessage(writer, 1, () => {
      writeNode(writer, node)
    })
  writeText(writer, 2, request.typeUrl)
  writeList(writer, 3, request.subscribe ?? [])
  writeList(writer, 4, request.unsubscribe ?? [])
  writeText(writer, 6, request.nonce ?? '')
  writeError(writer, 7, error)
  // Fields may come in any order.
  return Buffer.concat([writer.finish(), request.initialVersions ?? NO_BYTES])
}

function writeList(writer: protobuf.Writer, field: number, texts: Iterable<string>): void {
  for (const text of texts) writer.uint32(tagOf(field, LENGTH_DELIMITED)).string(text)
}

function writeError(writer: protobuf.Writer, field: number, error: ErrorDetail | undefined): void {
  if (error === undefined) return
  writeMessage(writer, field, () => {
    if (error.code !== 0) writer.uint32(tagOf(1, 0)).int32(error.code)
    writeText(writer, 2, error.message)
  })
}

/**
 * Reads a response step by step, a hundred resources or so at a time. Bytes that are no such message are a problem that says
 * where; linear in their number.
 */
export function* decodeSteps(mode: XdsMode, bytes: Uint8Array): Steps<Result<DiscoveryResponse>> {
  try {
    return { ok: true, value: yield* mode === 'delta' ? readDelta(bytes) : readSotw(bytes) }
  } catch (error) {
    if (!isWireError(error)) throw error
    const message = `not a discovery response: ${errorMessage(error)} in ${bytes.length} bytes`
    return { ok: false, problems: [{ path: [], severity: 'error', message }] }
  }
}

function* readSotw(bytes: Uint8Array): Steps<DiscoveryResponse> {
  const resources: EncodedResource[] = []
  const texts = { version: '', typeUrl: '', nonce: '', controlPlane: '' }
  const body = new BodyDraft()
  yield* readFieldSteps(bytes, (field, reader) => {
    if (field === 1) texts.version = reader.string()
    else if (field === 2) {
      body.read(reader)
      resources.push(new ResourceView(bytes, body))
    } else if (field === 4) texts.typeUrl = reader.string()
    else if (field === 5) texts.nonce = reader.string()
    else if (field === 6) texts.controlPlane = readFirstText(reader.bytes())
    else return false
    return true
  })
  return { ...texts, resources, removed: [] }
}

function* readDelta(bytes: Uint8Array): Steps<DiscoveryResponse> {
  const resources: EncodedResource[] = []
  const removed: string[] = []
  const texts = { version: '', typeUrl: '', nonce: '', controlPlane: '' }
  const body = new BodyDraft()
  yield* readFieldSteps(bytes, (field, reader) => {
    if (field === 1) texts.version = reader.string()
    else if (field === 2) resources.push(readResource(bytes, reader, body))
    else if (field === 4) texts.typeUrl = reader.string()
    else if (field === 5) texts.nonce = reader.string()
    else if (field === 6) removed.push(reader.string())
    else if (field === 7) texts.controlPlane = readFirstText(reader.bytes())
    // ResourceName, whose first field is the name.
    else if (field === 8) removed.push(readFirstText(reader.bytes()))
    else return false
    return true
  })
  return { ...texts, resources, removed }
}

/** Reads the Resource that follows. */
function readResource(message: Uint8Array, reader: protobuf.Reader, body: BodyDraft): EncodedResource {
  let version = ''
  let name = ''
  let longName = ''
  let aliases: string[] | undefined
  body.clear()
  const outerEnd = enterNested(reader)
  while (reader.pos < reader.len) {
    readField(reader, (field) => {
      if (field === 1) version = reader.string()
      else if (field === 2) body.read(reader)
      else if (field === 3) name = reader.string()
      else if (field === 4) (aliases ??= []).push(reader.string())
      else if (field === 8) longName = readFirstText(reader.bytes())
      else return false
      return true
    })
  }
  reader.len = outerEnd
  return new ResourceView(message, body, { name: name === '' ? longName : name, version, aliases })
}

/** A google.protobuf.Any as it is read, one after the other. */
class BodyDraft {
  typeUrl = ''
  start = 0
  end = 0
  /** One text for all of a type. */
  #lastTypeUrl = ''

  clear(): void {
    this.typeUrl = ''
    this.start = 0
    this.end = 0
  }

  read(reader: protobuf.Reader): void {
    this.clear()
    const outerEnd = enterNested(reader)
    while (reader.pos < reader.len) readField(reader, this.#readField)
    reader.len = outerEnd
  }

  readonly #readField: ReadField = (field, reader) => {
    if (field === 1) {
      const typeUrl = reader.string()
      if (typeUrl !== this.#lastTypeUrl) this.#lastTypeUrl = typeUrl
      this.typeUrl = this.#lastTypeUrl
    } else if (field === 2) {
      const length = reader.uint32()
      this.start = reader.pos
      reader.skip(length)
      this.end = reader.pos
    } else return false
    return true
  }
}

/** A resource in its response. The view is made when somebody asks: 100,000 of them would outlive their usefulness. */
class ResourceView implements EncodedResource {
  readonly name: string
  readonly version: string
  readonly aliases: readonly string[]
  readonly typeUrl: string
  readonly #message: Uint8Array
  readonly #start: number
  readonly #end: number

  constructor(
    message: Uint8Array,
    { typeUrl, start, end }: BodyDraft,
    wrapper?: {
      readonly name: string
      readonly version: string
      readonly aliases: readonly string[] | undefined
    },
  ) {
    this.name = wrapper?.name ?? ''
    this.version = wrapper?.version ?? ''
    this.aliases = wrapper?.aliases ?? NO_ALIASES
    this.typeUrl = typeUrl
    this.#message = message
    this.#start = start
    this.#end = end
  }

  get value(): Uint8Array {
    return this.#message.subarray(this.#start, this.#end)
  }
}

/**
 * The text in field 1 of a message: the name of a listener, a cluster and an assignment, of a ControlPlane and a
 * ResourceName. Empty when there is none.
 *
 * @throws {Error} when the bytes are no message
 */
export function readFirstText(bytes: Uint8Array): string {
  let text = ''
  readFields(bytes, (field, reader) => {
    if (field !== 1) return false
    text = reader.string()
    return true
  })
  return text
}

/** Reads one field, or answers false to leave it; only length-delimited ones are asked for. */
type ReadField = (field: number, reader: protobuf.Reader) => boolean

function readFields(bytes: Uint8Array, read: ReadField): void {
  const reader = protobuf.Reader.create(bytes)
  while (reader.pos < reader.len) readField(reader, read)
}

function* readFieldSteps(bytes: Uint8Array, read: ReadField): Steps<void> {
  const reader = protobuf.Reader.create(bytes)
  for (let fields = 1; reader.pos < reader.len; fields++) {
    readField(reader, read)
    if (fields % ITEMS_PER_STEP === 0) yield
  }
}

function readField(reader: protobuf.Reader, read: ReadField): void {
  const key = reader.uint32()
  const field = key >>> 3
  const wireType = key & 7
  if (field === 0) throw new RangeError(`field number 0 at byte ${reader.pos}`)
  if (wireType !== LENGTH_DELIMITED || !read(field, reader)) reader.skipType(wireType)
}
