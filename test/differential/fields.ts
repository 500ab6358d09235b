/** Which fields of Envoy's messages the decoders know, found by letting them read the files of the suite. */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

import { parseConfigDocument } from '../../src/agent/config-document.ts'
import { formatPath } from '../../src/core/result.ts'
import { DecodeReport } from '../../src/xds-client/reading/message-reader.ts'
import { decodeAssignments, decodeBootstrap } from '../../src/xds-client/resources/bootstrap.ts'

import type { FieldUse } from '../../src/xds-client/reading/message-reader.ts'

/** A field that the decoders know. */
export interface KnownField {
  readonly message: string
  readonly field: string
  readonly use: FieldUse
  /** True when a file of the suite has it. */
  readonly isInFiles: boolean
}

/** Beside the type of a google.protobuf.Any, which is no field. */
const TYPE_FIELD = '@type'
/** Looked at to say what is wrong with them: whatever their value, they are refused. */
const REFUSED_WHATEVER: readonly string[] = [
  'ConfigSource.ads',
  'ConfigSource.api_config_source',
  'ConfigSource.self',
]

/** The known fields, by message. A message counts as far as a file has it, so that the files have to have all. */
export function knownFields(folder: string): readonly KnownField[] {
  const fields = new Map<string, KnownField>()
  for (const name of readdirSync(folder)) {
    const parsed = parseConfigDocument(readFileSync(path.join(folder, name), 'utf8'))
    if (!parsed.ok) throw new Error(`${name} cannot be parsed`)
    const report = new DecodeReport(({ message, field, use, isPresent }) => {
      if (field === TYPE_FIELD) return
      const key = `${message}.${field}`
      const known = fields.get(key)
      const isInFiles = isPresent || known?.isInFiles === true
      // What is read in one place and refused in another is read.
      const ownUse = REFUSED_WHATEVER.includes(key) ? 'refused' : use
      fields.set(key, { message, field, use: known?.use === 'read' ? 'read' : ownUse, isInFiles })
    })
    const { value } = parsed.document
    if (name.endsWith('-eds.yaml')) decodeAssignments(value, [], report)
    else decodeBootstrap(value, report)
    const [problem] = report.problems.filter(({ severity }) => severity === 'error')
    if (problem !== undefined) throw new Error(`${name}: ${formatPath(problem.path)}: ${problem.message}`)
  }
  return [...fields.values()].sort(
    (a, b) => compareTexts(a.message, b.message) || compareTexts(a.field, b.field),
  )
}

/** The fields as the table of docs/ENVOY.md. */
export function renderFieldTable(fields: readonly KnownField[]): string {
  const messages = [...new Set(fields.map(({ message }) => message))]
  const cell = (message: string, use: FieldUse): string =>
    fields
      .filter((each) => each.message === message && each.use === use)
      .map(({ field }) => `\`${field}\``)
      .join(' ')
  return [
    '| message | read | accepted without effect | refused |',
    '|---|---|---|---|',
    ...messages.map((message) =>
      ['', message, cell(message, 'read'), cell(message, 'ignored'), cell(message, 'refused'), '']
        .join(' | ')
        .trim(),
    ),
  ].join('\n')
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
