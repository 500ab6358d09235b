import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

import fc from 'fast-check'
import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { ProxyTotals } from '../../src/proxy/proxy-totals.ts'
import { ATTEMPT_RESULTS, FALLBACK_REASONS } from '../../src/proxy/connection-record.ts'
import { closedSlot, CLOSE_REASON_NAMES } from '../../src/proxy/stats-slots.ts'
import { openThread } from '../fixtures/thread-stats.ts'

t.test('adds up what all threads have counted', async (t) => {
  const totals = new ProxyTotals()
  for (const thread of ['main', '0', '1']) {
    const { stats } = openThread(totals, thread)
    stats.accepted('web', 'ipv6')
    stats.attempt('ipv4', 'connected', 2_000)
    stats.connected({ downstream: 'ipv6', upstream: 'ipv4' })
    stats.fellBack({ from: 'ipv6', to: 'ipv4', reason: 'slow' })
    stats.closed('drained')
    stats.spliceFellBack('resources_exhausted')
  }
  t.match(totals.listeners.counts.get('web'), { ipv6: { accepted: 3, active: 3 } })
  t.equal(totals.attempts('ipv4', 'connected'), 3)
  t.match(totals.connectTimes('ipv4'), { sumSeconds: 6, count: 3 })
  t.equal(totals.upstreamConnections('ipv6', 'ipv4'), 3)
  t.equal(totals.upstreamConnections('ipv4', 'ipv6'), 0)
  t.strictSame(
    totals.fallbacks.filter(({ count }) => count > 0),
    [{ from: 'ipv6', to: 'ipv4', reason: 'slow', count: 3 }],
  )
  t.equal(totals.closed('drained'), 3)
  t.equal(totals.spliceFallbacks('resources_exhausted'), 3)
})

t.test('keeps what a thread that died had counted, and takes its open connections off', async (t) => {
  const totals = new ProxyTotals()
  const { slots, stats } = openThread(totals, '0')
  const other = openThread(totals, '1')
  other.stats.accepted('web', 'ipv4')
  for (const family of FAMILIES) stats.accepted('web', family)
  stats.ended(stats.accepted('web', 'ipv4'), 'ipv4')
  stats.closed('finished')
  t.equal(totals.retire(slots, 'internal'), 2)
  t.match(totals.listeners.counts.get('web'), {
    ipv4: { accepted: 3, active: 1 },
    ipv6: { accepted: 1, active: 0 },
  })
  t.equal(totals.closed('finished'), 1)
  t.equal(totals.closed('internal'), 2)
  t.equal(totals.retire(slots, 'internal'), 0, 'only once')
  t.equal(totals.closed('internal'), 2)
})

t.test('frees the entry of a removed listener whose connections died with their thread', async (t) => {
  const totals = new ProxyTotals({ capacity: 1 })
  const { slots, stats } = openThread(totals)
  stats.accepted('old', 'ipv4')
  totals.listeners.remove('old')
  totals.retire(slots, 'internal')
  openThread(totals).stats.accepted('new', 'ipv4')
  t.strictSame([...totals.listeners.counts.keys()], ['new'])
  t.match(totals.listeners.counts.get('new'), { ipv4: { accepted: 1, active: 1 } })
})

t.test(
  'tells the load of each thread that lives, a new one for a thread that was started anew',
  async (t) => {
    const totals = new ProxyTotals()
    const { slots, stats } = openThread(totals, '0')
    stats.ran(2, 0.5)
    stats.ran(1, 0.25)
    t.match(totals.loads, [{ thread: '0', runSeconds: 3, busySeconds: 0.75 }])
    const [before] = totals.loads
    t.equal(totals.loads[0], before)
    totals.retire(slots, 'internal')
    t.strictSame(totals.loads, [])
    openThread(totals, '0')
    t.match(totals.loads, [{ thread: '0', runSeconds: 0 }])
    t.not(totals.loads[0], before)
  },
)

t.test('reads what another thread writes', async (t) => {
  const totals = new ProxyTotals()
  const slots = totals.open('0')
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads')
     workerData.slots[workerData.slot] += 7`,
    { eval: true, workerData: { slots, slot: closedSlot('finished') } },
  )
  await once(worker, 'exit')
  t.equal(totals.closed('finished'), 7)
})

t.test('no counter goes backwards, whatever threads count and die', async () => {
  const event = fc.oneof(
    fc.constantFrom(...FAMILIES).map((family) => ({ kind: 'accept' as const, family })),
    fc.constant({ kind: 'end' as const }),
    fc.constant({ kind: 'die' as const }),
    fc.constantFrom(...CLOSE_REASON_NAMES).map((reason) => ({ kind: 'close' as const, reason })),
    fc.constantFrom(...ATTEMPT_RESULTS).map((result) => ({ kind: 'attempt' as const, result })),
    fc.constantFrom(...FALLBACK_REASONS).map((reason) => ({ kind: 'fallback' as const, reason })),
  )
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), event), { maxLength: 60 })
  fc.assert(
    fc.property(steps, (each) => {
      const totals = new ProxyTotals()
      const threads = [0, 1, 2].map((index) => ({ ...openThread(totals, String(index)), open: openList() }))
      let before = counters(totals)
      for (const [index, step] of each) {
        const thread = threads[index]
        if (thread === undefined) return false
        switch (step.kind) {
          case 'accept':
            thread.open.push({ entry: thread.stats.accepted('web', step.family), family: step.family })
            break
          case 'end': {
            const ended = thread.open.pop()
            if (ended !== undefined) thread.stats.ended(ended.entry, ended.family)
            break
          }
          case 'die':
            if (totals.retire(thread.slots, 'internal') !== thread.open.length) return false
            threads[index] = { ...openThread(totals, String(index)), open: openList() }
            break
          case 'close':
            thread.stats.closed(step.reason)
            break
          case 'attempt':
            thread.stats.attempt('ipv4', step.result, 3)
            break
          case 'fallback':
            thread.stats.fellBack({ from: 'ipv4', to: 'ipv6', reason: step.reason })
            break
        }
        const now = counters(totals)
        if (now.some((count, place) => count < (before[place] ?? 0))) return false
        before = now
        const active = threads.reduce((sum, { open }) => sum + open.length, 0)
        const web = totals.listeners.counts.get('web')
        if ((web?.ipv4.active ?? 0) + (web?.ipv6.active ?? 0) !== active) return false
      }
      return true
    }),
  )
})

function openList(): { readonly entry: number; readonly family: 'ipv4' | 'ipv6' }[] {
  return []
}

function counters(totals: ProxyTotals): readonly number[] {
  const web = totals.listeners.counts.get('web')
  return [
    ...CLOSE_REASON_NAMES.map((reason) => totals.closed(reason)),
    ...ATTEMPT_RESULTS.map((result) => totals.attempts('ipv4', result)),
    ...totals.fallbacks.map(({ count }) => count),
    ...totals.connectTimes('ipv4').buckets,
    ...FAMILIES.map((family) => web?.[family].accepted ?? 0),
  ]
}
