import fc from 'fast-check'
import t from 'tap'

import { Race } from '../../src/proxy/race.ts'

import type { RaceAction } from '../../src/proxy/race.ts'

t.test('rule 6: starts the second attempt when the delay has passed, and keeps the first', async (t) => {
  const race = new Race(2)
  t.strictSame(race.begin(), [{ kind: 'start', index: 0 }, { kind: 'arm' }])
  t.strictSame(race.delayPassed(), [{ kind: 'start', index: 1 }, { kind: 'disarm' }])
  t.strictSame(race.connected(0), [
    { kind: 'disarm' },
    { kind: 'abort', index: 1, why: 'lost_race' },
    { kind: 'won', index: 0 },
  ])
})

t.test('rule 6: starts the next attempt at once when the last one failed', async (t) => {
  const race = new Race(3)
  race.begin()
  t.strictSame(race.failed(0), [{ kind: 'start', index: 1 }, { kind: 'arm' }])
})

t.test('rule 6: the delay aborts nothing once every address has been started', async (t) => {
  const race = new Race(1)
  race.begin()
  t.strictSame(race.delayPassed(), [{ kind: 'disarm' }])
  t.strictSame(race.connected(0), [{ kind: 'disarm' }, { kind: 'won', index: 0 }])
})

t.test('rule 6: the deadline ends every attempt', async (t) => {
  const race = new Race(2)
  race.begin()
  race.delayPassed()
  t.strictSame(race.deadlinePassed(), [
    { kind: 'disarm' },
    { kind: 'abort', index: 0, why: 'timeout' },
    { kind: 'abort', index: 1, why: 'timeout' },
    { kind: 'lost' },
  ])
  t.strictSame(race.connected(0), [])
})

t.test('a race without an address is lost at once', async (t) => {
  t.strictSame(new Race(0).begin(), [{ kind: 'disarm' }, { kind: 'lost' }])
})

t.test('a cancelled race aborts what runs and reports nothing', async (t) => {
  const race = new Race(2)
  race.begin()
  t.strictSame(race.cancel(), [{ kind: 'disarm' }, { kind: 'abort', index: 0, why: 'cancelled' }])
  t.strictSame(race.cancel(), [])
  t.strictSame(race.failed(0), [])
})

t.test('a reset is an answer: no other address is tried, and what runs is given up', async (t) => {
  const race = new Race(3)
  race.begin()
  race.delayPassed()
  t.strictSame(race.wasReset(0), [
    { kind: 'disarm' },
    { kind: 'abort', index: 1, why: 'lost_race' },
    { kind: 'lost' },
  ])
  t.strictSame(race.wasReset(1), [])
  t.strictSame(race.connected(1), [])
})

/** Each address answers after some time, or never. Time is simulated with the real delay and deadline. */
interface World {
  readonly answers: readonly { readonly kind: 'connects' | 'fails' | 'silent'; readonly afterMs: number }[]
}

const DELAY_MS = 250
const DEADLINE_MS = 5_000

const world: fc.Arbitrary<World> = fc.record({
  answers: fc.array(
    fc.record({
      kind: fc.constantFrom('connects', 'fails', 'silent'),
      afterMs: fc.integer({ min: 0, max: 6_000 }),
    }),
    { maxLength: 8 },
  ),
})

/** Runs a race in a world and returns everything it asked for, with times. */
function run({ answers }: World): {
  readonly startedAtMs: Map<number, number>
  readonly log: readonly RaceAction[]
} {
  const race = new Race(answers.length)
  const startedAtMs = new Map<number, number>()
  const live = new Set<number>()
  const log: RaceAction[] = []
  let nowMs = 0
  let timerAtMs = Infinity
  const carryOut = (actions: readonly RaceAction[]): void => {
    for (const action of actions) {
      log.push(action)
      if (action.kind === 'start') {
        startedAtMs.set(action.index, nowMs)
        live.add(action.index)
      } else if (action.kind === 'arm') timerAtMs = nowMs + DELAY_MS
      else if (action.kind === 'disarm') timerAtMs = Infinity
      else if (action.kind === 'abort') live.delete(action.index)
    }
  }
  carryOut(race.begin())
  for (;;) {
    const next = [...live]
      .flatMap((index) => {
        const answer = answers[index]
        const atMs = (startedAtMs.get(index) ?? 0) + (answer?.afterMs ?? 0)
        return answer === undefined || answer.kind === 'silent' ? [] : [{ index, atMs, kind: answer.kind }]
      })
      .sort((a, b) => a.atMs - b.atMs || a.index - b.index)[0]
    const atMs = Math.min(next?.atMs ?? Infinity, timerAtMs, DEADLINE_MS)
    nowMs = atMs
    if (next?.atMs === atMs) {
      live.delete(next.index)
      carryOut(next.kind === 'connects' ? race.connected(next.index) : race.failed(next.index))
    } else if (timerAtMs === atMs) carryOut(race.delayPassed())
    else {
      carryOut(race.deadlinePassed())
      return { startedAtMs, log }
    }
  }
}

t.test('rule 6: every history ends in a connection if an address works in time', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(world, (w) => {
        const { startedAtMs, log } = run(w)
        const won = log.filter(({ kind }) => kind === 'won')
        // An address works if it was started (the deadline can come first) and answers before the deadline.
        const works = w.answers.some(
          ({ kind, afterMs }, index) =>
            kind === 'connects' && (startedAtMs.get(index) ?? Infinity) + afterMs < DEADLINE_MS,
        )
        // Up to eight addresses fit into the deadline even when all before are silent.
        const everyAddressHadItsTurn = won.length > 0 || startedAtMs.size === w.answers.length
        return (!works || won.length === 1) && everyAddressHadItsTurn
      }),
      { numRuns: 2_000 },
    ),
  )
})

t.test('rule 6: there are never two winners, and no attempt is leaked', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(world, (w) => {
        const { log } = run(w)
        const ends = log.filter(({ kind }) => kind === 'won' || kind === 'lost')
        const count = (kind: string, index: number): number =>
          log.filter((action) => action.kind === kind && 'index' in action && action.index === index).length
        const isEachEndedOnce = w.answers.every(({ kind }, index) => {
          const starts = count('start', index)
          // An attempt ends by failing by itself, by being aborted, or by winning.
          return (
            starts <= 1 &&
            count('abort', index) + count('won', index) <= starts &&
            (kind !== 'silent' || count('won', index) === 0)
          )
        })
        const silentStarted = w.answers.filter(
          ({ kind }, index) => kind === 'silent' && count('start', index) === 1,
        )
        const silentAborted = w.answers.filter(
          ({ kind }, index) => kind === 'silent' && count('abort', index) === 1,
        )
        return ends.length === 1 && isEachEndedOnce && silentStarted.length === silentAborted.length
      }),
      { numRuns: 2_000 },
    ),
  )
})

t.test(
  'rule 6: attempts start in order and never closer than the delay without a failure between',
  async () => {
    fc.assert(
      fc.property(world, (w) => {
        const { startedAtMs, log } = run(w)
        const order = log.flatMap((action) => (action.kind === 'start' ? [action.index] : []))
        const isInOrder = order.every((index, place) => index === place)
        const hasNoFailure = w.answers.every(({ kind }) => kind !== 'fails')
        const gaps = order
          .slice(1)
          .map((index) => (startedAtMs.get(index) ?? 0) - (startedAtMs.get(index - 1) ?? 0))
        return isInOrder && (!hasNoFailure || gaps.every((gapMs) => gapMs === DELAY_MS))
      }),
      { numRuns: 2_000 },
    )
  },
)
