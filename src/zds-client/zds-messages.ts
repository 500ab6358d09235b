/**
 * The messages of ZDS on the wire, one to a packet and without framing: what the client says is written, what istio-cni
 * says is read. Read by hand, so that a message that cannot be used is answered with the name of the field.
 *
 * https://github.com/istio/istio/blob/master/pkg/zdsapi/zds.proto
 */
import { isUtf8 } from 'node:buffer'

import protobuf from 'protobufjs/minimal.js'

import { errorMessage, isWireError } from '../core/errors.ts'

import type { Path, Problem } from '../core/result.ts'
import type { Pod } from '../mesh/pod.ts'

/** The version of the protocol that the client speaks: V1. */
export const ZDS_VERSION = 1

/** What istio-cni asks for: a member of WorkloadRequest. */
export type WorkloadRequest =
  /** A descriptor of its network namespace comes with it. */
  | { readonly kind: 'add'; readonly pod: Pod }
  /** istio-cni has no descriptor of its namespace: what is there goes on. */
  | { readonly kind: 'keep'; readonly uid: string }
  | { readonly kind: 'delete'; readonly uid: string }
  /** Every pod of the node has been named. */
  | { readonly kind: 'snapshot-sent' }

/** `unknown`: which member it is could not be read, or it is none that this version has. */
export type ZdsMessageKind = WorkloadRequest['kind'] | 'unknown'

/** A request, or why it is none; then as much of it as could be read. */
export type DecodedRequest =
  | { readonly ok: true; readonly request: WorkloadRequest }
  | {
      readonly ok: false
      readonly problem: Problem
      readonly kind: ZdsMessageKind
      /** Absent: it may be about any pod. */
      readonly uid?: string
    }

type Reader = protobuf.Reader
type DraftText = 'uid' | 'name' | 'namespace' | 'serviceAccount'

/** A request as it is read. */
interface Draft extends Record<DraftText, string> {
  /** The field that is being read. */
  readonly path: string[]
  /** The members of the oneof that are there, in the order in which they came. */
  readonly members: WorkloadRequest['kind'][]
  /** Field numbers of the request itself that this version does not have. */
  readonly unknown: number[]
  hasInfo: boolean
}

/** Every field of the protocol has its length before it. */
interface WireField {
  readonly name: string
  readonly read: (draft: Draft, reader: Reader) => void
}

type WireFields = Readonly<Partial<Record<number, WireField>>>

const LENGTH_DELIMITED = 2
/** istio-cni reads into 1,024 bytes and takes a packet that fills them for one that was cut. */
const MAX_RESPONSE_BYTES = 1_023
/** Two tags of a byte, two lengths of two bytes. */
const MAX_ERROR_BYTES = MAX_RESPONSE_BYTES - 6

const utf8 = new TextEncoder()

const WORKLOAD_INFO: WireFields = {
  1: text('name', 'name'),
  2: text('namespace', 'namespace'),
  3: text('service_account', 'serviceAccount'),
}
const ADD: WireFields = {
  1: text('uid', 'uid'),
  2: message('workload_info', WORKLOAD_INFO, (draft) => {
    draft.hasInfo = true
  }),
}
const REQUEST: WireFields = {
  1: member('add', 'add', ADD),
  2: member('del', 'delete', { 2: text('uid', 'uid') }),
  3: member('snapshot_sent', 'snapshot-sent', {}),
  5: member('keep', 'keep', { 1: text('uid', 'uid') }),
}

/** Writes ZdsHello, the first thing on every connection. */
export function encodeHello(): Uint8Array {
  return protobuf.Writer.create().uint32(tagOf(1, 0)).uint32(ZDS_VERSION).finish()
}

/**
 * Writes WorkloadResponse with an Ack, shorter than 1,024 bytes: the end of a longer error is cut off, never within a
 * character.
 *
 * @param error what went wrong; empty: nothing did
 */
export function encodeResponse(error: string): Uint8Array {
  const writer = protobuf.Writer.create().uint32(tagOf(1, LENGTH_DELIMITED)).fork()
  if (error !== '') {
    const buffer = new Uint8Array(MAX_ERROR_BYTES)
    const { written } = utf8.encodeInto(error, buffer)
    writer.uint32(tagOf(1, LENGTH_DELIMITED)).bytes(buffer.subarray(0, written))
  }
  return writer.ldelim().finish()
}

