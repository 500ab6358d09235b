/** Policies of pods on the node of the agent, where what it sends to them is not captured again on its way in (rule 15). */
import t from 'tap'

import { parseSocketAddress, formatSocketAddress } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { drawRoute } from '../../src/mesh/router.ts'
import { ambientStore, applyAmbient } from '../fixtures/ambient-mesh.ts'

import type { ReachedEndpoint, Route, RouteFacts } from '../../src/mesh/router.ts'
import type { MeshStore } from '../../src/mesh/store.ts'

const CLIENT = { name: 'client', namespace: 'web', workloadIps: ['10.0.0.1', 'fd00::1'], node: 'node-a' }
const VIPS = { ipv4: '10.96.0.1:80', ipv6: '[fd00:96::1]:80' }
const SERVICE = {
  name: 'echo',
  namespace: 'shop',
  hostname: 'echo.shop',
  vips: ['/10.96.0.1', '/fd00:96::1'],
  ports: { 80: 8080 },
}
const DENY_WEB = {
  name: 'deny-web',
  namespace: 'shop',
  scope: 'Namespace',
  action: 'Deny',
  rules: [[[{ namespaces: [{ Exact: 'web' }] }]]],
}
/** Only over IPv4 the pods are closed. */
const DENY_IPV4 = { ...DENY_WEB, name: 'deny-ipv4', rules: [[[{ destinationIps: ['10.0.0.0/8'] }]]] }

function pod(n: number, node: string): object {
  return {
    name: `echo-${n}`,
    namespace: 'shop',
    workloadIps: [`10.1.0.${n}`, `fd00:1::${n}`],
    node,
    services: { 'shop/echo.shop': { 80: 8080 } },
  }
}

function routeTo(
  destination: string,
  policies: readonly object[],
  { judgesLocalPods = true, pods = [pod(1, 'node-a'), pod(2, 'node-b')] } = {},
): Route {
  const store = ambientStore({ workloads: [CLIENT, ...pods], services: [SERVICE], policies })
  return drawRoute(routerOf(store, { judgesLocalPods }).plan(factsOf(destination)), seededRandom(1))
}

function routerOf(store: MeshStore, { judgesLocalPods = true } = {}): AmbientRouter {
  const options = { network: '', plaintextPermitted: [], localNode: 'node-a', judgesLocalPods }
  return new AmbientRouter({ store }, options)
}

/** An outbound connection of the client. */
function factsOf(destination: string): RouteFacts {
  const listener = {
    name: 'outbound',
    addresses: [],
    capture: 'redirect',
    direction: 'outbound',
    bindToPort: true,
    filterChains: [],
    accessLogs: [],
  } as const
  const client = parseSocketAddress('10.0.0.1:40000')
  return { listener, client, destination: parseSocketAddress(destination) }
}

function addressesOf(route: Route): readonly string[] {
  if (route.kind === 'reject') return [route.reason]
  return route.upstream.endpoints.flatMap(({ addresses }) => addresses.map(formatSocketAddress))
}

t.test('leaves out pods of this node that deny the client; other nodes ask theirs themselves', async (t) => {
  for (const vip of Object.values(VIPS))
    t.strictSame(addressesOf(routeTo(vip, [DENY_WEB])), ['10.1.0.2:8080', '[fd00:1::2]:8080'])
})

t.test('leaves out the addresses of the family that a policy denies', async (t) => {
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [DENY_IPV4])), [
    '[fd00:1::1]:8080',
    '10.1.0.2:8080',
    '[fd00:1::2]:8080',
  ])
})

t.test('refuses a service whose every pod denies the client, and names the policy', async (t) => {
  t.match(routeTo(VIPS.ipv4, [DENY_WEB], { pods: [pod(1, 'node-a')] }), {
    kind: 'reject',
    reason: 'policy_denied',
    detail: 'denied by policy shop/deny-web',
    labels: { service: { name: 'echo' } },
  })
})

t.test('refuses a pod of this node by its own address, and not one of another node', async (t) => {
  t.match(routeTo('10.1.0.1:8080', [DENY_WEB]), { kind: 'reject', reason: 'policy_denied' })
  t.match(routeTo('[fd00:1::1]:8080', [DENY_WEB]), { kind: 'reject', reason: 'policy_denied' })
  t.equal(routeTo('10.1.0.2:8080', [DENY_WEB]).kind, 'original-destination')
})

