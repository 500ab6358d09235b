import t from 'tap'

import { LOOK_INTERVAL_MS, PodFamilyWatch } from '../../src/agent/pod-family-watch.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { listenersOf, podStatus } from '../fixtures/pod-statuses.ts'

import type { PodStatus } from '../../src/proxy/pods/pod-entry.ts'

const ONLY_IPV4 = { listeners: listenersOf('bound', 'absent') }
const HEAD = 'warn captured pods without ipv6, served over the other family:'

function bench() {
  const clock = new FakeClock()
  const lines: string[] = []
  const logger = {
    isEnabled: () => true,
    log: (level: string, message: string) => lines.push(`${level} ${message}`),
  }
  let pods: readonly PodStatus[] = []
  const watch = new PodFamilyWatch({ clock, logger, pods: () => pods })
  watch.start()
  /** What is logged when the pods are these at the next look. */
  const look = (...now: readonly PodStatus[]): readonly string[] => {
    pods = now
    clock.advance(LOOK_INTERVAL_MS)
    return lines.splice(0)
  }
  return { clock, watch, look }
}

t.test('names a pod without a family once, as long as it has not got it', async (t) => {
  const { clock, watch, look } = bench()
  t.strictSame(look(podStatus('both')), [])
  t.strictSame(look(podStatus('both'), podStatus('a', ONLY_IPV4)), [`${HEAD} shop/a`])
  t.strictSame(look(podStatus('a', ONLY_IPV4), podStatus('b', ONLY_IPV4)), [`${HEAD} shop/b`])
  t.strictSame(look(podStatus('a', ONLY_IPV4), podStatus('b', ONLY_IPV4)), [])
  t.strictSame(look(podStatus('a'), podStatus('b')), [])
  t.strictSame(look(podStatus('a', ONLY_IPV4)), [`${HEAD} shop/a`], 'it was lost again')
  watch.close()
  t.equal(clock.pendingTimers, 0)
})

t.test('a node of pods without a family costs one line', async (t) => {
  const { look } = bench()
  const pods = Array.from({ length: 500 }, (_, index) => podStatus(`p${index}`, ONLY_IPV4))
  t.strictSame(look(...pods), [`${HEAD} shop/p0, shop/p1, shop/p2, shop/p3, shop/p4 and 495 more`])
})

t.test('does not name a pod that is still being set up', async (t) => {
  const { look } = bench()
  const listeners = listenersOf('absent', 'absent')
  t.strictSame(look(podStatus('new', { state: 'pending', problem: 'no address', listeners })), [])
})
