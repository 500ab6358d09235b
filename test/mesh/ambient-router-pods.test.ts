/** What the ambient dialect answers for connections that were captured in the network namespace of a pod. */
import t from 'tap'

import { parseIp, parseSocketAddress } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { captureListeners } from '../../src/agent/capture-listeners.ts'
import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { drawRoute } from '../../src/mesh/router.ts'
import { ambientStore, applyAmbient } from '../fixtures/ambient-mesh.ts'

import type { CapturedPod } from '../../src/mesh/pod.ts'
import type { Route, RouteFacts } from '../../src/mesh/router.ts'
import type { MeshStore } from '../../src/mesh/store.ts'

const POD: CapturedPod = {
  uid: '7d1f',
  name: 'echo',
  namespace: 'shop',
  serviceAccount: 'echo',
  addresses: ['10.1.0.1', 'fd00:1::1'].map(parseIp),
}
const ECHO = {
  name: 'echo',
  namespace: 'shop',
  serviceAccount: 'echo',
  workloadIps: ['10.1.0.1', 'fd00:1::1'],
}
const CLIENT = { name: 'client', namespace: 'web', workloadIps: ['10.0.0.1', 'fd00::1'] }
const DENY_WEB = {
  name: 'deny-web',
  namespace: 'shop',
  scope: 'Namespace',
  action: 'Deny',
  rules: [[[{ namespaces: [{ Exact: 'web' }] }]]],
}
const LISTENERS = captureListeners(
  {
    ports: { outbound: 15_001, inbound: 15_006, admin: 0, metrics: 0, readiness: 0 },
    podCapture: { socketPath: '/run/zds', reusePort: true },
  },
  { transparentSource: { isAvailable: true } },
)

function facts(name: string, client: string, destination: string, pod: CapturedPod = POD): RouteFacts {
  const listener = LISTENERS.find((each) => each.name === name)
  if (listener === undefined) throw new TypeError(`there is no listener ${name}`)
  return { listener, client: parseSocketAddress(client), destination: parseSocketAddress(destination), pod }
}

function routerOf(store: MeshStore): AmbientRouter {
  return new AmbientRouter({ store }, { network: '', plaintextPermitted: [], clusterId: 'Kubernetes' })
}

function route(store: MeshStore, asked: RouteFacts): Route {
  return drawRoute(routerOf(store).plan(asked), seededRandom(1))
}

/** What came of it: the endpoint's addresses, or the reason of a refusal. */
function verdict(routed: Route): string {
  if (routed.kind === 'reject') return `${routed.reason}: ${routed.detail}`
  return routed.upstream.endpoints
    .flatMap(({ addresses }) => addresses.map(({ ip, port }) => `${ip.text} ${port}`))
    .join()
}

t.test('policies of the pod decide, whatever address a connection into it shows', async (t) => {
  // istio/istio#53483: through a second network the destination is an address that the mesh does not know.
  const store = ambientStore({ workloads: [CLIENT, ECHO], policies: [DENY_WEB] })
  for (const destination of ['10.1.0.1:80', '[fd00:1::1]:80', '192.168.7.2:80', '[2001:db8:7::2]:80']) {
    t.equal(
      verdict(route(store, facts('inbound', '10.0.0.1:1', destination))),
      'policy_denied: denied by policy shop/deny-web',
    )
  }
  t.equal(
    verdict(route(store, facts('inbound', '10.0.0.9:1', '192.168.7.2:80'))).split(',')[0],
    '192.168.7.2 80',
  )
})

t.test("a destination that is somebody else's address does not lend the pod its policies", async (t) => {
  const open = { name: 'open', namespace: 'free', workloadIps: ['10.1.0.5'] }
  const store = ambientStore({ workloads: [CLIENT, ECHO, open], policies: [DENY_WEB] })
  t.match(route(store, facts('inbound', '10.0.0.1:1', '10.1.0.5:80')), { reason: 'policy_denied' })
})

