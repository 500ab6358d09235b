import t from 'tap'

import { CLOSE_REASONS } from '../../src/proxy/close-reason.ts'
import { ATTEMPT_RESULTS } from '../../src/proxy/connection-record.ts'
import { CONNECT_BUCKETS_SECONDS, ProxyStats } from '../../src/proxy/proxy-stats.ts'

t.test('counts accepted and active connections per listener and family', async (t) => {
  const stats = new ProxyStats()
  stats.accepted('web', 'ipv4')
  stats.accepted('web', 'ipv6')
  stats.accepted('web', 'ipv6')
  stats.ended('web', 'ipv6')
  t.match(stats.listeners.get('web'), {
    ipv4: { accepted: 1, active: 1, state: undefined },
    ipv6: { accepted: 2, active: 1, state: undefined },
  })
})

t.test('keeps a removed listener until its last connection has ended', async (t) => {
  const stats = new ProxyStats()
  stats.listenerState('web', 'ipv4', 'bound')
  stats.accepted('web', 'ipv4')
  stats.removeListener('web')
  t.match(stats.listeners.get('web'), { ipv4: { active: 1, state: undefined } })
  stats.ended('web', 'ipv4')
  t.equal(stats.listeners.size, 0)
  stats.ended('web', 'ipv4')
  t.equal(stats.listeners.size, 0, 'an end after that brings nothing back')
})

t.test('keeps a listener that comes back before its last connection has ended', async (t) => {
  const stats = new ProxyStats()
  stats.accepted('web', 'ipv4')
  stats.removeListener('web')
  stats.listenerState('web', 'ipv4', 'bound')
  stats.ended('web', 'ipv4')
  t.match(stats.listeners.get('web'), { ipv4: { accepted: 1, active: 0, state: 'bound' } })
})

t.test('puts the time of a successful connect into the bucket that holds it', async (t) => {
  const stats = new ProxyStats()
  stats.attempt('ipv6', 'connected', 0.5)
  stats.attempt('ipv6', 'connected', 30)
  stats.attempt('ipv6', 'connected', 60_000)
  stats.attempt('ipv6', 'timeout', 5_000)
  const { buckets, sumSeconds, count } = stats.connectTimes.ipv6
  t.equal(buckets.length, CONNECT_BUCKETS_SECONDS.length + 1)
  t.equal(buckets[0], 1, 'a bound belongs to its bucket')
  t.equal(buckets[CONNECT_BUCKETS_SECONDS.indexOf(0.05)], 1)
  t.equal(buckets.at(-1), 1)
  t.equal(count, 3)
  t.ok(Math.abs(sumSeconds - 60.0305) < 1e-9)
  t.equal(stats.connectTimes.ipv4.count, 0)
  t.equal(stats.attempts.ipv6.timeout, 1)
})

t.test('has a counter for every attempt result and every close reason', async (t) => {
  const stats = new ProxyStats()
  t.strictSame(Object.keys(stats.attempts.ipv4), [...ATTEMPT_RESULTS])
  t.strictSame(Object.keys(stats.closedConnections).sort(), Object.keys(CLOSE_REASONS).sort())
  stats.closed('drained')
  t.equal(stats.closedConnections.drained, 1)
})

t.test('counts a change of family by its families and reason', async (t) => {
  const stats = new ProxyStats()
  stats.connected('ipv6', 'ipv4')
  stats.fellBack({ from: 'ipv6', to: 'ipv4', reason: 'refused' })
  stats.fellBack({ from: 'ipv6', to: 'ipv4', reason: 'refused' })
  stats.fellBack({ from: 'ipv6', to: 'ipv4', reason: 'slow' })
  t.strictSame(stats.fallbacks, [
    { from: 'ipv6', to: 'ipv4', reason: 'refused', count: 2 },
    { from: 'ipv6', to: 'ipv4', reason: 'slow', count: 1 },
  ])
  t.equal(stats.upstreamConnections.ipv6.ipv4.count, 1)
  t.equal(stats.upstreamConnections.ipv4.ipv6.count, 0)
})

t.test('gives the relay slots to add bytes to', async (t) => {
  const stats = new ProxyStats()
  stats.bytes.ipv6.downstream.received += 7
  t.equal(stats.bytes.ipv6.downstream.received, 7)
  t.equal(stats.bytes.ipv4.downstream.received, 0)
})
