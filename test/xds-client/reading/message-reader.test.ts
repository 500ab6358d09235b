/** Reading messages in their JSON form: values, places and what is reported. */
import t from 'tap'

import { DecodeReport, describe, rootField } from '../../../src/xds-client/reading/message-reader.ts'
import { problemsOf } from '../resources/envoy-documents.ts'

import type { Field, FieldLookup, MessageReader } from '../../../src/xds-client/reading/message-reader.ts'

function read(value: unknown): { readonly field: Field; readonly report: DecodeReport } {
  const report = new DecodeReport()
  return { field: rootField(value, report), report }
}

function message(value: unknown): { readonly reader: MessageReader; readonly report: DecodeReport } {
  const { field, report } = read(value)
  const reader = field.message('Thing')
  if (reader === undefined) throw new Error('not a message')
  return { reader, report }
}

const BYTE = { min: 0, max: 255 }
type Reading = readonly [what: string, value: unknown, read: (field: Field) => unknown, expected: unknown]
const good: readonly Reading[] = [
  ['text', 'a', (field) => field.string(), 'a'],
  ['false', false, (field) => field.boolean(), false],
  ['a number', 255, (field) => field.integer(BYTE), 255],
  ['a number as text, as proto3 JSON writes 64 bits', '7', (field) => field.integer(BYTE), 7],
  ['a fraction', 0.5, (field) => field.number(BYTE), 0.5],
  ['seconds', '5s', (field) => field.durationMs(), 5_000],
  ['a part of a second', '0.250s', (field) => field.durationMs(), 250],
  ['no time', '0s', (field) => field.durationMs(), 0],
  ['an enum value by name', 'B', (field) => field.oneOf(['A', 'B']), 'B'],
  ['an enum value by number', 1, (field) => field.oneOf(['A', 'B']), 'B'],
  [
    'a list',
    [1, 2],
    (field) => field.list().map((item) => [item.value, item.path]),
    [
      [1, [0]],
      [2, [1]],
    ],
  ],
  ['a map', { k: 1 }, (field) => field.entries().map(([key, item]) => [key, item.path]), [['k', ['k']]]],
]
for (const [what, value, reading, expected] of good) {
  t.test(`reads ${what}`, (t) => {
    const { field, report } = read(value)
    t.strictSame(reading(field), expected)
    t.strictSame(problemsOf(report), [])
    t.end()
  })
}

const bad: readonly Reading[] = [
  ['text', 5, (field) => field.string(), 'must be text, not 5'],
  ['boolean', 'true', (field) => field.boolean(), "must be true or false, not 'true'"],
  ['whole number', 1.5, (field) => field.integer(BYTE), 'must be a whole number from 0 to 255, not 1.5'],
  ['number in range', 256, (field) => field.integer(BYTE), 'must be a whole number from 0 to 255, not 256'],
  ['digits', '0x10', (field) => field.integer(BYTE), "must be a whole number from 0 to 255, not '0x10'"],
  ['number', Number.NaN, (field) => field.number(BYTE), 'must be a number from 0 to 255, not null'],
  [
    'duration',
    '5',
    (field) => field.durationMs(),
    "must be a duration in seconds such as 5s or 0.25s, not '5'",
  ],
  [
    'unit',
    '5ms',
    (field) => field.durationMs(),
    "must be a duration in seconds such as 5s or 0.25s, not '5ms'",
  ],
  ['enum value', 'C', (field) => field.oneOf(['A', 'B']), "must be one of A, B, not 'C'"],
  ['enum number', 2, (field) => field.oneOf(['A', 'B']), 'must be one of A, B, not 2'],
  ['message', [], (field) => field.message('Thing'), 'must be a Thing message (a map), not a list'],
]
for (const [what, value, reading, problem] of bad) {
  t.test(`reports ${describe(value)} where a ${what} belongs, and gives nothing`, (t) => {
    const { field, report } = read(value)
    t.equal(reading(field), undefined)
    t.strictSame(problemsOf(report), [`error : ${String(problem)}`])
    t.ok(report.hasErrors)
    t.end()
  })
}

t.test('reports what is no list or map and reads it as an empty one', (t) => {
  const { field, report } = read('x')
  t.strictSame(field.list(), [])
  t.strictSame(field.entries(), [])
  t.strictSame(problemsOf(report), ["error : must be a list, not 'x'", "error : must be a map, not 'x'"])
  t.end()
})

t.test('finds a field under its snake_case and lowerCamelCase name, with the path as written', (t) => {
  for (const key of ['port_value', 'portValue']) {
    const { reader } = message({ [key]: 1 })
    t.strictSame(reader.take('port_value')?.path, [key])
  }
  t.strictSame(message({ consecutive5xx: 1 }).reader.take('consecutive_5xx')?.value, 1)
  t.end()
})

t.test('takes a null field for an absent one, and reports one that is required', (t) => {
  const { reader, report } = message({ a: null })
  t.equal(reader.take('a'), undefined)
  t.equal(reader.require('a'), undefined)
  t.equal(reader.has('a'), false)
  t.strictSame(reader.takeList('b'), [])
  reader.finish()
  t.strictSame(problemsOf(report), ['error : Thing needs a'])
  t.end()
})

t.test('ends a message with what is ignored, not supported and unknown, at its key', (t) => {
  const { reader, report } = message({ read: 1, harmless: 1, notYet: { x: 1 }, unset: [], typo: 1 })
  reader.take('read')
  reader.finish({ ignored: ['harmless'], unsupported: { not_yet: 'wait', unset: 'never said' } })
  t.strictSame(problemsOf(report), [
    'error notYet: Thing.not_yet is not supported: wait',
    "error typo: Thing has no field 'typo'; check the spelling, or remove it",
  ])
  t.ok(report.problems.every((problem) => problem.at === 'key'))
  t.strictSame(report.ignoredFields, ['Thing.harmless'])
  t.end()
})

t.test('has no errors after a warning', (t) => {
  const { field, report } = read('x')
  field.warn('careful')
  t.strictSame(problemsOf(report), ['warning : careful'])
  t.equal(report.hasErrors, false)
  t.end()
})

t.test('tells who asks of every field that a decoder knows, there or not', (t) => {
  const lookups: FieldLookup[] = []
  const report = new DecodeReport((lookup) => lookups.push(lookup))
  const reader = rootField({ portValue: 1, note: '', filter: [] }, report).message('Thing')
  reader?.take('port_value')
  reader?.take('name')
  reader?.finish({ ignored: ['note', 'other'], unsupported: { filter: 'remove it' } })
  t.strictSame(
    lookups.map(({ message, field, use, isPresent }) => [message, field, use, isPresent]),
    [
      ['Thing', 'port_value', 'read', true],
      ['Thing', 'name', 'read', false],
      ['Thing', 'note', 'ignored', true],
      ['Thing', 'other', 'ignored', false],
      ['Thing', 'filter', 'refused', true],
    ],
  )
  t.end()
})
