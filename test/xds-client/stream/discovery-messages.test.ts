/** Discovery messages on the wire, against bytes that a real istiod took and sent. */
import fc from 'fast-check'
import protobuf from 'protobufjs/minimal.js'
import t from 'tap'

import {
  decodeSteps,
  encodeDeltaRequest,
  encodeSotwRequest,
  readFirstText,
} from '../../../src/xds-client/stream/discovery-messages.ts'
import { encodeVersionsSteps } from '../../../src/xds-client/stream/initial-versions.ts'
import { finishSteps } from '../../../src/xds-client/slices.ts'
import { decodeRequest, encodeResponse, readAll } from '../../fixtures/discovery-codec.ts'
import { recordedStreams } from '../../fixtures/recorded-streams.ts'

import type { Result } from '../../../src/core/result.ts'
import type { DiscoveryResponse, XdsMode } from '../../../src/xds-client/stream/discovery-messages.ts'
import type { StructValue } from '../../../src/xds-client/stream/node-message.ts'

const CLUSTER = 'type.googleapis.com/envoy.config.cluster.v3.Cluster'

function decodeResponse(mode: XdsMode, bytes: Uint8Array): Result<DiscoveryResponse> {
  return finishSteps(decodeSteps(mode, bytes))
}

t.test('writes the requests that istiod answered, byte by byte', (t) => {
  for (const { file, mode, nodeId, metadata, messages } of recordedStreams()) {
    for (const [index, { dir, bytes }] of messages.entries()) {
      if (dir !== 'request') continue
      const seen = decodeRequest(mode, bytes)
      const node = seen.nodeId === undefined ? {} : { node: { id: nodeId, metadata } }
      const written =
        mode === 'sotw'
          ? encodeSotwRequest({ ...seen, ...node })
          : encodeDeltaRequest({
              ...seen,
              ...node,
              initialVersions: finishSteps(
                encodeVersionsSteps(new Map(Object.entries(seen.initialVersions))),
              ),
            })
      t.strictSame(Buffer.from(written).toString('base64'), bytes.toString('base64'), `${file} ${index}`)
    }
  }
  t.end()
})

t.test('reads the responses that istiod sent', (t) => {
  for (const { file, mode, messages } of recordedStreams()) {
    for (const [index, { dir, bytes, typeUrl, count, names }] of messages.entries()) {
      if (dir !== 'response') continue
      const decoded = decodeResponse(mode, bytes)
      if (!decoded.ok) throw new Error(decoded.problems[0]?.message)
      const { value } = decoded
      t.equal(value.typeUrl, typeUrl, `${file} ${index}`)
      t.equal(value.resources.length, count)
      t.match(value.nonce, /.+/)
      t.ok(value.resources.every((resource) => resource.typeUrl === typeUrl && resource.value.length > 0))
      if (names !== undefined)
        t.strictSame(
          value.resources.map(({ name }) => name),
          // A name table has none.
          names.map((name) => name ?? ''),
        )
      const first = value.resources[0]
      if (first !== undefined) t.equal(first.value.buffer, bytes.buffer, 'a view, not a copy')
    }
  }
  t.end()
})

t.test('writes metadata of every kind', (t) => {
  const metadata = {
    text: 'a',
    empty: '',
    zero: 0,
    number: 1.5,
    no: false,
    nothing: null,
    list: ['x', 2, [], {}],
    map: { inner: { deep: true } },
  }
  const bytes = encodeDeltaRequest({
    typeUrl: CLUSTER,
    node: {
      id: 'n',
      cluster: 'c',
      metadata,
      locality: { region: 'r', zone: 'z', subZone: 's' },
      userAgent: { name: 'twinstack', version: '1' },
    },
  })
  const node = readAll(readAll(bytes).get(1)?.[0] ?? bytes)
  const textIn = (field: number): string => Buffer.from(node.get(field)?.[0] ?? []).toString('utf8')
  t.strictSame([textIn(1), textIn(2), textIn(6), textIn(7)], ['n', 'c', 'twinstack', '1'])
  t.strictSame(
    [...readAll(node.get(4)?.[0] ?? bytes).values()].map(([value]) => Buffer.from(value ?? []).toString()),
    ['r', 'z', 's'],
  )
  t.strictSame(readStruct(node.get(3)?.[0] ?? bytes), metadata)
  t.end()
})

t.test('makes a request a NACK by the presence of an error, even an empty one', (t) => {
  const error = { code: 0, message: '' }
  t.strictSame(
    decodeRequest('delta', encodeDeltaRequest({ typeUrl: CLUSTER, nonce: 'n', error })).error,
    error,
  )
  const sotw = { typeUrl: CLUSTER, version: 'v', names: [], nonce: 'n' }
  t.strictSame(decodeRequest('sotw', encodeSotwRequest({ ...sotw, error })).error, error)
  t.equal(decodeRequest('sotw', encodeSotwRequest(sotw)).error, undefined)
  t.end()
})

