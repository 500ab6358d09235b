import fc from 'fast-check'
import t from 'tap'

import { OutlierEjection } from '../../src/proxy/outlier-ejection.ts'

import type { OutlierDetection } from '../../src/mesh/upstream.ts'

const SETTINGS: OutlierDetection = {
  consecutiveConnectFailures: 3,
  baseEjectionMs: 30_000,
  maxEjectionMs: 75_000,
  maxEjectionPercent: 50,
  canAlwaysEjectOne: true,
}

function fail(
  ejection: OutlierEjection,
  endpointId: string,
  nowMs: number,
  { times = 1, endpointCount = 10, settings = SETTINGS } = {},
): boolean {
  let isEjected = false
  for (let count = 0; count < times; count++) {
    isEjected = ejection.failed(endpointId, { settings, endpointCount, nowMs }) || isEjected
  }
  return isEjected
}

t.test('failures in a row eject an endpoint for the base time', async (t) => {
  const ejection = new OutlierEjection()
  t.equal(fail(ejection, 'a', 0, { times: 2 }), false)
  t.equal(ejection.isEjected('a', 0), false)
  t.equal(fail(ejection, 'a', 100), true)
  t.equal(ejection.isEjected('a', 30_099), true)
  t.equal(ejection.isEjected('a', 30_100), false)
  t.equal(ejection.isEjected('b', 100), false)
})

t.test('a success between failures starts the count again', async (t) => {
  const ejection = new OutlierEjection()
  fail(ejection, 'a', 0, { times: 2 })
  ejection.succeeded('a')
  t.equal(fail(ejection, 'a', 0, { times: 2 }), false)
  t.equal(fail(ejection, 'a', 0), true)
})

t.test('each ejection is longer by the base time, up to the maximum', async (t) => {
  const ejection = new OutlierEjection()
  const durations: number[] = []
  let nowMs = 0
  for (let round = 0; round < 4; round++) {
    fail(ejection, 'a', nowMs, { times: 3 })
    durations.push(ejection.ejectedUntilMs('a') - nowMs)
    nowMs = ejection.ejectedUntilMs('a')
  }
  t.strictSame(durations, [30_000, 60_000, 75_000, 75_000])
})

t.test('every 10 s in service take one ejection back', async (t) => {
  const ejection = new OutlierEjection()
  fail(ejection, 'a', 0, { times: 3 })
  fail(ejection, 'a', 30_000, { times: 3 })
  t.equal(ejection.ejectedUntilMs('a'), 90_000)
  fail(ejection, 'a', 110_000, { times: 3 })
  t.equal(ejection.ejectedUntilMs('a'), 140_000)
})

t.test('the success that follows an ejection does not forget it', async (t) => {
  const ejection = new OutlierEjection()
  fail(ejection, 'a', 0, { times: 3 })
  ejection.succeeded('a')
  t.equal(ejection.isEjected('a', 29_999), true)
  fail(ejection, 'a', 30_000, { times: 3 })
  t.equal(ejection.ejectedUntilMs('a'), 90_000)
})

t.test('without leave for one nobody is out beyond the percentage', async (t) => {
  const settings = { ...SETTINGS, canAlwaysEjectOne: false }
  const ejection = new OutlierEjection()
  t.equal(fail(ejection, 'a', 0, { times: 3, endpointCount: 1, settings }), false)
  t.equal(fail(ejection, 'a', 0, { times: 3, endpointCount: 2, settings }), true)
})

t.test('with leave for one, one may always be out, and more only within the percentage', async (t) => {
  const ejection = new OutlierEjection()
  t.equal(fail(ejection, 'a', 0, { times: 3, endpointCount: 1 }), true)
  t.equal(fail(ejection, 'b', 0, { times: 3, endpointCount: 3 }), false)
  t.equal(fail(ejection, 'b', 0, { endpointCount: 4 }), true)
  t.equal(ejection.ejectedCount(0), 2)
})

t.test('failures while an endpoint is out do not extend its ejection', async (t) => {
  const ejection = new OutlierEjection()
  fail(ejection, 'a', 0, { times: 3 })
  t.equal(fail(ejection, 'a', 10_000, { times: 20 }), false)
  t.equal(ejection.ejectedUntilMs('a'), 30_000)
})

t.test('an endpoint that was removed does not use up the share', async (t) => {
  const ejection = new OutlierEjection()
  fail(ejection, 'a', 0, { times: 3, endpointCount: 2 })
  const before = ejection.generation
  ejection.retain(new Set(['b', 'c']))
  t.not(ejection.generation, before)
  t.equal(ejection.isEjected('a', 0), false)
  t.equal(fail(ejection, 'b', 0, { times: 3, endpointCount: 2 }), true)
})

t.test('never more than one endpoint and the percentage are out', async () => {
  const event = fc.record({
    waitMs: fc.nat({ max: 20_000 }),
    endpoint: fc.nat({ max: 7 }),
    isSuccess: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), fc.nat({ max: 100 }), (events, maxEjectionPercent) => {
      const ejection = new OutlierEjection()
      const settings = { ...SETTINGS, consecutiveConnectFailures: 1, maxEjectionPercent }
      let nowMs = 0
      for (const { waitMs, endpoint, isSuccess } of events) {
        nowMs += waitMs
        if (isSuccess) ejection.succeeded(`${endpoint}`)
        else ejection.failed(`${endpoint}`, { settings, endpointCount: 8, nowMs })
        const out = ejection.ejectedCount(nowMs)
        if (out > Math.max(1, Math.floor((8 * maxEjectionPercent) / 100))) return false
      }
      return true
    }),
  )
})
