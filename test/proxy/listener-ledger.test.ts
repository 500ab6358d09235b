import t from 'tap'

import { OVERFLOW_LISTENER } from '../../src/proxy/listener-ledger.ts'
import { ProxyTotals } from '../../src/proxy/proxy-totals.ts'
import { LISTENER_ENTRIES } from '../../src/proxy/stats-slots.ts'
import { openThread } from '../fixtures/thread-stats.ts'

t.test('counts accepted and active connections per listener and family', async (t) => {
  const { listeners, stats } = bench()
  stats.accepted('web', 'ipv4')
  stats.accepted('web', 'ipv6')
  stats.ended(stats.accepted('web', 'ipv6'), 'ipv6')
  t.strictSame(listeners.counts.get('web'), {
    ipv4: { accepted: 1, active: 1, state: undefined },
    ipv6: { accepted: 2, active: 1, state: undefined },
  })
})

t.test('keeps a removed listener until its last connection has ended', async (t) => {
  const { listeners, stats } = bench()
  listeners.setState('web', 'ipv4', 'bound')
  const entry = stats.accepted('web', 'ipv4')
  listeners.remove('web')
  t.match(listeners.counts.get('web'), { ipv4: { active: 1, state: undefined } })
  stats.ended(entry, 'ipv4')
  t.equal(listeners.counts.size, 0)
})

t.test('keeps a listener that comes back before its last connection has ended', async (t) => {
  const { listeners, stats } = bench()
  const entry = stats.accepted('web', 'ipv4')
  listeners.remove('web')
  listeners.setState('web', 'ipv4', 'bound')
  stats.ended(entry, 'ipv4')
  t.match(listeners.counts.get('web'), { ipv4: { accepted: 1, active: 0, state: 'bound' } })
})

t.test(
  'counts listeners for which there is no entry together, and shows their states all the same',
  async (t) => {
    const { listeners, stats } = bench(1)
    stats.accepted('first', 'ipv4')
    listeners.setState('second', 'ipv6', 'failed')
    stats.accepted('second', 'ipv6')
    stats.ended(stats.accepted('third', 'ipv6'), 'ipv6')
    const { counts } = listeners
    t.match(counts.get('first'), { ipv4: { accepted: 1 } })
    t.match(counts.get('second'), { ipv6: { accepted: undefined, active: undefined, state: 'failed' } })
    t.match(counts.get(OVERFLOW_LISTENER), { ipv6: { accepted: 2, active: 1, state: undefined } })
    listeners.remove('second')
    t.notOk(listeners.counts.has('second'))
  },
)

t.test('gives the entry of a listener that has gone to another one, which starts at 0', async (t) => {
  const { listeners, stats } = bench(1)
  const entry = stats.accepted('old', 'ipv4')
  listeners.remove('old')
  const overflowed = stats.accepted('early', 'ipv4')
  t.notOk(overflowed === entry, 'the entry is not free while a connection is open')
  stats.ended(entry, 'ipv4')
  t.equal(stats.accepted('new', 'ipv4'), entry)
  stats.ended(overflowed, 'ipv4')
  t.strictSame(listeners.counts.get('new')?.ipv4, { accepted: 1, active: 1, state: undefined })
  t.match(listeners.counts.get(OVERFLOW_LISTENER)?.ipv4, { accepted: 1, active: 0 })
})

t.test('uses an entry again only after those that have rested longer', async (t) => {
  const { listeners, stats } = bench(2)
  for (const name of ['a', 'b']) stats.ended(stats.accepted(name, 'ipv4'), 'ipv4')
  const [a, b] = [listeners.entryOf('a'), listeners.entryOf('b')]
  listeners.remove('b')
  listeners.counts.get('b')
  listeners.remove('a')
  t.equal(listeners.entryOf('c'), b)
  t.equal(listeners.entryOf('d'), a)
})

t.test('has entries for a thousand listeners', async (t) => {
  const { listeners, stats } = bench()
  for (let index = 0; index <= LISTENER_ENTRIES; index++) stats.accepted(`l${index}`, 'ipv6')
  const { counts } = listeners
  t.match(counts.get(`l${LISTENER_ENTRIES - 1}`), { ipv6: { accepted: 1 } })
  t.match(counts.get(OVERFLOW_LISTENER), { ipv6: { accepted: 1 } })
})

function bench(capacity?: number) {
  const totals = new ProxyTotals(capacity === undefined ? {} : { capacity })
  return { listeners: totals.listeners, stats: openThread(totals).stats }
}
