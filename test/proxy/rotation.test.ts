import fc from 'fast-check'
import t from 'tap'

import { Rotation } from '../../src/proxy/rotation.ts'
import { endpointOf } from '../fixtures/upstreams.ts'

import type { Endpoint } from '../../src/mesh/endpoint.ts'

function weighing(...weights: readonly number[]): readonly Endpoint[] {
  return weights.map((weight, index) => endpointOf({ id: `e${index}`, weight }))
}

function take(rotation: Rotation, members: readonly number[], times: number): readonly number[] {
  return Array.from({ length: times }, () => rotation.take(members))
}

t.test('endpoints of equal weight take turns in the order of the list', async (t) => {
  t.strictSame(take(new Rotation(weighing(1, 1, 1), 0), [0, 1, 2], 7), [0, 1, 2, 0, 1, 2, 0])
  t.strictSame(take(new Rotation(weighing(5, 5, 5), 0.5), [0, 1, 2], 4), [2, 0, 1, 2])
})

t.test('weights are interleaved, not served in bursts', async (t) => {
  const taken = take(new Rotation(weighing(1, 3), 0), [0, 1], 400)
  t.equal(taken.filter((index) => index === 0).length, 100)
  for (let at = 0; at < 396; at++) {
    t.ok(new Set(taken.slice(at, at + 5)).size === 2, 'both within any five turns')
  }
})

t.test('an endpoint that was left out does not get what it missed', async (t) => {
  const rotation = new Rotation(weighing(1, 1, 1), 0)
  take(rotation, [0, 1], 1_000)
  const taken = take(rotation, [0, 1, 2], 9)
  t.strictSame([0, 1, 2].map((index) => taken.filter((other) => other === index).length).sort(), [3, 3, 3])
})

t.test('an update keeps the turns of the endpoints that stay', async (t) => {
  const before = new Rotation(weighing(1, 1, 1, 1), 0)
  take(before, [0, 1, 2, 3], 4_002)
  const endpoints = weighing(1, 1, 1, 1)
  const after = new Rotation([...endpoints].reverse(), 0, before)
  t.strictSame(take(after, [0, 1, 2, 3], 5), [1, 0, 3, 2, 1], 'e2, e3, e0, e1, e2 in a list that is reversed')
})

t.test('endpoints that are new in an update get their share and no more', async (t) => {
  const before = new Rotation(weighing(1, 1), 0)
  take(before, [0, 1], 10_001)
  const after = new Rotation(weighing(1, 1, 1, 1), 0, before)
  const taken = take(after, [0, 1, 2, 3], 40)
  for (const index of [0, 1, 2, 3]) {
    const share = taken.filter((other) => other === index).length
    t.ok(Math.abs(share - 10) <= 1, `endpoint ${index} had ${share} of 40 turns`)
  }
})

t.test('endpoints that are used rarely keep their shares beside others that are used often', async (t) => {
  const rotation = new Rotation(weighing(1, 1, 3), 0)
  const taken: number[] = []
  for (let round = 0; round < 400; round++) {
    take(rotation, [0], 10)
    taken.push(rotation.take([1, 2]))
  }
  t.equal(taken.filter((index) => index === 1).length, 100)
})

t.test('takes nothing from nobody', async (t) => {
  t.equal(new Rotation(weighing(1), 0).take([]), -1)
})

t.test('no endpoint is ever two turns away from its share', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.integer({ min: 1, max: 500 }),
      (weights, start, times) => {
        const members = weights.map((_, index) => index)
        const taken = take(new Rotation(weighing(...weights), start), members, times)
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        return weights.every((weight, index) => {
          const had = taken.filter((other) => other === index).length
          return Math.abs(had - (times * weight) / total) < 2 + weights.length * (weight / total)
        })
      },
    ),
  )
})
