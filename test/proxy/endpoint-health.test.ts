import fc from 'fast-check'
import t from 'tap'

import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { FamilyHealth } from '../../src/proxy/endpoint-health.ts'

import type { FamilyFailure, FamilyKey } from '../../src/proxy/endpoint-health.ts'

const A4: FamilyKey = { endpointId: 'a', family: 'ipv4' }
const A6: FamilyKey = { endpointId: 'a', family: 'ipv6' }
const B6: FamilyKey = { endpointId: 'b', family: 'ipv6' }

function fail(health: FamilyHealth, key: FamilyKey, nowMs: number, reason: FamilyFailure = 'refused'): void {
  health.failed({ ...key, reason }, nowMs)
}

t.test('rule 7: a failure puts the family of the endpoint last for 10 s', async (t) => {
  const health = new FamilyHealth()
  t.equal(health.isHealthy(A6, 5), true)
  fail(health, A6, 1_000, 'unreachable')
  t.equal(health.isHealthy(A6, 1_000), false)
  t.match(health.failures(1_000), [{ ...A6, failure: { reason: 'unreachable' } }])
  t.equal(health.isHealthy(A6, 10_999), false)
  t.equal(health.isHealthy(A6, 11_000), true)
})

t.test('rule 7: the twin family and other endpoints are not affected', async (t) => {
  const health = new FamilyHealth()
  fail(health, A6, 0)
  t.equal(health.isHealthy(A4, 0), true)
  t.equal(health.isHealthy(B6, 0), true)
  t.strictSame(health.unhealthyCount(0), { ipv4: 0, ipv6: 1 })
})

t.test('rule 7: each further chance that fails doubles the period up to 300 s', async (t) => {
  const health = new FamilyHealth()
  const periods: number[] = []
  let nowMs = 0
  for (let chance = 0; chance < 8; chance++) {
    fail(health, A6, nowMs)
    const untilMs = health.unhealthyUntilMs(A6)
    periods.push(untilMs - nowMs)
    nowMs = untilMs
  }
  t.strictSame(periods, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000])
})

t.test('rule 7: failures within a running period neither double nor extend it', async (t) => {
  const health = new FamilyHealth()
  fail(health, A6, 0)
  for (let nowMs = 0; nowMs < 10_000; nowMs += 500) fail(health, A6, nowMs)
  t.equal(health.isHealthy(A6, 10_000), true)
  fail(health, A6, 10_000)
  t.equal(health.unhealthyUntilMs(A6), 30_000)
})

t.test('rule 7: one success clears the family and its count', async (t) => {
  const health = new FamilyHealth()
  fail(health, A6, 0)
  fail(health, A6, 10_000)
  health.succeeded(A4)
  t.equal(health.isHealthy(A6, 10_000), false)
  health.succeeded(A6)
  t.equal(health.isHealthy(A6, 10_000), true)
  fail(health, A6, 11_000)
  t.equal(health.unhealthyUntilMs(A6), 21_000)
})

t.test('rule 7: a family that has been healthy for 300 s starts again with 10 s', async (t) => {
  const health = new FamilyHealth()
  fail(health, A6, 0)
  fail(health, A6, 10_000)
  fail(health, A6, 30_000 + 299_999)
  t.equal(health.unhealthyUntilMs(A6), 329_999 + 40_000)
  fail(health, A6, 369_999 + 300_000)
  t.equal(health.unhealthyUntilMs(A6), 669_999 + 10_000)
})

t.test('the periods can be set', async (t) => {
  const health = new FamilyHealth({ initialMs: 100, maxMs: 150 })
  fail(health, A6, 0)
  fail(health, A6, 100)
  t.equal(health.unhealthyUntilMs(A6), 250)
})

t.test('what has not failed for long uses no memory', async (t) => {
  const health = new FamilyHealth()
  for (let index = 0; index < 1_000; index++) {
    fail(health, { endpointId: `gone-${index}`, family: 'ipv6' }, index)
  }
  t.equal(health.size, 1_000)
  fail(health, A6, 1_000_000)
  t.equal(health.size, 1)
})

t.test('the generation changes when and only when a family changes other than by time', async (t) => {
  const health = new FamilyHealth()
  const steps: readonly (readonly [string, () => void, boolean])[] = [
    ['a first failure', () => fail(health, A6, 0), true],
    ['a failure within the period', () => fail(health, A6, 1), false],
    ['a success of the twin', () => health.succeeded(A4), false],
    ['a success', () => health.succeeded(A6), true],
    ['another failure', () => fail(health, A6, 2), true],
  ]
  for (const [name, step, isChange] of steps) {
    const before = health.generation
    step()
    t.equal(health.generation !== before, isChange, name)
  }
})

t.test('tells whose health changed since a generation, as far back as it remembers', async (t) => {
  const health = new FamilyHealth()
  const start = health.generation
  fail(health, A6, 0)
  fail(health, A6, 1)
  fail(health, B6, 1)
  t.strictSame(health.changedSince(start), ['a', 'b'])
  t.strictSame(health.changedSince(health.generation), [])
  const before = health.generation
  for (let index = 0; index < 10_000; index++) fail(health, { endpointId: `${index}`, family: 'ipv4' }, 1)
  t.equal(health.changedSince(before), undefined)
  t.strictSame(health.changedSince(health.generation - 2), ['9998', '9999'])
})

t.test('rule 7: the latest period is between 10 s and 300 s, and a success always ends it', async () => {
  const event = fc.record({
    waitMs: fc.integer({ min: 0, max: 400_000 }),
    endpointId: fc.constantFrom('a', 'b'),
    family: fc.constantFrom(...FAMILIES),
    isSuccess: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const health = new FamilyHealth()
      let nowMs = 0
      for (const { waitMs, endpointId, family, isSuccess } of events) {
        nowMs += waitMs
        const key = { endpointId, family }
        const twin = { endpointId, family: otherFamily(family) }
        const twinUntilMs = health.unhealthyUntilMs(twin)
        const wasHealthy = health.isHealthy(key, nowMs)
        if (isSuccess) health.succeeded(key)
        else fail(health, key, nowMs)
        if (health.isHealthy(key, nowMs) !== isSuccess) return false
        const periodMs = health.unhealthyUntilMs(key) - nowMs
        if (!isSuccess && wasHealthy && (periodMs < 10_000 || periodMs > 300_000)) return false
        const twinNowMs = health.unhealthyUntilMs(twin)
        if (twinNowMs !== twinUntilMs && twinUntilMs > nowMs) return false
      }
      return true
    }),
  )
})
