/** Who waits until the mesh knows a pod, how long, and who does not. */
import t from 'tap'

import { POD_WAIT_MS, PodDiscovery } from '../../../src/proxy/pods/pod-discovery.ts'
import { ANSWER_TIMEOUT_MS } from '../../../src/proxy/workers/plan-cache.ts'
import { ambientStore, applyAmbient } from '../../fixtures/ambient-mesh.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'
import { HeldDiscovery, factsOf } from '../../fixtures/plan-lab.ts'

import type { CapturedPod } from '../../../src/mesh/pod.ts'
import type { RouteFacts } from '../../../src/mesh/router.ts'

const INBOUND = aListener('inbound', [['0.0.0.0', 15_006]], '', { direction: 'inbound' })
const OUTBOUND = aListener('outbound', [['0.0.0.0', 15_001]], '')

function aPod(name: string): CapturedPod {
  return { uid: `uid-${name}`, name, namespace: 'shop', serviceAccount: 'default', addresses: [] }
}

function into(name: string): RouteFacts {
  return factsOf(INBOUND, '10.0.0.1:1', '10.0.0.2:80', aPod(name))
}

function start(next?: HeldDiscovery) {
  const store = ambientStore({ workloads: [] })
  const clock = new FakeClock()
  const known = new Set<string>()
  const discovery = new PodDiscovery({ store, clock, knowsPod: ({ name }) => known.has(name), next })
  const log: string[] = []
  const ask = (facts: RouteFacts): void => {
    discovery.whenKnown(facts, (isKnown) => log.push(`${facts.pod?.name ?? 'no pod'} ${isKnown}`))
  }
  /** The mesh learns of a pod. */
  const learn = (...names: readonly string[]): void => {
    for (const name of names) known.add(name)
    applyAmbient(store, {
      workloads: [...known].map((name) => ({ name, namespace: 'shop', workloadIps: ['10.9.0.1'] })),
    })
  }
  return { store, clock, discovery, log: () => log.splice(0), ask, learn }
}

t.test('a connection into a pod waits until the mesh knows the pod', async (t) => {
  const { discovery, ask, learn, log, clock } = start()
  ask(into('a'))
  ask(into('a'))
  ask(into('b'))
  t.strictSame(log(), [])
  t.equal(discovery.waiting, 3)
  learn('other')
  t.strictSame(log(), [])
  learn('a')
  t.strictSame(log(), ['a true', 'a true'])
  t.equal(discovery.waiting, 1)
  learn('b')
  t.strictSame(log(), ['b true'])
  t.equal(clock.pendingTimers, 0)
})

t.test('a change of the mesh that is of no workload asks nobody again', async (t) => {
  const { store, ask, log, discovery } = start()
  ask(into('a'))
  applyAmbient(store, {
    policies: [{ name: 'p', namespace: 'shop', scope: 'Global', action: 'Deny', rules: [] }],
  })
  t.strictSame(log(), [])
  t.equal(discovery.waiting, 1)
})

t.test('a pod that stays unknown is left to the router, before a worker gives up', async (t) => {
  const { ask, log, clock, discovery, learn } = start()
  ask(into('a'))
  clock.advance(POD_WAIT_MS - 1)
  t.strictSame(log(), [])
  clock.advance(1)
  t.ok(clock.nowMs() < ANSWER_TIMEOUT_MS)
  t.strictSame(log(), ['a true'])
  t.equal(discovery.waiting, 0)
  learn('a')
  t.strictSame(log(), [], 'once only')
})

t.test('connections that need no workload of a pod do not wait', async (t) => {
  const { ask, log, learn, clock } = start()
  learn('known')
  ask(into('known'))
  ask(factsOf(OUTBOUND, '10.0.0.2:1', '203.0.113.1:443', aPod('unknown')))
  ask(factsOf(INBOUND, '10.0.0.1:1', '10.0.0.2:80'))
  t.strictSame(log(), ['known true', 'unknown true', 'no pod true'])
  t.equal(clock.pendingTimers, 0)
})

t.test('the ends are asked for while the pod is waited for, and both have to be known', async (t) => {
  const next = new HeldDiscovery()
  const { ask, log, learn, clock } = start(next)
  ask(into('a'))
  t.equal(next.size, 1, 'who asks for the pod is not to wait for it')
  learn('a')
  t.strictSame(log(), [])
  next.finish(false)
  t.strictSame(log(), ['a false'])
  ask(into('b'))
  next.finish()
  t.strictSame(log(), [])
  learn('b')
  t.strictSame(log(), ['b true'])
  ask(factsOf(OUTBOUND, '10.0.0.2:1', '203.0.113.1:443', aPod('a')))
  next.finish()
  t.strictSame(log(), ['a true'])
  t.equal(clock.pendingTimers, 0)
})

t.test('a pod that stays unknown costs no more than its wait where the ends are asked for', async (t) => {
  const next = new HeldDiscovery()
  const { ask, log, clock } = start(next)
  ask(into('a'))
  next.finish()
  clock.advance(POD_WAIT_MS)
  t.strictSame(log(), ['a true'])
})

t.test('what is refused whatever comes waits for nothing', async (t) => {
  const next = new HeldDiscovery()
  const { ask, log, clock } = start(next)
  const refusal = { reason: 'mtls_required', detail: 'HBONE' } as const
  const match = { destinationPrefixes: [], sourcePrefixes: [] }
  const hbone = { ...INBOUND, filterChains: [], defaultFilterChain: { name: 'hbone', match, refusal } }
  ask(factsOf(hbone, '10.0.0.1:1', '10.0.0.2:15008', aPod('a')))
  t.strictSame(log(), ['a true'])
  t.equal(next.size, 0)
  t.equal(clock.pendingTimers, 0)
})

t.test('who waits again after all have gone is told again', async (t) => {
  const { ask, log, learn } = start()
  ask(into('a'))
  learn('a')
  ask(into('b'))
  learn('b')
  t.strictSame(log(), ['a true', 'b true'])
})
