/** Waiting for several that may answer, go or hang. */
import { setImmediate as settled } from 'node:timers/promises'

import t from 'tap'

import { PendingAnswers } from '../../src/core/pending-answers.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'

function wait(who: readonly string[], deadlineMs?: number) {
  const clock = new FakeClock()
  const answers = new PendingAnswers(clock, who, deadlineMs)
  const ends: boolean[] = []
  void answers.done.then((isComplete) => ends.push(isComplete))
  return { clock, answers, ends }
}

t.test('is done when each has settled, and not before', async (t) => {
  const { clock, answers, ends } = wait(['a', 'b'], 100)
  t.ok(answers.settle('b'))
  await settled()
  t.strictSame(ends, [])
  t.ok(answers.settle('a'))
  await settled()
  t.strictSame(ends, [true])
  t.equal(clock.pendingTimers, 0, 'the deadline is over')
})

t.test('is done at once when nobody is asked', async (t) => {
  const { clock, ends } = wait([], 100)
  await settled()
  t.strictSame(ends, [true])
  t.equal(clock.pendingTimers, 0)
})

t.test('counts nobody twice, and nobody who was not asked', async (t) => {
  const { answers, ends } = wait(['a', 'b'])
  t.ok(answers.settle('a'))
  t.notOk(answers.settle('a'))
  t.notOk(answers.settle('c'))
  await settled()
  t.strictSame(ends, [])
})

t.test('gives up at the deadline, and takes no answer after it', async (t) => {
  const { clock, answers, ends } = wait(['a', 'b'], 100)
  answers.settle('a')
  clock.advance(99)
  await settled()
  t.strictSame(ends, [])
  clock.advance(1)
  t.notOk(answers.settle('b'), 'not even in the same turn')
  await settled()
  t.strictSame(ends, [false])
})

t.test('waits as long as it takes without a deadline', async (t) => {
  const { clock, answers, ends } = wait(['a'])
  t.equal(clock.pendingTimers, 0)
  answers.settle('a')
  await settled()
  t.strictSame(ends, [true])
})
