/** When a router of the same thread is asked. */
import t from 'tap'

import { seededRandom } from '../../src/core/random.ts'
import { EnvoyRouter } from '../../src/mesh/envoy-router.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { LocalRoutes } from '../../src/proxy/route-source.ts'
import { aCluster, aListener } from '../fixtures/mesh-builder.ts'
import { HeldDiscovery, Waiter, factsOf } from '../fixtures/plan-lab.ts'

const WEB = aListener('web', [['0.0.0.0', 80]], 'web')

function start() {
  const store = new MeshStore()
  return { store, router: new EnvoyRouter({ store }, { ownAddresses: [] }), random: seededRandom(1) }
}

t.test('answers at once where the mesh is known as a whole', async (t) => {
  const waiter = new Waiter()
  new LocalRoutes(start()).route(factsOf(WEB, '192.0.2.1:1', '10.0.0.1:80'), waiter)
  t.match(waiter.routes, [{ reason: 'no_cluster' }])
})

t.test('answers by what has been found out meanwhile', async (t) => {
  const { store, ...deps } = start()
  const discovery = new HeldDiscovery()
  const waiter = new Waiter()
  new LocalRoutes({ ...deps, discovery }).route(factsOf(WEB, '192.0.2.1:1', '10.0.0.1:80'), waiter)
  t.equal(waiter.routes.length, 0)
  store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.1:80']]) }])
  discovery.finish()
  t.match(waiter.routes, [{ kind: 'upstream', upstream: { name: 'web' } }])
})

t.test('rule 15: refuses what nobody has said anything of', async (t) => {
  const { store, ...deps } = start()
  store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.1:80']]) }])
  const discovery = new HeldDiscovery()
  const waiter = new Waiter()
  new LocalRoutes({ ...deps, discovery }).route(factsOf(WEB, '192.0.2.1:1', '10.0.0.1:80'), waiter)
  discovery.finish(false)
  t.strictSame(waiter.routes, [])
  t.match(waiter.failures, [/the control plane has not said/])
})
