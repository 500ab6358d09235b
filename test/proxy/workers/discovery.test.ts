/** What workers are told where the main thread has to find something out before it can answer. */
import t from 'tap'

import { EnvoyRouter } from '../../../src/mesh/envoy-router.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { ANSWER_TIMEOUT_MS } from '../../../src/proxy/workers/plan-cache.ts'
import { aCluster, aListener } from '../../fixtures/mesh-builder.ts'
import { HeldDiscovery, Waiter, factsOf, startPlanLab } from '../../fixtures/plan-lab.ts'

const WEB = aListener('web', [['0.0.0.0', 80]], 'web')

function start(discovery: HeldDiscovery) {
  const store = new MeshStore()
  store.apply([{ kind: 'listener', upsert: WEB }])
  const router = new EnvoyRouter({ store }, { ownAddresses: [] })
  return { store, ...startPlanLab(store, router, { discovery }) }
}

t.test('answers at once what is known, and the rest by what has been found out meanwhile', async (t) => {
  const discovery = new HeldDiscovery((destination) => destination === '10.0.0.1')
  const lab = start(discovery)
  const [cache] = lab.caches
  const known = new Waiter()
  const unknown = new Waiter()
  cache?.route(factsOf(WEB, '192.0.2.1:1', '10.0.0.1:80'), known)
  cache?.route(factsOf(WEB, '192.0.2.1:1', '10.0.0.2:80'), unknown)
  cache?.flush()
  t.match(known.routes, [{ reason: 'no_cluster' }])
  t.equal(unknown.routes.length, 0)
  t.equal(lab.sent(0).length, 1)
  lab.store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.1:80', '[fd01::1]:80']]) }])
  discovery.finish()
  t.match(unknown.routes, [{ kind: 'upstream', upstream: { name: 'web' } }])
  t.strictSame(
    lab.sent(0).map(({ plans }) => plans.map(({ key }) => key)),
    [['192.0.2.1|10.0.0.2|80||web']],
  )
  lab.settle()
  const [told] = lab.sent(0)
  t.strictSame(
    told?.plans.map(({ key }) => key),
    ['192.0.2.1|10.0.0.1|80||web'],
    'only the plan that was another one before',
  )
})

t.test('does not tell a worker what its dead predecessor asked', async (t) => {
  const discovery = new HeldDiscovery()
  const lab = start(discovery)
  const [cache] = lab.caches
  cache?.route(factsOf(WEB, '192.0.2.1:1', '10.0.0.2:80'), new Waiter())
  cache?.flush()
  t.equal(discovery.size, 1)
  lab.directory.forgetWorker(0)
  discovery.finish()
  t.strictSame(lab.sent(0), [])
  t.equal(lab.directory.size, 0)
})

t.test(
  'rule 15: a worker is told nothing of what nobody has said anything of, and refuses in time',
  async (t) => {
    const discovery = new HeldDiscovery()
    const lab = start(discovery)
    lab.store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.1:80']]) }])
    const waiter = new Waiter()
    lab.caches[0]?.route(factsOf(WEB, '192.0.2.1:1', '10.0.0.2:80'), waiter)
    lab.caches[0]?.flush()
    discovery.finish(false)
    t.strictSame(waiter.routes, [])
    t.equal(lab.directory.size, 0)
    lab.clock.advance(ANSWER_TIMEOUT_MS)
    t.match(waiter.failures, [/no route within 5 s, from the main thread or the control plane/])
  },
)
