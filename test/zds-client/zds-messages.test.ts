/** ZDS on the wire: what is written is what Go reads, and any bytes give a request or a problem that names the field. */
import { isDeepStrictEqual } from 'node:util'

import fc from 'fast-check'
import t from 'tap'

import { formatPath } from '../../src/core/result.ts'
import { decodeRequest, encodeHello, encodeResponse } from '../../src/zds-client/zds-messages.ts'
import { wireBytes } from '../fixtures/wire-bytes.ts'
import { decodeAnswer, encodeAdd, encodeRequest, podOf } from '../fixtures/zds-wire.ts'

import type { WorkloadRequest } from '../../src/zds-client/zds-messages.ts'

const PLAIN = { noNullPrototype: true } as const

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const cut = (bytes: Uint8Array, count: number): Uint8Array => bytes.subarray(0, bytes.length - count)
const add = encodeRequest({ kind: 'add', pod: podOf('u') })
const info = { 1: 'pod-u', 2: 'default', 3: 'echo' }

t.test('writes the bytes that istio-cni knows', async (t) => {
  t.equal(hex(encodeHello()), '0801', 'version 1')
  t.equal(hex(encodeResponse('')), '0a00', 'an ack without an error is there all the same')
  t.equal(hex(encodeResponse('no')), '0a040a026e6f')
})

t.test('cuts an error so that the response stays below 1,024 bytes, never within a character', async (t) => {
  t.equal(decodeAnswer(encodeResponse('x'.repeat(1_017))), 'x'.repeat(1_017))
  t.equal(encodeResponse('x'.repeat(1_017)).length, 1_023)
  t.equal(decodeAnswer(encodeResponse('x'.repeat(5_000))), 'x'.repeat(1_017))
  t.equal(decodeAnswer(encodeResponse(`${'x'.repeat(1_015)}€`)), 'x'.repeat(1_015), 'three bytes do not fit')
  t.equal(decodeAnswer(encodeResponse(`${'x'.repeat(1_013)}😀`)), `${'x'.repeat(1_013)}😀`)
  t.equal(decodeAnswer(encodeResponse(`${'x'.repeat(1_014)}😀`)), 'x'.repeat(1_014))
  t.equal(decodeAnswer(encodeResponse('half \ud83d')), 'half \ufffd', 'Go takes no half of a pair')
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 1_500 }), (text) => {
      const answer = decodeAnswer(encodeResponse(text))
      return text.startsWith(answer) && (answer === text || answer.length > 250)
    }),
  )
})

t.test('reads the bytes that Go writes', async (t) => {
  const tables: readonly (readonly [string, string, WorkloadRequest])[] = [
    [
      'add',
      '0a120a0175120d0a016e12046e616d651a027361',
      { kind: 'add', pod: { uid: 'u', name: 'n', namespace: 'name', serviceAccount: 'sa' } },
    ],
    ['delete', '1203120175', { kind: 'delete', uid: 'u' }],
    ['snapshot-sent', '1a00', { kind: 'snapshot-sent' }],
    ['keep', '2a030a0175', { kind: 'keep', uid: 'u' }],
  ]
  for (const [name, bytes, request] of tables)
    t.strictSame(decodeRequest(Buffer.from(bytes, 'hex')), { ok: true, request }, name)
})

t.test('reads back every request that can be written', async () => {
  const filled = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 64 })
  const pod = fc.record({ uid: filled, name: filled, namespace: filled, serviceAccount: fc.string() }, PLAIN)
  const requests = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), pod }, PLAIN),
    fc.record({ kind: fc.constantFrom('keep' as const, 'delete' as const), uid: filled }, PLAIN),
    fc.record({ kind: fc.constant('snapshot-sent' as const) }, PLAIN),
  )
  fc.assert(
    fc.property(requests, (request) => {
      const decoded = decodeRequest(encodeRequest(request))
      if (!isDeepStrictEqual(decoded, { ok: true, request })) throw new Error(JSON.stringify(decoded))
    }),
  )
})

