/** The verdicts of the xds benches. */
import t from 'tap'

import { reportXds } from '../../bench/xds-bench.ts'

t.test('a goal is met when the median of the rounds is no more than its bound', async (t) => {
  const report = reportXds(
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
