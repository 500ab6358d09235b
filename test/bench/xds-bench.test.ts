/** The verdicts on figures with a bound, and the xds bench of a whole agent with small numbers. */
import t from 'tap'

import { reportFigures } from '../../bench/report/bounded-figure.ts'
import { measureXdsDecode } from '../../bench/xds-decode.ts'
import { measureXdsStream } from '../../bench/xds-stream.ts'
import { whyNoLinuxEngine } from '../fixtures/linux-engine.ts'

t.test('a goal is met when the median of the rounds is no more than its bound', async (t) => {
  const report = reportFigures(
    [
      { title: 'as much as may be', unit: 'ms', max: 5, rounds: [4, 5, 9] },
      { title: 'too much', unit: 'B', max: 1_200, rounds: [1_201] },
      { title: 'no number', unit: 'ms', max: 5, rounds: [NaN] },
    ],
    'a machine',
  )
  t.strictSame(report.missed, ['too much', 'no number'])
  t.match(report.text, /^a machine\n/)
  t.match(report.text, /as much as may be +\| ms +\| ≤ 5 +\| 5\.00 +\| met/)
  t.match(report.text, /too much +\| B +\| ≤ 1,200 +\| 1,201 +\| missed/)
})

t.test('a figure without a goal is shown and fails nothing', async (t) => {
  const report = reportFigures([{ title: 'peak', unit: 'MB', rounds: [300] }], 'a machine')
  t.strictSame(report.missed, [])
  t.match(report.text, /peak +\| MB +\| +\| 300 +\|  +\|/)
})

t.test('both readers of workloads are measured on the same bytes', async (t) => {
  const figures = measureXdsDecode({ note: () => undefined, rounds: 2 }, 1_000)
  t.equal(figures.length, 2)
  for (const { title, rounds } of figures) t.ok(rounds.length === 2 && rounds.every((ms) => ms > 0), title)
})

const noLinuxEngine = await whyNoLinuxEngine()
t.test(
  'an agent is measured while it gets a mesh in one response',
  { skip: noLinuxEngine ?? false },
  async (t) => {
    const notes: string[] = []
    const figures = await measureXdsStream(
      { note: (text) => notes.push(text), rounds: 1 },
      { workloads: 200, services: 10, changes: 3, transferMib: 1 },
    )
    for (const { title, rounds } of figures) t.ok(Number.isFinite(rounds[0]), `${title}: ${rounds.join()}`)
    const valueOf = (part: string): number =>
      figures.find(({ title }) => title.includes(part))?.rounds[0] ?? NaN
    t.ok(valueOf('in force') > 0)
    t.ok(valueOf('planned') > 0)
    t.ok(valueOf('longest pause') > 0)
    t.match(notes.at(-1), /[1-9]\d* MiB passed/)
  },
)
