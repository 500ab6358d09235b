/** Codes of operational failures. */
import t from 'tap'

import {
  AgentError,
  ERROR_CODES,
  errnoOf,
  errorCodeOf,
  errorMessage,
  isWireError,
} from '../../src/core/errors.ts'

import type { ErrorCode } from '../../src/core/errors.ts'

const errnos: readonly (readonly [string, ErrorCode])[] = [
  ['ECONNREFUSED', 'refused'],
  ['ENETUNREACH', 'unreachable'],
  ['EHOSTUNREACH', 'unreachable'],
  ['ETIMEDOUT', 'timeout'],
  ['ECONNRESET', 'reset'],
  ['EPIPE', 'reset'],
  ['EAFNOSUPPORT', 'family_absent'],
  ['EADDRNOTAVAIL', 'address_unavailable'],
  ['EADDRINUSE', 'address_in_use'],
  ['EACCES', 'permission'],
  ['EMFILE', 'descriptors_exhausted'],
  ['ENOMEM', 'resources_exhausted'],
  ['EUNHEARDOF', 'internal'],
]
t.test('gives each errno its code, and an unknown one internal', (t) => {
  for (const [errno, code] of errnos)
    t.equal(errorCodeOf(Object.assign(new Error('x'), { code: errno })), code, errno)
  t.end()
})

t.test('keeps the code, source and cause of an operational failure', (t) => {
  const cause = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
  const error = new AgentError({ code: 'timeout', source: 'upstream', message: 'no answer', cause })
  t.equal(errorCodeOf(error), 'timeout')
  t.equal(error.source, 'upstream')
  t.equal(error.cause, cause)
  t.equal(error.name, 'AgentError')
  t.notOk('cause' in new AgentError({ code: 'internal', source: 'internal', message: 'x' }))
  t.end()
})

t.test('makes something of whatever was thrown', (t) => {
  for (const thrown of [undefined, null, 'text', 5, {}, { code: 5 }]) {
    t.equal(errorCodeOf(thrown), 'internal')
    t.equal(errnoOf(thrown), undefined)
  }
  t.equal(errorMessage('text'), 'text')
  t.equal(errorMessage(new Error('failed')), 'failed')
  t.end()
})

t.test('tells bytes that are no message from a defect', (t) => {
  for (const thrown of [new Error('invalid wire type'), new RangeError('index out of range')])
    t.ok(isWireError(thrown), thrown.name)
  for (const thrown of [
    new TypeError('x is not a function'),
    new AgentError({ code: 'internal', source: 'internal', message: 'x' }),
    'text',
  ])
    t.notOk(isWireError(thrown), errorMessage(thrown))
  t.end()
})

t.test('has codes that can be metric labels, each once', (t) => {
  t.ok(ERROR_CODES.every((code) => /^[a-z]+(?:_[a-z]+)*$/.test(code)))
  t.equal(new Set(ERROR_CODES).size, ERROR_CODES.length)
  t.end()
})
