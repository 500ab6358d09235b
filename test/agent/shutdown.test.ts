/** When an agent that is asked to end does what. */
import { setImmediate } from 'node:timers/promises'

import t from 'tap'

import { Shutdown } from '../../src/agent/shutdown.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { connectionRecord } from '../fixtures/connection-records.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'

import type { Drainable } from '../../src/agent/shutdown.ts'

/** A proxy with one connection, whose listeners take until `stopped` is called to close. */
function slowTarget() {
  const calls: string[] = []
  let stopped: () => void = () => undefined
  let hasConnections = true
  const target: Drainable = {
    stopAccepting: () =>
      new Promise((resolve) => {
        calls.push('stopAccepting')
        stopped = resolve
      }),
    whenIdle: () => (hasConnections ? new Promise(() => undefined) : Promise.resolve()),
    connections: () => Promise.resolve([connectionRecord()]),
    closeConnections: (reason) => {
      calls.push(`closeConnections ${reason}`)
      hasConnections = false
    },
  }
  return {
    target,
    calls,
    stopped: () => {
      stopped()
    },
  }
}

t.test('rule 13: connections go on until the deadline, and then get FIN', async (t) => {
  const clock = new FakeClock()
  const { target, calls, stopped } = slowTarget()
  const shutdown = new Shutdown({ target, clock, logger: silentLogger }, { deadlineMs: 5_000 })
  const done = shutdown.request('SIGTERM')
  t.equal(shutdown.isDraining, true)
  stopped()
  await setImmediate()
  clock.advance(4_999)
  await setImmediate()
  t.strictSame(calls, ['stopAccepting'])
  clock.advance(1)
  await done
  t.strictSame(calls, ['stopAccepting', 'closeConnections drained'])
  t.equal(clock.pendingTimers, 0)
})

t.test('rule 13: a second request while the listeners are being closed ends at once too', async (t) => {
  const clock = new FakeClock()
  const { target, calls, stopped } = slowTarget()
  const shutdown = new Shutdown({ target, clock, logger: silentLogger }, { deadlineMs: 3_600_000 })
  void shutdown.request('SIGTERM')
  const done = shutdown.request('SIGINT')
  stopped()
  await done
  t.strictSame(calls, ['stopAccepting', 'closeConnections drained'])
})
