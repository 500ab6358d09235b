/** Holds docs/CONFIGURATION.md, docs/METRICS.md and docs/ERRORS.md equal to the tables in the code. */
import { readFileSync } from 'node:fs'

import t from 'tap'

import { METRICS, TRAFFIC_LABELS } from '../src/agent/metrics/metrics-schema.ts'
import { readSettings } from '../src/agent/settings/settings.ts'
import { renderSettingsTable } from '../src/agent/settings/settings-table.ts'
import { ERROR_CODES } from '../src/core/errors.ts'
import { CLOSE_REASONS } from '../src/proxy/close-reason.ts'
import { ATTEMPT_RESULTS, FALLBACK_REASONS } from '../src/proxy/connection-record.ts'

import type { CloseReason } from '../src/proxy/close-reason.ts'
import type { MetricFamily } from '../src/agent/metrics/metrics-schema.ts'

/** The rows of the table under a heading, without its head. */
function tableUnder(text: string, heading: string): readonly string[] {
  const start = text.indexOf(`\n## ${heading}\n`)
  if (start < 0) throw new Error(`there is no heading ${heading}`)
  const end = text.indexOf('\n## ', start + 1)
  const lines = text.slice(start, end < 0 ? undefined : end).split('\n')
  return lines.filter((line) => line.startsWith('|')).slice(2)
}

/** The first cell of each row, without its backquotes. */
function names(rows: readonly string[]): readonly string[] {
  return rows.map((row) => row.split('|')[1]?.trim().replaceAll('`', '') ?? '')
}

function metricRow({ name, type, labels, help }: MetricFamily): string {
  const labelText = name.startsWith('istio_tcp_')
    ? 'traffic labels'
    : labels.map((label) => `\`${label}\``).join(', ')
  return `| \`${name}\` | ${type} | ${labelText} | ${help} |`
}

t.test('docs/CONFIGURATION.md holds the table of settings', async (t) => {
  const text = readFileSync('docs/CONFIGURATION.md', 'utf8')
  const table = renderSettingsTable()
  t.ok(text.includes(table), `write this into docs/CONFIGURATION.md:\n${table}`)
})

t.test('each agent that README.md starts is told all that a start needs', async (t) => {
  const text = readFileSync('README.md', 'utf8')
  const starts = [...text.matchAll(/^((?:[A-Z_]+=\S+ )*)node dist\/src\/agent\/main\.js agent( -c \S+)?/gm)]
  t.equal(starts.length, 4)
  for (const [line, variables = '', config] of starts) {
    const env = Object.fromEntries(
      [...variables.matchAll(/([A-Z_]+)=(\S+)/g)].map(([, name = '', value = '']) => [name, value] as const),
    )
    const flags = config === undefined ? {} : { config: config.replace(' -c ', '') }
    t.match(readSettings({ env, flags }), { ok: true }, line)
  }
})

t.test('docs/METRICS.md holds every metric with type, labels and help', async (t) => {
  const text = readFileSync('docs/METRICS.md', 'utf8')
  t.strictSame(tableUnder(text, 'Metrics'), Object.values(METRICS).map(metricRow))
  t.strictSame(names(tableUnder(text, 'Traffic labels')), [...TRAFFIC_LABELS])
})

t.test('docs/METRICS.md asks for the close reasons that turn a client away, and for no other', async (t) => {
  const reasons = Object.keys(CLOSE_REASONS)
  const row = tableUnder(readFileSync('docs/METRICS.md', 'utf8'), 'Questions and their queries').find(
    (each) => each.startsWith('| what are clients turned away for? |'),
  )
  const pattern = /reason=~"([^"]+)"/.exec(row?.replaceAll('\\|', '|') ?? '')?.[1] ?? ''
  const turnedAway: readonly CloseReason[] = [
    'upstream_refused',
    'upstream_unreachable',
    'upstream_timeout',
    'upstream_failed',
    'upstream_overflow',
    'no_route',
    'no_cluster',
    'no_endpoints',
    'policy_denied',
    'mtls_required',
    'destination_is_proxy',
    'connection_limit',
    'internal',
  ]
  t.strictSame(
    reasons.filter((reason) => new RegExp(`^(?:${pattern})$`).test(reason)),
    turnedAway,
  )
  const parts = pattern.match(/[a-z_]+/g) ?? []
  t.strictSame(
    parts.filter((part) => !reasons.some((reason) => reason.includes(part))),
    [],
    'every part is of a reason that there is',
  )
})

t.test(
  'docs/ERRORS.md holds every close reason, error code, attempt result and fallback reason',
  async (t) => {
    const text = readFileSync('docs/ERRORS.md', 'utf8')
    const reasons = Object.entries(CLOSE_REASONS).map(
      ([reason, { downstreamEnd, responseFlag, isExpected, meaning }]) =>
        `| \`${reason}\` | \`${responseFlag}\` | ${downstreamEnd.toUpperCase()} | ${isExpected ? 'info' : 'error'} | ${meaning} |`,
    )
    t.strictSame(tableUnder(text, 'Close reasons'), reasons)
    t.strictSame(names(tableUnder(text, 'Error codes')), [...ERROR_CODES])
    t.strictSame(names(tableUnder(text, 'Attempt results')), [...ATTEMPT_RESULTS])
    t.strictSame(names(tableUnder(text, 'Fallback reasons')), [...FALLBACK_REASONS])
  },
)