t.test(
  'leaves out the twin address that a policy denies, of a pod that is asked by its address',
  async (t) => {
    t.strictSame(addressesOf(routeTo('[fd00:1::1]:8080', [DENY_IPV4])), ['[fd00:1::1]:8080'])
    t.match(routeTo('10.1.0.1:8080', [DENY_IPV4]), { kind: 'reject', reason: 'policy_denied' })
    t.strictSame(addressesOf(routeTo('[fd00:1::2]:8080', [DENY_IPV4])), ['[fd00:1::2]:8080', '10.1.0.2:8080'])
  },
)

t.test('rule 12: a changed policy decides live connections to pods of this node anew', async (t) => {
  const [onNode, elsewhere] = [pod(1, 'node-a'), pod(2, 'node-b')]
  const mesh = { workloads: [CLIENT, onNode, elsewhere], services: [SERVICE] }
  const store = ambientStore(mesh)
  const router = routerOf(store)
  const asked = factsOf(VIPS.ipv4)
  const reached = (address: string, workload: string | undefined): ReachedEndpoint => ({
    workload: workload && `Kubernetes//Pod/shop/${workload}`,
    address: parseSocketAddress(address),
  })
  t.strictSame(router.judgedDirections, ['inbound'], 'without policies nobody is asked on the way out')

  applyAmbient(store, { ...mesh, policies: [DENY_IPV4] })
  t.strictSame(router.judgedDirections, ['inbound', 'outbound'])
  const [ipv4, ipv6] = [reached('10.1.0.1:8080', 'echo-1'), reached('[fd00:1::1]:8080', 'echo-1')]
  t.notOk(router.isStillAllowed(asked, [ipv4]))
  t.ok(
    router.isStillAllowed(asked, [ipv6]),
    'by the address that it reached, not by the one that it asked for',
  )
  t.notOk(router.isStillAllowed(asked, [ipv6, ipv4]), 'while it is being made, by all that it may reach')
  t.ok(router.isStillAllowed(asked, [reached('10.1.0.2:8080', 'echo-2')]), 'the other node asks itself')
  t.ok(router.isStillAllowed(asked, [reached('10.1.0.1:8080', undefined)]))
  t.ok(router.isStillAllowed(asked, []), 'nowhere yet: its route will be a new one')

  const inPod = routerOf(store, { judgesLocalPods: false })
  t.strictSame(inPod.judgedDirections, ['inbound'])
})

t.test('leaves the decision to the other end where pods are captured in their own namespaces', async (t) => {
  const options = { judgesLocalPods: false }
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [DENY_WEB], options)).length, 4)
  t.equal(routeTo('10.1.0.1:8080', [DENY_WEB], options).kind, 'original-destination')
})

t.test('keeps the upstream as it is while nothing is denied', async (t) => {
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [])).length, 4)
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [{ ...DENY_WEB, namespace: 'elsewhere' }])).length, 4)
})

t.test('tells the pods of this node apart, whose answers may come past the node', async (t) => {
  const besideClient = (options: { judgesLocalPods?: boolean }, destination: string): readonly unknown[] => {
    const route = routeTo(destination, [], options)
    return route.kind === 'reject' ? [] : route.upstream.endpoints.map(({ isBesideClient }) => isBesideClient)
  }
  t.strictSame(besideClient({}, VIPS.ipv4), [true, undefined])
  t.strictSame(besideClient({}, '10.1.0.1:8080'), [true])
  t.strictSame(besideClient({ judgesLocalPods: false }, VIPS.ipv4), [undefined, undefined])
})

t.test("rule 9: has the client's addresses of the other family, for a fallback to it", async (t) => {
  const twinsOf = (options: { judgesLocalPods?: boolean }, destination: string): readonly string[] => {
    const route = routeTo(destination, [], options)
    return route.kind === 'reject' ? [] : (route.clientTwins ?? []).map(formatSocketAddress)
  }
  for (const destination of [VIPS.ipv4, '10.1.0.2:8080', '203.0.113.1:443'])
    t.strictSame(twinsOf({}, destination), ['[fd00::1]:0'])
  t.strictSame(twinsOf({ judgesLocalPods: false }, VIPS.ipv4), [], 'the kernel of the pod chooses there')
})
