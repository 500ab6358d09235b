/** What workers are told about routes of captured pods, and what is forgotten with a pod. */
import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { AmbientRouter } from '../../../src/mesh/ambient-router.ts'
import { planKey } from '../../../src/proxy/workers/plan-messages.ts'
import { ambientStore, applyAmbient } from '../../fixtures/ambient-mesh.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'
import { Waiter, factsOf, startPlanLab } from '../../fixtures/plan-lab.ts'

import type { CapturedPod } from '../../../src/mesh/pod.ts'
import type { Route } from '../../../src/mesh/router.ts'

const REDIRECTED = { capture: 'redirect', filterChains: [], bindToPort: false } as const
const OUTBOUND = aListener('outbound', [['0.0.0.0', 15_001]], '', REDIRECTED)
const INBOUND = aListener('inbound', [['0.0.0.0', 15_006]], '', { ...REDIRECTED, direction: 'inbound' })
const CLIENT = '10.244.9.9:1000'
const SERVER = '10.244.0.2:80'

function aPod(name: string, ip: string): CapturedPod {
  return {
    uid: `uid-${name}`,
    name,
    namespace: 'shop',
    serviceAccount: 'default',
    addresses: [parseIp(ip)],
  }
}

const A = aPod('a', '10.244.0.2')
const B = aPod('b', '10.244.0.3')
const POLICY = { name: 'deny', namespace: 'shop', scope: 'Namespace', action: 'Deny', rules: [] }
const WORKLOADS = [A, B].map(({ name, namespace, serviceAccount, addresses }) => ({
  name,
  namespace,
  serviceAccount,
  workloadIps: addresses.map(({ text }) => text),
}))

function start(workers = 1) {
  const store = ambientStore({ workloads: WORKLOADS })
  const router = new AmbientRouter(
    { store },
    { network: '', plaintextPermitted: [], clusterId: 'Kubernetes' },
  )
  const pods = new Map([A, B].map((pod) => [pod.uid, pod]))
  return { store, pods, ...startPlanLab(store, router, { workers, listeners: [OUTBOUND, INBOUND], pods }) }
}

function endpointsOf(route: Route): readonly string[] {
  if (route.kind === 'reject') return [`${route.reason}: ${route.detail}`]
  return route.upstream.endpoints.map(({ id }) => id)
}

t.test('the same ends in two pods are two questions, and each pod has its answer', async (t) => {
  const lab = start()
  // Both pods are asked for one address, as through a second network that gives each the same.
  const routes = [A, B].map((pod) => lab.route(0, INBOUND, CLIENT, '192.168.7.2:80', pod))
  t.equal(lab.questions.length, 2)
  t.strictSame(routes.map(endpointsOf), [
    ['Kubernetes//Pod/shop/a:80 inbound'],
    ['Kubernetes//Pod/shop/b:80 inbound'],
  ])
  lab.route(0, INBOUND, CLIENT, '192.168.7.2:80', A)
  t.equal(lab.questions.length, 2)
})

t.test('the key has the pod, and is another one without', async (t) => {
  const keys = [A, B, undefined].map((pod) => planKey(factsOf(INBOUND, CLIENT, SERVER, pod)))
  t.strictSame(keys, [
    '10.244.9.9|10.244.0.2|80|uid-a|inbound',
    '10.244.9.9|10.244.0.2|80|uid-b|inbound',
    '10.244.9.9|10.244.0.2|80||inbound',
  ])
})

t.test('rule 12: a changed policy is told for the pods that it is about', async (t) => {
  const lab = start()
  lab.route(0, INBOUND, CLIENT, SERVER, A)
  lab.route(0, OUTBOUND, '10.244.0.2:1000', '203.0.113.1:443', A)
  lab.sent(0)
  applyAmbient(lab.store, {
    workloads: WORKLOADS,
    policies: [{ ...POLICY, rules: [[[{ sourceIps: ['10.244.9.0/24'] }]]] }],
  })
  lab.settle()
  t.strictSame(
    lab.sent(0).flatMap(({ plans }) => plans.map(({ key }) => key)),
    ['10.244.9.9|10.244.0.2|80|uid-a|inbound'],
  )
})

t.test('a pod that is gone takes its plans with it, and no others', async (t) => {
  const lab = start(2)
  lab.route(0, INBOUND, CLIENT, SERVER, A)
  lab.route(1, OUTBOUND, '10.244.0.2:1000', '203.0.113.1:443', A)
  lab.route(0, INBOUND, CLIENT, '10.244.0.3:80', B)
  lab.sent(0)
  lab.sent(1)
  lab.pods.delete(A.uid)
  lab.directory.forgetPod(A.uid)
  t.match(lab.sent(0), [{ plans: [], drop: ['10.244.9.9|10.244.0.2|80|uid-a|inbound'] }])
  t.match(lab.sent(1), [{ plans: [], drop: ['10.244.0.2|203.0.113.1|443|uid-a|outbound'] }])
  t.equal(lab.directory.size, 1)
  t.equal(lab.directory.upstreamCount, 1)
  t.strictSame(
    lab.caches.map(({ upstreamCount }) => upstreamCount),
    [1, 0],
  )
})

t.test('what a pod asks that is gone is refused once, and nothing of it is kept', async (t) => {
  const lab = start()
  lab.pods.delete(A.uid)
  const [cache] = lab.caches
  const waiter = new Waiter()
  cache?.route(factsOf(INBOUND, CLIENT, SERVER, A), waiter)
  cache?.flush()
  t.match(waiter.routes, [
    { kind: 'reject', reason: 'no_route', detail: 'pod uid-a or listener inbound is gone' },
  ])
  t.equal(lab.directory.size, 0)
  lab.pods.set(A.uid, A)
  t.strictSame(
    endpointsOf(lab.route(0, INBOUND, CLIENT, SERVER, A)),
    ['Kubernetes//Pod/shop/a:80 inbound'],
    'a pod that has come back is no change of the mesh, and is served all the same',
  )
})

t.test('a plan of a pod that goes without being forgotten is dropped with the next change', async (t) => {
  const lab = start()
  lab.route(0, INBOUND, CLIENT, SERVER, A)
  lab.sent(0)
  lab.pods.delete(A.uid)
  applyAmbient(lab.store, { workloads: WORKLOADS, policies: [POLICY] })
  lab.settle()
  t.match(lab.sent(0), [{ plans: [], drop: ['10.244.9.9|10.244.0.2|80|uid-a|inbound'] }])
})

t.test('the refusal for a pod that the mesh does not know is asked for again each time', async (t) => {
  const lab = start()
  applyAmbient(lab.store, { workloads: WORKLOADS.slice(1) })
  for (const asked of [1, 2]) {
    t.match(lab.route(0, INBOUND, CLIENT, SERVER, A), { kind: 'reject', reason: 'policy_denied' })
    t.equal(lab.questions.length, asked)
  }
  t.equal(lab.directory.size, 0)
})