t.test('skips fields that a newer version adds to a message that is known', async (t) => {
  const newer = wireBytes({
    1: wireBytes({ 1: 'u', 2: wireBytes({ ...info, 4: 'td', 9: 1 }), 7: 'x' }),
    12: 3,
  })
  t.strictSame(decodeRequest(newer), { ok: true, request: { kind: 'add', pod: podOf('u') } })
})

t.test('names the field that is wrong, and the pod when its uid could be read', async (t) => {
  const notUtf8 = Uint8Array.of(0xff, 0xfe)
  const tables: readonly (readonly [string, Uint8Array, string, RegExp, string, string | undefined])[] = [
    ['no bytes', wireBytes({}), '', /^is empty$/, 'unknown', undefined],
    [
      'a newer message',
      wireBytes({ 9: 'x' }),
      '',
      /no message of version 1, only field 9;/,
      'unknown',
      undefined,
    ],
    ['two newer fields', wireBytes({ 8: 1, 9: 'x' }), '', /only fields 8, 9;/, 'unknown', undefined],
    ['a member of another type', wireBytes({ 1: 4 }), '', /only field 1;/, 'unknown', undefined],
    [
      'two members',
      Buffer.concat([add, wireBytes({ 3: '' })]),
      '',
      /\(add, snapshot-sent\)/,
      'unknown',
      undefined,
    ],
    ['one member twice', Buffer.concat([add, add]), '', /\(add, add\)/, 'unknown', undefined],
    [
      'no workload_info',
      wireBytes({ 1: wireBytes({ 1: 'u' }) }),
      'add.workload_info',
      /is missing/,
      'add',
      'u',
    ],
    [
      'no uid',
      encodeRequest({ kind: 'add', pod: podOf('') }),
      'add.uid',
      /must not be empty/,
      'add',
      undefined,
    ],
    [
      'no name',
      wireBytes({ 1: encodeAdd({ ...podOf('u'), name: '' }) }),
      'add.workload_info.name',
      /must not be empty/,
      'add',
      'u',
    ],
    [
      'no namespace',
      wireBytes({ 1: encodeAdd({ ...podOf('u'), namespace: '' }) }),
      'add.workload_info.namespace',
      /must not be empty/,
      'add',
      'u',
    ],
    ['no uid to keep', wireBytes({ 5: '' }), 'keep.uid', /must not be empty/, 'keep', undefined],
    ['no uid to delete', wireBytes({ 2: '' }), 'del.uid', /must not be empty/, 'delete', undefined],
    [
      'a uid in the wrong field',
      wireBytes({ 2: wireBytes({ 1: 'u' }) }),
      'del.uid',
      /empty/,
      'delete',
      undefined,
    ],
    ['cut bytes', cut(add, 3), 'add', /cut off in \d+ bytes/, 'add', undefined],
    [
      'a text that is longer than its message',
      wireBytes({ 1: wireBytes({ 1: 'u', 2: cut(wireBytes(info), 2) }) }),
      'add.workload_info.service_account',
      /cannot be read/,
      'add',
      'u',
    ],
    ['no UTF-8', wireBytes({ 5: wireBytes({ 1: notUtf8 }) }), 'keep.uid', /not UTF-8/, 'keep', undefined],
  ]
  for (const [name, bytes, path, message, kind, uid] of tables) {
    const decoded = decodeRequest(bytes)
    if (decoded.ok) throw new Error(`${name} was read`)
    t.equal(formatPath(decoded.problem.path), path, name)
    t.match(decoded.problem.message, message, name)
    t.equal(decoded.kind, kind, name)
    t.equal(decoded.uid, uid, name)
  }
})

t.test('takes any bytes', async () => {
  const damaged = fc
    .tuple(
      fc.constantFrom(add, encodeRequest({ kind: 'keep', uid: 'u' })),
      fc.nat(),
      fc.uint8Array({ maxLength: 8 }),
    )
    .map(([bytes, at, patch]) => {
      const copy = Buffer.from(bytes)
      copy.set(patch.subarray(0, copy.length - (at % copy.length)), at % copy.length)
      return copy
    })
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 1_100 }), damaged), (bytes) => {
      const decoded = decodeRequest(bytes)
      if (!decoded.ok && decoded.problem.message === '') throw new Error('a problem without a message')
    }),
    { numRuns: 5_000 },
  )
})
