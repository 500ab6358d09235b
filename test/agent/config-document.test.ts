/** Reading configuration files: values, places, and what is wrong with the text itself. */
import t from 'tap'

import { formatProblem, parseConfigDocument } from '../../src/agent/config-document.ts'

import type { ConfigDocument } from '../../src/agent/config-document.ts'
import type { Path } from '../../src/core/result.ts'

function parse(text: string): ConfigDocument {
  const result = parseConfigDocument(text)
  if (!result.ok) throw new Error(result.problems.map((problem) => problem.message).join('; '))
  return result.document
}

t.test('reads YAML and the same content as JSON into equal values', (t) => {
  const yaml = parse('a:\n  - b: 1\n    c: true\n    d: text\n    e:\n')
  const json = parse('{\n\t"a": [\n\t\t{"b": 1, "c": true, "d": "text", "e": null}\n\t]\n}\n')
  t.strictSame(yaml.value, { a: [{ b: 1, c: true, d: 'text', e: null }] })
  t.strictSame(json.value, yaml.value)
  t.end()
})

t.test('keeps every digit of whole numbers that a number cannot hold', (t) => {
  const { value } = parse('big: 9223372036854775807\nsmall: 9007199254740991\nfraction: 0.5\nhex: 0x10\n')
  t.strictSame(value, { big: '9223372036854775807', small: 9007199254740991, fraction: 0.5, hex: 16 })
  t.end()
})

t.test('reads yes and no as text, as YAML 1.2 does', (t) => {
  t.strictSame(parse('a: yes\nb: no\nc: true\n').value, { a: 'yes', b: 'no', c: true })
  t.end()
})

t.test('expands anchors and merge keys', (t) => {
  const { value } = parse('base: &base {x: 1, y: 2}\nall:\n  <<: *base\n  y: 3\nsame: *base\n')
  t.strictSame(value, { base: { x: 1, y: 2 }, all: { x: 1, y: 3 }, same: { x: 1, y: 2 } })
  t.end()
})

t.test('ignores an empty document beside the one that counts', (t) => {
  t.strictSame(parse('---\na: 1\n---\n').value, { a: 1 })
  t.end()
})

const PLACED = [
  'listeners:', // 1
  '- name: first', // 2
  '  address:', // 3
  '    port_value: 15001', // 4
  '- &second', // 5
  '  name: second', // 6
  '- *second', // 7
  '- {<<: *second, extra: 1}', // 8
  'nothing:', // 9
].join('\n')

const places: readonly (readonly [Path, 'key' | undefined, number, number])[] = [
  [[], undefined, 1, 1],
  [['listeners'], undefined, 2, 1],
  [['listeners'], 'key', 1, 1],
  [['listeners', 0, 'name'], undefined, 2, 9],
  [['listeners', 0, 'address', 'port_value'], undefined, 4, 17],
  [['listeners', 0, 'address', 'port_value'], 'key', 4, 5],
  [['listeners', 0, 'address', 'address'], undefined, 4, 5],
  [['listeners', 0, 'address', 'address', 'deeper'], 'key', 4, 5],
  [['listeners', 9], undefined, 2, 1],
  [['listeners', 2], undefined, 7, 3],
  [['listeners', 2, 'name'], undefined, 6, 9],
  [['listeners', 3, 'name'], undefined, 6, 9],
  [['listeners', 3, 'extra'], 'key', 8, 17],
  [['nowhere'], undefined, 1, 1],
]
t.test('locates a path at its value or key, and a missing one at the nearest parent', (t) => {
  const document = parse(PLACED)
  for (const [path, at, line, column] of places)
    t.strictSame(document.locate(path, at), { line, column }, JSON.stringify([path, at]))
  t.end()
})

const broken: readonly (readonly [string, string, number, number, RegExp])[] = [
  ['a duplicate key', 'a: 1\nb: 2\na: 3\n', 3, 1, /this key is in the map already; remove one/],
  ['a tab as indentation', 'a:\n\tb: 1\n', 2, 1, /a tab cannot indent YAML; use spaces/],
  ['bad indentation', 'a: [1,\n2]\nb: 1', 2, 1, /bad indentation/],
  ['an item deeper than its siblings', 'a: 1\n b: 2\n', 1, 4, /./],
  ['an open quote', 'a: "x\n', 2, 1, /missing closing "quote/i],
  ['an alias without an anchor', 'a: *nope\n', 1, 4, /no anchor '&nope'/],
  ['an unknown tag', 'a: !env HOME\n', 1, 4, /unresolved tag: !env/],
  ['several documents', 'a: 1\n---\nb: 1\n', 3, 1, /more than one YAML document; keep one/],
  ['an empty file', '', 1, 1, /the file is empty; write a configuration/],
  ['a file of comments', '# later\n', 1, 1, /the file is empty/],
  ['a file that is null', 'null\n', 1, 1, /the file is empty/],
]
for (const [what, text, line, column, message] of broken) {
  t.test(`refuses ${what} and says where`, (t) => {
    const result = parseConfigDocument(text)
    const [problem] = result.ok ? [] : result.problems
    t.strictSame(problem?.place, { line, column })
    t.match(problem?.message, message)
    t.equal(problem?.severity, 'error')
    t.end()
  })
}

t.test('refuses aliases that expand without end', (t) => {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]']
  for (let level = 1; level < 9; level++)
    lines.push(
      `a${level}: &a${level} [${Array<string>(10)
        .fill(`*a${level - 1}`)
        .join(', ')}]`,
    )
  const result = parseConfigDocument(lines.join('\n'))
  t.equal(result.ok, false)
  t.end()
})

t.test('formats a problem with file, line, column, severity, path and message', (t) => {
  const document = parse(PLACED)
  const path = ['listeners', 0, 'address', 'port_value']
  t.equal(
    formatProblem('mesh.yaml', document, { path, severity: 'error', message: 'too large' }),
    'mesh.yaml:4:17: error: listeners[0].address.port_value: too large',
  )
  t.equal(
    formatProblem('mesh.yaml', document, { path, severity: 'warning', message: 'unknown', at: 'key' }),
    'mesh.yaml:4:5: warning: listeners[0].address.port_value: unknown',
  )
  t.end()
})

t.test('formats a problem of the text itself without a path', (t) => {
  const result = parseConfigDocument('a: 1\na: 2\n')
  t.strictSame(
    (result.ok ? [] : result.problems).map((problem) => formatProblem('x.yaml', undefined, problem)),
    ['x.yaml:2:1: error: this key is in the map already; remove one of the two'],
  )
  t.end()
})
