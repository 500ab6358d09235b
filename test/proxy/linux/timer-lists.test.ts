import fc from 'fast-check'
import t from 'tap'

import { TimerLists } from '../../../src/proxy/linux/timer-lists.ts'

t.test('calls what is due in the order in which it is due', async (t) => {
  const timers = new TimerLists()
  const fired: string[] = []
  timers.add(0, 30, () => fired.push('30'))
  timers.add(0, 10, () => fired.push('10'))
  timers.add(5, 10, () => fired.push('15'))
  timers.run(9)
  t.strictSame(fired, [])
  timers.run(31)
  t.strictSame(fired, ['10', '15', '30'])
  t.equal(timers.nextDueMs, Infinity)
})

t.test('a timer that another one cancels in the same run is not called', async (t) => {
  const timers = new TimerLists()
  let isCalled = false
  timers.add(0, 10, () => {
    later.cancel()
  })
  const later = timers.add(0, 20, () => {
    isCalled = true
  })
  timers.run(50)
  t.equal(isCalled, false)
})

t.test('a timer that is set by another one waits for the next run', async (t) => {
  const timers = new TimerLists()
  let count = 0
  const again = (): void => {
    count++
    timers.add(10, 0, again)
  }
  timers.add(0, 10, again)
  timers.run(10)
  t.equal(count, 1)
  timers.run(10)
  t.equal(count, 2)
})

t.test('property: calls exactly what is due and not cancelled, whatever the durations', async () => {
  const timer = fc.record({ delayMs: fc.nat(200), isCancelled: fc.boolean() })
  fc.assert(
    fc.property(fc.array(timer, { maxLength: 200 }), fc.nat(200), (wanted, nowMs) => {
      const timers = new TimerLists()
      const fired = new Set<number>()
      const set = wanted.map(({ delayMs }, index) => timers.add(0, delayMs, () => fired.add(index)))
      wanted.forEach(({ isCancelled }, index) => {
        if (isCancelled) set[index]?.cancel()
      })
      timers.run(nowMs)
      const rest = wanted.filter(({ delayMs, isCancelled }) => !isCancelled && delayMs > nowMs)
      return (
        wanted.every(
          ({ delayMs, isCancelled }, index) => fired.has(index) === (!isCancelled && delayMs <= nowMs),
        ) && timers.nextDueMs === Math.min(Infinity, ...rest.map(({ delayMs }) => delayMs))
      )
    }),
  )
})
