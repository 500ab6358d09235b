/** What workers are told about routes, when, and what they are not told. */
import t from 'tap'

import { AmbientRouter } from '../../../src/mesh/ambient-router.ts'
import { EnvoyRouter } from '../../../src/mesh/envoy-router.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { ANSWER_TIMEOUT_MS, PlanCache } from '../../../src/proxy/workers/plan-cache.ts'
import { ambientStore, applyAmbient } from '../../fixtures/ambient-mesh.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { aCluster, aListener } from '../../fixtures/mesh-builder.ts'
import { Waiter, factsOf, startPlanLab } from '../../fixtures/plan-lab.ts'

import type { Listener } from '../../../src/mesh/listener.ts'
import type { Route } from '../../../src/mesh/router.ts'
import type { PlanLabOptions } from '../../fixtures/plan-lab.ts'

const WEB = aListener('web', [['0.0.0.0', 80]], 'web')
const DB = aListener('db', [['0.0.0.0', 5432]], 'db')

function envoyLab(options: PlanLabOptions = {}) {
  const store = new MeshStore()
  store.apply([
    { kind: 'listener', upsert: WEB },
    { kind: 'listener', upsert: DB },
    { kind: 'cluster', upsert: aCluster('web', [['10.1.0.1:80', '[fd01::1]:80']]) },
    { kind: 'cluster', upsert: aCluster('db', [['10.1.0.2:5432']], { maxConnections: 3 }) },
  ])
  return { store, ...startPlanLab(store, new EnvoyRouter({ store }, { ownAddresses: [] }), options) }
}

function upstreamOf(route: Route) {
  if (route.kind === 'reject') throw new Error(`rejected: ${route.reason} ${route.detail}`)
  return route.upstream
}

t.test('a miss asks once and a hit asks nobody', async (t) => {
  const lab = envoyLab()
  const first = lab.route(0, WEB, '192.0.2.1:1000', '10.0.0.1:80')
  t.match(first, { kind: 'upstream', upstream: { name: 'web' } })
  t.equal(lab.questions.length, 1)
  const second = lab.route(0, WEB, '192.0.2.1:2000', '10.0.0.1:80')
  t.equal(upstreamOf(second), upstreamOf(first), 'the port of the client does not matter')
  t.equal(lab.questions.length, 1)
})

t.test(
  'connections that miss on one key in a turn ask once, and all misses of a turn together',
  async (t) => {
    const lab = envoyLab()
    const [cache] = lab.caches
    const waiters = [new Waiter(), new Waiter(), new Waiter()]
    cache?.route(factsOf(WEB, '192.0.2.1:1000', '10.0.0.1:80'), waiters[0] ?? new Waiter())
    cache?.route(factsOf(WEB, '192.0.2.1:1001', '10.0.0.1:80'), waiters[1] ?? new Waiter())
    cache?.route(factsOf(DB, '192.0.2.1:1002', '10.0.0.1:5432'), waiters[2] ?? new Waiter())
    t.strictSame(
      waiters.map(({ routes }) => routes.length),
      [0, 0, 0],
    )
    cache?.flush()
    t.strictSame(
      lab.questions.map((requests) => requests.length),
      [2],
    )
    t.strictSame(
      waiters.map(({ routes }) => routes.map((route) => upstreamOf(route).name)),
      [['web'], ['web'], ['db']],
    )
    cache?.flush()
    t.equal(lab.questions.length, 1)
  },
)

t.test('an upstream crosses once per worker, and is one object for all of its plans', async (t) => {
  const lab = envoyLab({ workers: 2 })
  const routes = ['192.0.2.1:1', '192.0.2.2:1'].map((client) => lab.route(0, WEB, client, '10.0.0.1:80'))
  t.equal(routes[0] && upstreamOf(routes[0]), routes[1] && upstreamOf(routes[1]))
  lab.route(1, WEB, '192.0.2.1:1', '10.0.0.1:80')
  t.strictSame(
    lab.sent(0).map(({ upstreams }) => upstreams.length),
    [1, 0],
  )
  t.strictSame(
    lab.sent(1).map(({ upstreams }) => upstreams.length),
    [1],
  )
})