t.test('rule 10: the twin of the address that the client used is behind it', async (t) => {
  const store = ambientStore({ workloads: [CLIENT, ECHO] })
  t.equal(
    verdict(route(store, facts('inbound', '[fd00::1]:1', '[fd00:1::1]:80'))),
    'fd00:1::1 80,10.1.0.1 80',
  )
})

t.test('rule 15: a connection into a pod that the mesh does not know is refused by name', async (t) => {
  const store = ambientStore({ workloads: [CLIENT] })
  t.match(route(store, facts('inbound', '10.0.0.1:1', '10.1.0.1:80')), {
    kind: 'reject',
    reason: 'policy_denied',
    detail: /no workload for pod shop\/echo/,
  })
  const router = routerOf(store)
  t.notOk(router.knowsPod(POD))
  applyAmbient(store, { workloads: [CLIENT, ECHO] })
  t.ok(router.knowsPod(POD))
  t.equal(route(store, facts('inbound', '10.0.0.1:1', '10.1.0.1:80')).kind, 'original-destination')
})

t.test(
  'a pod that the mesh does not know yet gets out, and sees the services of its namespace',
  async (t) => {
    const service = (namespace: string): object => ({
      name: 'db',
      namespace,
      hostname: `db.${namespace}`,
      vips: ['/10.96.0.1'],
      ports: { 80: 8080 },
    })
    const member = (namespace: string, n: number): object => ({
      name: 'db',
      namespace,
      workloadIps: [`10.2.0.${n}`],
      services: { [`${namespace}/db.${namespace}`]: { 80: 8080 } },
    })
    const store = ambientStore({
      workloads: [member('web', 1), member('shop', 2)],
      services: [service('web'), service('shop')],
    })
    t.equal(verdict(route(store, facts('outbound', '10.1.0.1:1', '10.96.0.1:80'))), '10.2.0.2 8080')
    const guest = { ...POD, namespace: 'web' }
    t.equal(verdict(route(store, facts('outbound', '10.1.0.1:1', '10.96.0.1:80', guest))), '10.2.0.1 8080')
    t.equal(verdict(route(store, facts('outbound', '10.1.0.1:1', '203.0.113.1:443'))), '203.0.113.1 443')
  },
)

t.test('out of a pod the client is the pod, also from an address that is of another', async (t) => {
  const store = ambientStore({ workloads: [CLIENT, ECHO] })
  t.match(route(store, facts('outbound', '10.0.0.1:1', '203.0.113.1:443')), {
    labels: { source: { name: 'echo', namespace: 'shop' } },
  })
})

t.test('HBONE into a pod is refused in words, whether the mesh knows the pod or not', async (t) => {
  for (const workloads of [[ECHO], []]) {
    t.match(route(ambientStore({ workloads }), facts('hbone', '10.0.0.1:1', '10.1.0.1:15008')), {
      kind: 'reject',
      reason: 'mtls_required',
      detail: /HBONE \(mTLS\) is not spoken here/,
    })
  }
})

t.test('rule 12: live connections into a pod are judged again by the policies of the pod', async (t) => {
  const mesh = { workloads: [CLIENT, ECHO] }
  const store = ambientStore(mesh)
  const router = routerOf(store)
  const inbound = facts('inbound', '10.0.0.1:1', '192.168.7.2:80')
  const outbound = facts('outbound', '10.1.0.1:1', '10.0.0.1:80')
  t.ok(router.isStillAllowed(inbound))
  applyAmbient(store, { ...mesh, policies: [DENY_WEB] })
  t.notOk(router.isStillAllowed(inbound))
  t.ok(router.isStillAllowed(outbound))
  applyAmbient(store, { workloads: [CLIENT] })
  t.notOk(router.isStillAllowed(inbound), 'nobody can say what the policies of an unknown pod allow')
  t.ok(router.isStillAllowed(outbound))
  t.ok(router.isStillAllowed({ ...inbound, pod: undefined }), 'and an unknown address has none')
})
