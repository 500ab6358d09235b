/** Holds that the files of the suite use everything of Envoy's files that is understood, and docs/ENVOY.md lists it. */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { CONNECTION_OPERATORS } from '../../src/mesh/access-log-operators.ts'
import { knownFields, renderFieldTable } from './fields.ts'

const FILES = 'test/differential/files'

/** Why a field that is accepted is in no file. */
const NOT_IN_FILES: Readonly<Record<string, string>> = {
  'Bootstrap.dynamic_resources': 'what a control plane sends has tests with a real one, in test/istiod',
  'Bootstrap.xds_delegate_extension': 'there is no such extension in Envoy itself',
  'Bootstrap.xds_config_tracker_extension': 'there is no such extension in Envoy itself',
}

const fields = knownFields(FILES)

t.test('every field that is read or accepted is in a file that Envoy runs too', async (t) => {
  t.ok(fields.length > 200, `${fields.length} fields`)
  const missing = fields
    .filter(({ use, isInFiles }) => use !== 'refused' && !isInFiles)
    .map(({ message, field }) => `${message}.${field}`)
  t.strictSame(missing.sort(), Object.keys(NOT_IN_FILES).sort())
})

t.test('every operator of access logs is in a file', async (t) => {
  const text = readdirSync(FILES)
    .map((name) => readFileSync(path.join(FILES, name), 'utf8'))
    .join('\n')
  t.strictSame(
    CONNECTION_OPERATORS.filter((name) => !text.includes(`%${name}%`)),
    [],
  )
})

t.test('docs/ENVOY.md lists every field with what becomes of it', async (t) => {
  const table = renderFieldTable(fields)
  t.ok(readFileSync('docs/ENVOY.md', 'utf8').includes(table), `write this into docs/ENVOY.md:\n${table}`)
})
