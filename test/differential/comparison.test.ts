/** The suite's own judgement: what counts as a difference, and which differences are known. */
import path from 'node:path'
import { writeFileSync } from 'node:fs'

import t from 'tap'

import { compare } from './comparison.ts'
import { readKnownDifferences } from './known-differences.ts'
import { describe, isAsWritten, isSame, shares, text, time } from './observation.ts'

import type { KnownDifference } from './known-differences.ts'
import type { Observation } from './observation.ts'

/** So many outcomes of each kind. */
function sample(counts: Readonly<Record<string, number>>): Observation {
  return shares(Object.entries(counts).flatMap(([outcome, count]) => Array<string>(count).fill(outcome)))
}

const HALVES = sample({ a: 300, b: 300 })

t.test('samples of one distribution are the same, others are not', async (t) => {
  t.ok(isSame(HALVES, sample({ a: 330, b: 270 })), 'within chance')
  t.notOk(isSame(HALVES, sample({ a: 400, b: 200 })), 'a third more')
  t.notOk(isSame(HALVES, sample({ a: 600 })), 'all')
  t.notOk(isSame(HALVES, sample({ a: 300, c: 300 })), 'another outcome')
  t.notOk(isSame(sample({ a: 100 }), sample({ a: 50, b: 50 })))
  t.ok(isSame(sample({ a: 10 }), sample({ a: 999 })))
})

t.test('a time is the same within the tolerance, and never the same as text', async (t) => {
  t.ok(isSame(time(1_000, 300), time(1_300, 300)))
  t.notOk(isSame(time(1_000, 300), time(1_301, 300)))
  t.notOk(isSame(time(1_000, 300), text('1.0 s')))
})

t.test('an observation is as it is written', async (t) => {
  for (const observation of [HALVES, time(1_040, 100), text('nothing, FIN'), sample({ a: 1, b: 2 })])
    t.ok(isAsWritten(observation, describe(observation)), describe(observation))
  t.equal(describe(HALVES), 'a 50 %, b 50 %')
  t.notOk(isAsWritten(HALVES, 'a 100 %'), 'b is not written')
  t.notOk(isAsWritten(HALVES, 'a 80 %, b 20 %'))
  t.notOk(isAsWritten(sample({ a: 600 }), 'a 50 %, b 50 %'), 'b is not seen')
  t.notOk(isAsWritten(time(2_000, 100), '1.0 s'))
})

const SERVED = { 'web: the file': text('served') }

function row(seenIn: string, envoy: string, twinstack: string): KnownDifference {
  return { section: 'why', seenIn, envoy, twinstack }
}

t.test('a difference that is not listed is found, and so is a listed one that is gone', async (t) => {
  const envoy = { ...SERVED, 'web: end': text('FIN'), 'web: answer': text('a'), 'other: end': text('FIN') }
  const twinstack = {
    ...SERVED,
    'web: end': text('RST'),
    'web: answer': text('a'),
    'other: end': text('RST'),
  }
  const known = [row('web: end', 'FIN', 'RST')]
  t.strictSame(compare('web', envoy, twinstack, known), { unlisted: [], stale: [], compared: 3 })
  t.strictSame(compare('web', envoy, twinstack, []).unlisted, ['| web: end | `FIN` | `RST` |'])
  t.strictSame(compare('web', envoy, envoy, known).stale, ['| web: end | `FIN` | `RST` |'])
  const others = [row('web: end', 'FIN', 'FIN'), row('web: nothing', 'a', 'b')]
  const result = compare('web', envoy, twinstack, others)
  t.strictSame(result.unlisted, ['| web: end | `FIN` | `RST` |'], 'listed in another way')
  t.strictSame(result.stale, ['| web: end | `FIN` | `FIN` |', '| web: nothing | `a` | `b` |'])
})

t.test('what only one of the proxies shows is a difference', async (t) => {
  const envoy = { ...SERVED, 'web: end': text('FIN') }
  t.strictSame(compare('web', envoy, SERVED, []).unlisted, ['| web: end | `FIN` | `not seen` |'])
  t.strictSame(compare('web', envoy, SERVED, [row('web: end', 'FIN', 'not seen')]).stale, [])
})

t.test('of a file that one of the proxies refuses nothing else is compared', async (t) => {
  const envoy = { ...SERVED, 'web: end': text('FIN') }
  const refused = { 'web: the file': text('refused') }
  const known = [row('web: the file', 'served', 'refused')]
  t.strictSame(compare('web', envoy, refused, known), { unlisted: [], stale: [], compared: 1 })
  t.strictSame(compare('web', envoy, refused, []).unlisted, ['| web: the file | `served` | `refused` |'])
})

t.test('sections of the documentation need a reason and rows of one form', async (t) => {
  const file = path.join(t.testdir(), 'ENVOY.md')
  const head = '| seen in | Envoy | twinstack |\n|---|---|---|\n'
  const sections = [
    `### One\n\nBecause.\n\n${head}| web: end | \`FIN\` | \`RST\` |\n`,
    `### Node engine: two\n\nBecause.\n\n${head}| web: answer | \`a | b\` | \`c\` |\n`,
    `### Three\n\n${head}| web: no backquotes | a | b |\n`,
    '### Four\n\nBecause.\n',
  ]
  writeFileSync(file, `# Envoy\n\n## Differences\n\n${sections.join('\n')}\n## What else\n\n### Five\n`)
  const { rows, mistakes } = readKnownDifferences(file, 'node')
  t.strictSame(rows, [
    { section: 'One', seenIn: 'web: end', envoy: 'FIN', twinstack: 'RST' },
    { section: 'Node engine: two', seenIn: 'web: answer', envoy: 'a | b', twinstack: 'c' },
  ])
  t.strictSame(mistakes, [
    "'Three' gives no reason",
    "'Three' has a row of another form: | web: no backquotes | a | b |",
    "'Four' has no rows",
  ])
  t.strictSame(
    readKnownDifferences(file, 'linux').rows.map(({ section }) => section),
    ['One'],
  )
})
