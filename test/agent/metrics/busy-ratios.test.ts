import t from 'tap'

import { BusyRatios } from '../../../src/agent/metrics/busy-ratios.ts'
import { ProxyTotals } from '../../../src/proxy/proxy-totals.ts'
import { openThread } from '../../fixtures/thread-stats.ts'

t.test('tells the share of the time since it was last asked', async (t) => {
  const totals = new ProxyTotals()
  const ratios = new BusyRatios(() => totals.loads)
  const { stats } = openThread(totals, '0')
  openThread(totals, 'main')
  stats.ran(2, 1)
  t.strictSame([...ratios.take()], [['0', 0.5]], 'a thread that measures nothing is left out')
  stats.ran(4, 1)
  t.strictSame([...ratios.take()], [['0', 0.25]])
  t.strictSame([...ratios.take()], [['0', 0.25]], 'no turn has ended')
  stats.ran(1, 1)
  t.strictSame([...ratios.take()], [['0', 1]])
})

t.test('begins anew with a thread that was started anew', async (t) => {
  const totals = new ProxyTotals()
  const ratios = new BusyRatios(() => totals.loads)
  const { stats, slots } = openThread(totals, '0')
  stats.ran(2, 2)
  ratios.take()
  totals.retire(slots, 'internal')
  openThread(totals, '0').stats.ran(10, 1)
  t.strictSame([...ratios.take()], [['0', 0.1]])
})
