import t from 'tap'

import { systemClock } from '../../../src/core/clock.ts'
import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { EPOLLIN } from '../../../src/proxy/linux/constants.ts'
import { Reactor } from '../../../src/proxy/linux/reactor.ts'
import { WakeEvent, onWake } from '../../../src/proxy/linux/wake-event.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'

import type { Test } from 'tap'

const skip = (await whyNoLinuxEngine()) ?? false

async function startReactor(t: Test) {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const descriptors = new DescriptorTable({ syscalls }, { memory: new ArrayBuffer(65_536), owner: 0 })
  const reactor = new Reactor({ syscalls, descriptors, clock: systemClock })
  t.teardown(() => {
    reactor.close()
  })
  const openEvent = (): WakeEvent => new WakeEvent({ syscalls, descriptors })
  return { syscalls, descriptors, reactor, openEvent }
}

t.test('waits no longer than until the next timer, and calls it', { skip }, async (t) => {
  const { reactor } = await startReactor(t)
  let firedAtMs = 0
  const startMs = reactor.nowMs()
  reactor.setTimer(20, () => {
    firedAtMs = reactor.nowMs()
  })
  while (firedAtMs === 0) reactor.turn(10_000)
  t.ok(firedAtMs - startMs >= 20, `not before its time, after ${firedAtMs - startMs} ms`)
  t.ok(firedAtMs - startMs < 9_000, `and not when the wait is over, after ${firedAtMs - startMs} ms`)
})

t.test(
  'what is deferred runs at the end of the turn, and what that defers in the next',
  { skip },
  async (t) => {
    const { reactor } = await startReactor(t)
    const order: string[] = []
    reactor.defer(() => {
      order.push('first')
      reactor.defer(() => order.push('second'))
    })
    reactor.turn(10_000)
    t.strictSame(order, ['first'])
    reactor.turn(10_000)
    t.strictSame(order, ['first', 'second'])
  },
)

t.test('a signal wakes the wait, and any number of them is one', { skip }, async (t) => {
  const { syscalls, reactor, openEvent } = await startReactor(t)
  const event = openEvent()
  let count = 0
  onWake({ syscalls, reactor }, event.fd, () => count++)
  event.signal()
  event.signal()
  reactor.turn(10_000)
  reactor.turn(0)
  t.equal(count, 1)
  event.signal()
  reactor.turn(10_000)
  t.equal(count, 2)
  reactor.closeWatched(event.fd)
})

t.test('an event of a closed descriptor does not reach the one that got its number', { skip }, async (t) => {
  const { reactor, openEvent } = await startReactor(t)
  const [one, other] = [openEvent(), openEvent()]
  const seen: string[] = []
  let successor: WakeEvent | undefined
  const replace = (closed: WakeEvent) => () => {
    if (successor !== undefined) return
    seen.push('first')
    // Both are ready in this turn; whichever comes first takes the other one's number away.
    reactor.closeWatched(closed.fd)
    successor = openEvent()
    t.equal(successor.fd, closed.fd, 'the kernel gives the lowest free number')
    reactor.watch(successor.fd, { onReady: () => seen.push('successor') }, EPOLLIN)
  }
  reactor.watch(one.fd, { onReady: replace(other) }, EPOLLIN)
  reactor.watch(other.fd, { onReady: replace(one) }, EPOLLIN)
  one.signal()
  other.signal()
  reactor.turn(10_000)
  t.strictSame(seen, ['first'])
})