t.test('a change is told for the keys whose answer it changed, to those who hold them', async (t) => {
  const lab = envoyLab({ workers: 2 })
  lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
  lab.route(0, DB, '192.0.2.1:1', '10.0.0.1:5432')
  lab.route(1, DB, '192.0.2.1:1', '10.0.0.1:5432')
  lab.sent(0)
  lab.sent(1)
  const before = upstreamOf(lab.route(0, DB, '192.0.2.1:1', '10.0.0.1:5432'))
  lab.store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.9:80']]) }])
  t.strictSame(lab.sent(0), [], 'changes are collected first')
  lab.settle()
  const [update, ...more] = lab.sent(0)
  t.strictSame(more, [])
  t.strictSame(
    update?.plans.map(({ key }) => key),
    ['192.0.2.1|10.0.0.1|80||web'],
  )
  t.equal(update?.forget.length, 1, 'nobody names the old upstream')
  t.strictSame(lab.sent(1), [], 'the other worker does not hold it')
  t.equal(
    upstreamOf(lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')).endpoints[0]?.addresses[0]?.ip.text,
    '10.1.0.9',
  )
  t.equal(upstreamOf(lab.route(0, DB, '192.0.2.1:1', '10.0.0.1:5432')), before)
  t.equal(lab.caches[0]?.upstreamCount, 2)
  t.equal(lab.directory.upstreamCount, 2)
})

t.test('a cluster that goes, and one that comes back, change the plan', async (t) => {
  const lab = envoyLab()
  lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
  lab.store.apply([{ kind: 'cluster', remove: 'web' }])
  lab.settle()
  t.match(lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80'), { kind: 'reject', reason: 'no_cluster' })
  lab.store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.1:80']]) }])
  lab.settle()
  t.match(lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80'), { kind: 'upstream' })
  t.equal(lab.questions.length, 1, 'nobody had to ask')
})

t.test('the plans of a listener that is gone are dropped, and asked for they are refused', async (t) => {
  const lab = envoyLab()
  lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
  lab.store.apply([{ kind: 'listener', remove: 'web' }])
  lab.settle()
  t.equal(lab.caches[0]?.size, 0)
  t.equal(lab.directory.size, 0)
  t.match(lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80'), {
    reason: 'no_route',
    detail: 'listener web is gone',
  })
})

t.test('the draw among weighted clusters is made for each connection', async (t) => {
  const clusters = [
    { name: 'web', weight: 3 },
    { name: 'db', weight: 1 },
  ]
  const [chain] = WEB.filterChains
  const shared: Listener = {
    ...WEB,
    name: 'shared',
    filterChains:
      chain === undefined || 'refusal' in chain
        ? []
        : [{ ...chain, tcpProxy: { ...chain.tcpProxy, clusters } }],
  }
  const lab = envoyLab({ listeners: [shared] })
  lab.store.apply([{ kind: 'listener', upsert: shared }])
  const drawn = Array.from(
    { length: 1_000 },
    () => upstreamOf(lab.route(0, shared, '192.0.2.1:1', '10.0.0.1:80')).name,
  )
  const share = drawn.filter((name) => name === 'web').length / drawn.length
  t.ok(Math.abs(share - 0.75) < 0.05, `the share of web is ${share}`)
  t.equal(lab.questions.length, 1)
})

t.test('the oldest plan makes room, and its worker forgets it', async (t) => {
  const lab = envoyLab({ maxPlans: 2 })
  for (const host of [1, 2, 3]) lab.route(0, WEB, `192.0.2.${host}:1`, '10.0.0.1:80')
  t.equal(lab.directory.size, 2)
  t.equal(lab.caches[0]?.size, 2)
  lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
  t.equal(lab.questions.length, 4, 'the first one was dropped and is asked for again')
})

t.test('a walk through destinations fills neither side', async (t) => {
  const lab = envoyLab({ maxPlans: 16 })
  for (let port = 1; port <= 500; port++) lab.route(0, WEB, '192.0.2.1:1', `10.0.0.1:${port}`)
  t.equal(lab.directory.size, 16)
  t.equal(lab.caches[0]?.size, 16)
  t.equal(lab.directory.upstreamCount, 1)
})

t.test('a worker that starts again is told everything again', async (t) => {
  const lab = envoyLab()
  lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
  lab.sent(0)
  lab.directory.forgetWorker(0)
  lab.store.apply([{ kind: 'cluster', upsert: aCluster('web', [['10.1.0.9:80']]) }])
  lab.settle()
  t.strictSame(lab.sent(0), [], 'it holds nothing')
  const [cache] = lab.caches
  cache?.apply({ upstreams: [], plans: [], drop: ['192.0.2.1|10.0.0.1|80||web'], forget: [] })
  lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
  t.equal(lab.sent(0)[0]?.upstreams.length, 1)
})

t.test(
  'a connection whose plan does not come is refused after a while, and a late answer is kept',
  async (t) => {
    const clock = new FakeClock()
    const random = { next: () => 0 }
    const asked: unknown[] = []
    const cache = new PlanCache({
      clock,
      random,
      ask: (requests) => asked.push(...requests),
      flushSoon: () => undefined,
    })
    const early = new Waiter()
    const later = new Waiter()
    cache.route(factsOf(WEB, '192.0.2.1:1', '10.0.0.1:80'), early)
    cache.flush()
    clock.advance(ANSWER_TIMEOUT_MS - 1)
    cache.route(factsOf(WEB, '192.0.2.2:1', '10.0.0.1:80'), later)
    cache.flush()
    t.strictSame(early.failures, [])
    clock.advance(1)
    t.strictSame(early.failures, ['no route within 5 s, from the main thread or the control plane'])
    t.strictSame(later.failures, [])
    const lab = envoyLab()
    lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80')
    for (const update of lab.sent(0)) cache.apply(update)
    t.strictSame(early.routes, [])
    const third = new Waiter()
    cache.route(factsOf(WEB, '192.0.2.1:1', '10.0.0.1:80'), third)
    t.equal(third.routes.length, 1)
    clock.advance(ANSWER_TIMEOUT_MS)
    t.equal(later.failures.length, 1)
    t.equal(clock.pendingTimers, 0)
    t.equal(asked.length, 2)
  },
)

t.test('an upstream that has a limit comes with a column that stays over updates', async (t) => {
  const lab = envoyLab()
  const [cache] = lab.caches
  const slotOf = () => cache?.slotOf(upstreamOf(lab.route(0, DB, '192.0.2.1:1', '10.0.0.1:5432')))
  t.equal(slotOf(), 0)
  lab.store.apply([{ kind: 'cluster', upsert: aCluster('db', [['10.1.0.3:5432']], { maxConnections: 4 }) }])
  lab.settle()
  t.equal(slotOf(), 0)
  t.equal(cache?.slotOf(upstreamOf(lab.route(0, WEB, '192.0.2.1:1', '10.0.0.1:80'))), undefined)
})

t.test('ambient: an update that changes nothing of an answer is not told', async (t) => {
  const echo = {
    name: 'echo',
    namespace: 'shop',
    hostname: 'echo.shop',
    vips: ['/10.96.0.1', '/fd00:96::1'],
    ports: { 80: 8080 },
  }
  const pod = (n: number): object => ({
    name: `echo-${n}`,
    namespace: 'shop',
    workloadIps: [`10.1.0.${n}`, `fd00:1::${n}`],
    services: { 'shop/echo.shop': { 80: 8080 } },
  })
  const bystander = { name: 'other', namespace: 'web', workloadIps: ['10.9.0.1'] }
  const store = ambientStore({ workloads: [pod(1)], services: [echo] })
  const outbound = aListener('outbound', [['0.0.0.0', 15001]], '', { capture: 'redirect', filterChains: [] })
  const router = new AmbientRouter({ store }, { network: '', plaintextPermitted: [] })
  const lab = startPlanLab(store, router, { listeners: [outbound] })
  const before = upstreamOf(lab.route(0, outbound, '10.0.0.1:1', '10.96.0.1:80'))
  lab.route(0, outbound, '10.0.0.1:1', '203.0.113.1:443')
  lab.sent(0)
  applyAmbient(store, { workloads: [pod(1), bystander], services: [echo] })
  lab.settle()
  t.strictSame(lab.sent(0), [], 'the router made new upstreams, but they are equal')
  t.equal(upstreamOf(lab.route(0, outbound, '10.0.0.1:1', '[fd00:96::1]:80')), before)
  lab.sent(0)
  applyAmbient(store, { workloads: [pod(1), pod(2), bystander], services: [echo] })
  lab.settle()
  t.strictSame(
    lab.sent(0).flatMap(({ plans }) => plans.map(({ key }) => key)),
    ['10.0.0.1|10.96.0.1|80||outbound', '10.0.0.1|fd00:96::1|80||outbound'],
  )
})

t.test("ambient: a change of the client's own addresses is told", async (t) => {
  const client = (...workloadIps: readonly string[]): object => ({
    workloads: [{ name: 'client', namespace: 'web', node: 'node-a', workloadIps }],
  })
  const store = ambientStore(client('10.0.0.1'))
  const outbound = aListener('outbound', [['0.0.0.0', 15001]], '', { capture: 'redirect', filterChains: [] })
  const options = { network: '', plaintextPermitted: [], localNode: 'node-a', judgesLocalPods: true }
  const lab = startPlanLab(store, new AmbientRouter({ store }, options), { listeners: [outbound] })
  lab.route(0, outbound, '10.0.0.1:1', '203.0.113.1:443')
  lab.sent(0)
  applyAmbient(store, client('10.0.0.1', 'fd00::1'))
  lab.settle()
  t.match(lab.sent(0), [{ plans: [{ key: '10.0.0.1|203.0.113.1|443||outbound' }] }])
})
