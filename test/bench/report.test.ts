/** How the bench judges and shows what it has measured. */
import t from 'tap'

import { CONTROL, Figures } from '../../bench/report/figures.ts'
import { judge } from '../../bench/report/goals.ts'
import { renderPlot } from '../../bench/report/plot.ts'
import { median } from '../../bench/report/statistics.ts'
import { renderReport } from '../../bench/report/table.ts'

import type { FigureRow, FigureSubject } from '../../bench/report/figures.ts'
import type { Contender, Report } from '../../bench/report/report.ts'

const UPLOAD: FigureSubject = {
  id: 'upload',
  title: 'upload',
  family: 'ipv6',
  unit: 'Gbit/s',
  isHigherBetter: true,
}
const IDLE: FigureSubject = { ...UPLOAD, id: 'idle-rss', title: 'idle', unit: 'kB', isHigherBetter: false }
const SILENT: FigureSubject = {
  ...UPLOAD,
  id: 'fallback-silent-first',
  title: 'silent',
  unit: 'ms',
  isHigherBetter: false,
  isRelative: true,
}

/** A row with one round. */
function rowOf(subject: FigureSubject, values: Readonly<Record<string, number>>): FigureRow {
  const figures = new Figures()
  for (const [contender, value] of Object.entries(values)) figures.add(subject, contender, value)
  const [row] = figures.rows()
  if (row === undefined) throw new TypeError('a row needs a value')
  return row
}

function stateOf(subject: FigureSubject, values: Readonly<Record<string, number>>): string | undefined {
  return judge([rowOf(subject, values)], 'own')[0]?.state
}

t.test('a figure is the median of its rounds, and rows keep their order', async (t) => {
  const figures = new Figures()
  for (const value of [9, 1, 5]) figures.add(UPLOAD, 'own', value)
  figures.add(IDLE, 'own', 2)
  t.match(figures.rows(), [
    { id: 'upload', figures: { own: { median: 5, rounds: [9, 1, 5] } } },
    { id: 'idle-rss', figures: { own: { median: 2 } } },
  ])
  t.throws(() => {
    figures.add(UPLOAD, 'own', NaN)
  }, TypeError)
  t.equal(median([4, 1, 2, 9]), 3)
})

t.test('a goal compares with the best of the peers, not with the control', async (t) => {
  const peers = { haproxy: 10, nginx: 8, envoy: 6, [CONTROL]: 99 }
  t.equal(stateOf(UPLOAD, { own: 11.5, ...peers }), 'met')
  t.equal(stateOf(UPLOAD, { own: 11.4, ...peers }), 'missed')
  t.equal(stateOf(IDLE, { own: 3.6, ...peers }), 'met', 'the best is the least where less is better')
  t.equal(stateOf(IDLE, { own: 3.7, ...peers }), 'missed')
  t.match(judge([rowOf(IDLE, { own: 3, ...peers })], 'own'), [{ bestPeer: 'envoy', reached: 0.5 }])
})

t.test(
  'a goal is not met while a peer is missing, and missed all the same where one is better',
  async (t) => {
    t.equal(stateOf(UPLOAD, { own: 20, haproxy: 10 }), 'not measured')
    t.equal(stateOf(UPLOAD, { own: 20 }), 'not measured')
    t.equal(stateOf(UPLOAD, { haproxy: 10, nginx: 8, envoy: 6 }), 'not measured')
    t.equal(stateOf(UPLOAD, { own: 10, haproxy: 10 }), 'missed')
  },
)

t.test('a goal does not compare with a peer that is shown beside those of the goals', async (t) => {
  const peers = { haproxy: 10, 'haproxy-1m': 20, nginx: 8, envoy: 6 }
  t.equal(stateOf(UPLOAD, { own: 11.5, ...peers }), 'met')
})

t.test('a goal with bounds holds at both ends', async (t) => {
  t.strictSame(
    [249, 250, 280, 281].map((own) => stateOf(SILENT, { own })),
    ['missed', 'met', 'met', 'missed'],
  )
})

const CONTENDERS: readonly Contender[] = [
  { name: CONTROL, description: 'the node only routes', kind: 'control' },
  { name: 'own', description: 'twinstack', kind: 'twinstack' },
  { name: 'haproxy', description: 'HAProxy', kind: 'peer' },
]

function reportOf(rows: readonly FigureRow[]): Report {
  return {
    startedAt: '2026-01-01T00:00:00.000Z',
    machine: { cpu: 'cpu', cores: 2, memoryGib: 4, system: 'Linux', node: 'v20', loadBefore: 0 },
    rounds: 1,
    seconds: 1,
    contenders: CONTENDERS,
    leftOut: ['nginx is not on the PATH'],
    failures: [],
    rows,
    verdicts: judge(rows, 'own'),
  }
}

t.test('the table has figures, ratios where they say something, verdicts, and what is missing', async (t) => {
  const rows = [
    rowOf(UPLOAD, { [CONTROL]: 20, own: 12, haproxy: 10 }),
    rowOf(SILENT, { own: 251, haproxy: 300 }),
  ]
  const text = renderReport(reportOf(rows)).replaceAll(/ +/g, ' ')
  t.match(text, '- left out: nginx is not on the PATH')
  t.match(text, '| upload | ipv6 | Gbit/s | 20.0 | 12.0 | 10.0 |')
  t.match(text, '| upload | ipv6 | above 1 | 0.60 | 1.20 | 1.20 (haproxy) |')
  t.match(text, '| upload | ipv6 | ≥ 1.15 × the best proxy | 1.20 × haproxy | not measured |')
  t.match(text, '| silent | ipv6 | 250 to 280 | 251 | met |')
  t.notMatch(text, '| silent | ipv6 | below 1 |')
})

t.test('the plot has a bar per contender, as long as its figure', async (t) => {
  const plot = renderPlot(reportOf([rowOf(UPLOAD, { [CONTROL]: 20, own: 10, haproxy: 5 })])) ?? ''
  const widths = [...plot.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, width]) =>
    Number(width),
  )
  const [longest = 0] = widths
  t.strictSame(
    widths.map((width) => Math.round((100 * width) / longest)),
    [100, 50, 25],
  )
  t.match(plot, 'upload, Gbit/s')
  t.equal(renderPlot(reportOf([rowOf(SILENT, { own: 251 })])), undefined, 'nothing to draw')
})
