import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { ATTEMPT_RESULTS, FALLBACK_REASONS } from '../../src/proxy/connection-record.ts'
import { ProxyStats } from '../../src/proxy/proxy-stats.ts'
import { ProxyTotals } from '../../src/proxy/proxy-totals.ts'
import { CLOSE_REASON_NAMES, CONNECT_BUCKETS_SECONDS } from '../../src/proxy/stats-slots.ts'
import { openThread } from '../fixtures/thread-stats.ts'

t.test('puts the time of a successful connect into the bucket that holds it', async (t) => {
  const totals = new ProxyTotals()
  const { stats } = openThread(totals)
  stats.attempt('ipv6', 'connected', 0.5)
  stats.attempt('ipv6', 'connected', 30)
  stats.attempt('ipv6', 'connected', 60_000)
  stats.attempt('ipv6', 'timeout', 5_000)
  const { buckets, sumSeconds, count } = totals.connectTimes('ipv6')
  t.equal(buckets.length, CONNECT_BUCKETS_SECONDS.length + 1)
  t.equal(buckets[0], 1, 'a bound belongs to its bucket')
  t.equal(buckets[CONNECT_BUCKETS_SECONDS.indexOf(0.05)], 1)
  t.equal(buckets.at(-1), 1)
  t.equal(count, 3)
  t.ok(Math.abs(sumSeconds - 60.0305) < 1e-9)
  t.equal(totals.connectTimes('ipv4').count, 0)
})

t.test('counts every event in a place of its own', async (t) => {
  const totals = new ProxyTotals()
  const { stats, slots } = openThread(totals)
  const bytes = (counter: string) => ({ ...NO_BYTES, [counter]: 1 })
  const events = [
    () => stats.accepted('web', 'ipv4'),
    () => stats.accepted('web', 'ipv6'),
    ...CLOSE_REASON_NAMES.map((reason) => () => stats.closed(reason)),
    () => stats.spliceFellBack('descriptors_exhausted'),
    () => stats.spliceFellBack('resources_exhausted'),
    () => stats.spliceFellBack('permission'),
    () => stats.ran(1, 0),
    () => stats.ran(0, 1),
    ...FAMILIES.flatMap((family) => [
      ...ATTEMPT_RESULTS.filter((result) => result !== 'connected').map(
        (result) => () => stats.attempt(family, result, 1),
      ),
      ...CONNECT_BUCKETS_SECONDS.map((bound) => () => stats.attempt(family, 'connected', bound * 1_000)),
      ...FAMILIES.map((upstream) => () => stats.connected({ downstream: family, upstream })),
      ...FALLBACK_REASONS.map(
        (reason) => () => stats.fellBack({ from: family, to: family === 'ipv4' ? 'ipv6' : 'ipv4', reason }),
      ),
      ...Object.keys(NO_BYTES).map(
        (counter) => () =>
          stats.moved({ downstream: family, upstream: family }, bytes(counter), { ...NO_BYTES }),
      ),
    ]),
  ]
  const changed = new Set<string>()
  for (const event of events) {
    const before = Float64Array.from(slots)
    event()
    const places = [...slots.keys()].filter((slot) => slots[slot] !== before[slot])
    t.ok(places.length >= 1 && places.length <= 3)
    changed.add(places.join())
  }
  t.equal(changed.size, events.length)
})

t.test('counts what a connection has moved by the family of each side, and none twice', async (t) => {
  const totals = new ProxyTotals()
  const { stats } = openThread(totals)
  const families = { downstream: 'ipv6', upstream: 'ipv4' } as const
  const counted = { ...NO_BYTES }
  const bytes = { downstreamReceived: 1, downstreamSent: 2, upstreamReceived: 3, upstreamSent: 4 }
  stats.moved(families, bytes, counted)
  stats.moved(families, bytes, counted)
  stats.moved(families, { ...bytes, upstreamSent: 10 }, counted)
  t.equal(totals.bytes('ipv6', 'downstreamReceived'), 1)
  t.equal(totals.bytes('ipv6', 'downstreamSent'), 2)
  t.equal(totals.bytes('ipv4', 'upstreamReceived'), 3)
  t.equal(totals.bytes('ipv4', 'upstreamSent'), 10)
  t.equal(totals.bytes('ipv6', 'upstreamSent'), 0)
})

t.test('refuses counters of another layout', async (t) => {
  t.throws(() => new ProxyStats({ slots: new Float64Array(10), entryOf: () => 0 }), TypeError)
})

const NO_BYTES = { downstreamReceived: 0, downstreamSent: 0, upstreamReceived: 0, upstreamSent: 0 }
