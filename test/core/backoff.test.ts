/** Delays between retries. */
import fc from 'fast-check'
import t from 'tap'

import { Backoff } from '../../src/core/backoff.ts'
import { seededRandom } from '../../src/core/random.ts'

import type { Random } from '../../src/core/random.ts'

const lowest: Random = { next: () => 0 }

t.test('doubles from the first delay to the cap', (t) => {
  const backoff = new Backoff({ random: lowest }, { initialMs: 100, maxMs: 1_000 })
  const delays = Array.from({ length: 6 }, () => backoff.nextDelayMs())
  t.strictSame(delays, [50, 100, 200, 400, 500, 500])
  t.end()
})

t.test('starts over after a success', (t) => {
  const backoff = new Backoff({ random: lowest }, { initialMs: 100, maxMs: 1_000 })
  backoff.nextDelayMs()
  backoff.nextDelayMs()
  backoff.reset()
  t.equal(backoff.nextDelayMs(), 50)
  t.end()
})

t.test('draws each delay from the upper half of its range', (t) => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 1_000, max: 60_000 }),
      (seed, initialMs, maxMs) => {
        const backoff = new Backoff({ random: seededRandom(seed) }, { initialMs, maxMs })
        for (let attempt = 0; attempt < 40; attempt++) {
          const rangeMs = Math.min(maxMs, initialMs * 2 ** attempt)
          const delayMs = backoff.nextDelayMs()
          t.ok(delayMs >= rangeMs / 2 && delayMs < rangeMs)
        }
      },
    ),
    { numRuns: 20 },
  )
  t.end()
})

t.test('draws each delay from its whole range with full jitter', (t) => {
  const backoff = (value: number): Backoff =>
    new Backoff({ random: { next: () => value } }, { initialMs: 100, maxMs: 1_000, jitter: 'full' })
  t.equal(backoff(0).nextDelayMs(), 0)
  t.equal(backoff(0.25).nextDelayMs(), 25)
  const doubling = backoff(0.5)
  t.strictSame(
    [1, 2, 3, 4, 5, 6].map(() => doubling.nextDelayMs()),
    [50, 100, 200, 400, 500, 500],
  )
  t.end()
})

t.test('refuses delays that make no sense', (t) => {
  for (const options of [
    { initialMs: 0, maxMs: 10 },
    { initialMs: -1, maxMs: 10 },
    { initialMs: 20, maxMs: 10 },
    { initialMs: Number.NaN, maxMs: 10 },
  ])
    t.throws(() => new Backoff({ random: lowest }, options), { name: 'TypeError' })
  t.end()
})
