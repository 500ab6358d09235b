import t from 'tap'

import { FAMILIES } from '../../src/core/family.ts'
import { seededRandom } from '../../src/core/random.ts'
import { UpstreamState, UpstreamStates } from '../../src/proxy/upstream-state.ts'
import { upstreamOf } from '../fixtures/upstreams.ts'

import type { Endpoint } from '../../src/mesh/endpoint.ts'
import type { OutlierDetection, Upstream } from '../../src/mesh/upstream.ts'
import type { AttemptRecord, AttemptResult } from '../../src/proxy/connection-record.ts'

const OUTLIER_DETECTION: OutlierDetection = {
  consecutiveConnectFailures: 1,
  baseEjectionMs: 30_000,
  maxEjectionMs: 300_000,
  maxEjectionPercent: 100,
  canAlwaysEjectOne: false,
}

/** The attempts of one race, written as results per endpoint and address. */
function attempts(
  upstream: Upstream,
  results: Readonly<Record<string, readonly AttemptResult[]>>,
): AttemptRecord[] {
  return upstream.endpoints.flatMap((endpoint: Endpoint) =>
    endpoint.addresses.flatMap((address, place) => {
      const result = results[endpoint.id]?.[place]
      return result === undefined ? [] : [{ endpoint, address, result, durationMs: 1 }]
    }),
  )
}

t.test('counts connections by upstream and by endpoint', async (t) => {
  const state = new UpstreamState()
  state.connected('a')
  state.connected('a')
  state.connected('b')
  t.strictSame([state.active, state.activeOf('a'), state.activeOf('b'), state.activeOf('c')], [3, 2, 1, 0])
  state.closed('a')
  state.closed('b')
  t.strictSame([state.active, state.activeOf('a'), state.activeOf('b')], [1, 1, 0])
  t.throws(() => state.closed('b'), TypeError)
})

const JUDGEMENTS: readonly (readonly [string, readonly AttemptResult[], boolean])[] = [
  ['both families refused', ['refused', 'refused'], true],
  ['refused and unreachable', ['refused', 'unreachable'], true],
  ['only one family was tried, and it timed out', ['timeout'], true],
  ['the other family connected', ['refused', 'connected'], false],
  ['another endpoint was faster', ['refused', 'lost_race'], false],
  ['the client left', ['refused', 'cancelled'], false],
  ['this node has no source address', ['source_unavailable', 'source_unavailable'], false],
  ['it failed beside a missing source address', ['source_unavailable', 'refused'], true],
]

t.test('an endpoint has failed when a connection found no way to it on any family', async (t) => {
  const upstream = upstreamOf([{ id: 'a' }, { id: 'b' }], { outlierDetection: OUTLIER_DETECTION })
  for (const [name, results, isEjected] of JUDGEMENTS) {
    const state = new UpstreamState()
    state.connectFailed(upstream, attempts(upstream, { a: results }), 0)
    t.equal(state.ejection.isEjected('a', 0), isEjected, name)
    t.equal(state.ejection.isEjected('b', 0), false)
  }
})

t.test('a connection to an endpoint makes its failures start again', async (t) => {
  const upstream = upstreamOf([{ id: 'a' }], {
    outlierDetection: { ...OUTLIER_DETECTION, consecutiveConnectFailures: 2 },
  })
  const state = new UpstreamState()
  const failed = attempts(upstream, { a: ['refused', 'refused'] })
  state.connectFailed(upstream, failed, 0)
  state.connected('a')
  state.connectFailed(upstream, failed, 0)
  t.equal(state.ejection.isEjected('a', 0), false)
  state.connectFailed(upstream, failed, 0)
  t.equal(state.ejection.isEjected('a', 0), true)
})

t.test('nothing is ejected without outlier detection', async (t) => {
  const upstream = upstreamOf([{ id: 'a' }])
  const state = new UpstreamState()
  state.connectFailed(upstream, attempts(upstream, { a: ['refused', 'refused'] }), 0)
  t.equal(state.ejection.isEjected('a', 0), false)
})

t.test('ejections of endpoints that an update removed are forgotten', async (t) => {
  const outlierDetection = { ...OUTLIER_DETECTION, maxEjectionPercent: 50 }
  const before = upstreamOf([{ id: 'a' }, { id: 'b' }], { outlierDetection })
  const after = upstreamOf([{ id: 'b' }, { id: 'c' }], { outlierDetection })
  const state = new UpstreamState()
  state.connectFailed(before, attempts(before, { a: ['refused', 'refused'] }), 0)
  state.connectFailed(after, attempts(after, { b: ['refused', 'refused'] }), 0)
  t.equal(state.ejection.isEjected('a', 0), false)
  t.equal(state.ejection.isEjected('b', 0), true, 'the share is free for it')
})

t.test('the turns go on when an update replaces the upstream', async (t) => {
  const state = new UpstreamState()
  const before = upstreamOf([{ id: 'a' }, { id: 'b' }, { id: 'c' }])
  const rotation = state.rotationOf(before, FAMILIES, { next: () => 0 })
  t.equal(state.rotationOf(before, FAMILIES, seededRandom(1)), rotation)
  t.equal(rotation.take([0, 1, 2]), 0)
  t.equal(rotation.take([0, 1, 2]), 1)
  const after = upstreamOf([{ id: 'a' }, { id: 'b' }, { id: 'c' }])
  t.equal(state.rotationOf(after, FAMILIES, seededRandom(1)).take([0, 1, 2]), 2)
})

t.test('an upstream keeps its state by name', async (t) => {
  const states = new UpstreamStates()
  t.equal(states.peek('echo'), undefined)
  const state = states.of(upstreamOf([{ id: 'a' }]))
  t.equal(states.of(upstreamOf([{ id: 'b' }])), state)
  t.not(states.of(upstreamOf([{ id: 'a' }], { name: 'other' })), state)
  t.equal(states.peek('echo'), state)
})

t.test('names that nobody uses any more do not pile up, and those in use stay', async (t) => {
  const states = new UpstreamStates()
  const busy = states.of(upstreamOf([{ id: 'a' }], { name: 'busy' }))
  busy.connected('a')
  const often = states.of(upstreamOf([{ id: 'a' }], { name: 'often' }))
  const once = upstreamOf([{ id: 'a' }])
  let largest = 0
  for (let index = 0; index < 20_000; index++) {
    states.of({ ...once, name: `once-${index}` })
    states.of({ ...once, name: 'often' })
    largest = Math.max(largest, states.size)
  }
  t.ok(largest < 5_000, `held ${largest} at most`)
  t.equal(states.peek('busy'), busy)
  t.equal(states.peek('often'), often)
})