/** Reads WorkloadRequest. Any bytes give a request or a problem; fields that a newer version adds to one are skipped. */
export function decodeRequest(bytes: Uint8Array): DecodedRequest {
  const draft: Draft = {
    path: [],
    members: [],
    unknown: [],
    uid: '',
    name: '',
    namespace: '',
    serviceAccount: '',
    hasInfo: false,
  }
  try {
    readFields(protobuf.Reader.create(Buffer.from(bytes)), REQUEST, draft)
  } catch (error) {
    if (!isWireError(error)) throw error
    return refuse(draft, draft.path, `cannot be read: ${errorMessage(error)} in ${bytes.length} bytes`)
  }
  return check(draft)
}

function check(draft: Draft): DecodedRequest {
  const { uid, name, namespace, serviceAccount, members, unknown } = draft
  const [kind, ...others] = members
  if (kind === undefined) return refuse(draft, [], describeNoMember(unknown))
  if (others.length > 0) return refuse(draft, [], `holds several messages (${members.join(', ')}), not one`)
  if (kind === 'snapshot-sent') return { ok: true, request: { kind } }
  if (uid === '') return refuse(draft, [kind === 'delete' ? 'del' : kind, 'uid'], 'must not be empty')
  if (kind !== 'add') return { ok: true, request: { kind, uid } }
  if (!draft.hasInfo) return refuse(draft, ['add', 'workload_info'], 'is missing')
  if (name === '') return refuse(draft, ['add', 'workload_info', 'name'], 'must not be empty')
  if (namespace === '') return refuse(draft, ['add', 'workload_info', 'namespace'], 'must not be empty')
  return { ok: true, request: { kind, pod: { uid, name, namespace, serviceAccount } } }
}

function describeNoMember(unknown: readonly number[]): string {
  if (unknown.length === 0) return 'is empty'
  const fields = unknown.length === 1 ? 'field' : 'fields'
  return `holds no message of version ${ZDS_VERSION}, only ${fields} ${unknown.join(', ')}; a newer one may know it`
}

function refuse(draft: Draft, path: Path, message: string): DecodedRequest {
  const { members, uid } = draft
  const [kind = 'unknown', ...others] = members
  const problem: Problem = { path: [...path], severity: 'error', message }
  // Of several messages it is not known whose uid was read.
  if (others.length > 0) return { ok: false, problem, kind: 'unknown' }
  return { ok: false, problem, kind, ...(uid !== '' && { uid }) }
}

function readFields(reader: Reader, fields: WireFields, draft: Draft): void {
  const depth = draft.path.length
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    const number = tag >>> 3
    const field = (tag & 7) === LENGTH_DELIMITED ? fields[number] : undefined
    if (field === undefined) {
      reader.skipType(tag & 7, 0, number)
      if (depth === 0) draft.unknown.push(number)
      continue
    }
    draft.path.push(field.name)
    field.read(draft, reader)
    draft.path.length = depth
  }
}

/** A member of the oneof. */
function member(name: string, kind: WorkloadRequest['kind'], fields: WireFields): WireField {
  return message(name, fields, (draft) => draft.members.push(kind))
}

function message(name: string, fields: WireFields, onFound: (draft: Draft) => void): WireField {
  const read = (draft: Draft, reader: Reader): void => {
    onFound(draft)
    const length = reader.uint32()
    const outerEnd = reader.len
    if (reader.pos + length > outerEnd) throw new RangeError(`a message of ${length} bytes is cut off`)
    reader.len = reader.pos + length
    readFields(reader, fields, draft)
    reader.len = outerEnd
  }
  return { name, read }
}

function text(name: string, key: DraftText): WireField {
  const read = (draft: Draft, reader: Reader): void => {
    const bytes = reader.bytes()
    // Read leniently, two uids could become one.
    if (!isUtf8(bytes)) throw new RangeError('the text is not UTF-8')
    draft[key] = Buffer.from(bytes).toString('utf8')
  }
  return { name, read }
}

function tagOf(number: number, wireType: number): number {
  return (number << 3) | wireType
}