t.test('skips fields that it does not know, and known ones of another wire type', (t) => {
  const base = encodeResponse('delta', { typeUrl: CLUSTER, nonce: 'n', resources: [{ name: 'a' }] })
  const unknown = protobuf.Writer.create()
  unknown.uint32((99 << 3) | 2).string('later')
  unknown.uint32((98 << 3) | 0).uint32(7)
  unknown.uint32((97 << 3) | 1).double(7)
  unknown.uint32((96 << 3) | 5).fixed32(7)
  unknown.uint32((5 << 3) | 0).uint32(7)
  const decoded = decodeResponse('delta', Buffer.concat([base, unknown.finish()]))
  t.match(decoded, { ok: true, value: { nonce: 'n', resources: [{ name: 'a' }] } })
  t.end()
})

t.test('reads what the control plane calls itself', (t) => {
  for (const mode of ['sotw', 'delta'] as const) {
    const bytes = encodeResponse(mode, { typeUrl: CLUSTER, nonce: 'n', controlPlane: 'istiod-1' })
    t.match(decodeResponse(mode, bytes), { ok: true, value: { controlPlane: 'istiod-1', nonce: 'n' } })
  }
  t.end()
})

t.test('takes names from the newer name messages too', (t) => {
  const name = protobuf.Writer.create().uint32(10).string('long').finish()
  const resource = protobuf.Writer.create()
    .uint32((8 << 3) | 2)
    .bytes(name)
    .finish()
  const response = protobuf.Writer.create()
  response.uint32((2 << 3) | 2).bytes(resource)
  response.uint32((8 << 3) | 2).bytes(name)
  const decoded = decodeResponse('delta', response.finish())
  t.match(decoded, { ok: true, value: { resources: [{ name: 'long' }], removed: ['long'] } })
  t.end()
})

t.test('says what is wrong with a message that is cut off', (t) => {
  const bytes = encodeResponse('sotw', { typeUrl: CLUSTER, nonce: 'n', resources: [{ name: 'a' }] })
  const decoded = decodeResponse('sotw', bytes.subarray(0, 20))
  t.match(decoded, { ok: false, problems: [{ message: /^not a discovery response: .+ in 20 bytes$/ }] })
  t.throws(() => readFirstText(Buffer.from([10, 200])))
  t.end()
})

t.test('never throws, whatever bytes come', (t) => {
  const recorded = recordedStreams().flatMap(({ messages }) =>
    messages.filter(({ dir }) => dir === 'response').map(({ bytes }) => bytes),
  )
  const modes: readonly XdsMode[] = ['sotw', 'delta']
  const total = { ok: 0, refused: 0 }
  const decode = (bytes: Uint8Array): void => {
    for (const mode of modes) {
      const decoded = decodeResponse(mode, bytes)
      if (decoded.ok) total.ok++
      else {
        total.refused++
        if (decoded.problems[0]?.message === undefined) throw new Error('a refusal without a reason')
      }
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decode(bytes)
    }),
    { numRuns: 2_000 },
  )
  const change = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) })
  fc.assert(
    fc.property(
      fc.constantFrom(...recorded),
      fc.array(change, { minLength: 1, maxLength: 8 }),
      fc.option(fc.nat()),
      (bytes, changes, cut) => {
        const mutated = Buffer.from(bytes)
        for (const { at, byte } of changes) mutated[at % mutated.length] = byte
        decode(cut === null ? mutated : mutated.subarray(0, cut % mutated.length))
      },
    ),
    { numRuns: 2_000 },
  )
  t.ok(total.ok > 0 && total.refused > 0, JSON.stringify(total))
  t.end()
})

/** google.protobuf.Struct back to plain values, independently of the writer. */
function readStruct(bytes: Uint8Array): Record<string, StructValue> {
  const struct: Record<string, StructValue> = {}
  for (const entry of readAll(bytes).get(1) ?? []) {
    const fields = readAll(entry)
    struct[Buffer.from(fields.get(1)?.[0] ?? []).toString()] = readValue(fields.get(2)?.[0] ?? entry)
  }
  return struct
}

function readValue(bytes: Uint8Array): StructValue {
  const reader = protobuf.Reader.create(bytes)
  const key = reader.uint32()
  switch (key >>> 3) {
    case 1:
      return null
    case 2:
      return reader.double()
    case 3:
      return reader.string()
    case 4:
      return reader.bool()
    case 5:
      return readStruct(reader.bytes())
    default:
      return (readAll(reader.bytes()).get(1) ?? []).map(readValue)
  }
}
