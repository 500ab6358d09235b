/** Policies of pods on the node of the agent, where what it sends to them is not captured again on its way in (rule 15). */
import t from 'tap'

import { parseSocketAddress, formatSocketAddress } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { drawRoute } from '../../src/mesh/router.ts'
import { ambientStore } from '../fixtures/ambient-mesh.ts'

import type { Route } from '../../src/mesh/router.ts'

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
  const options = { network: '', plaintextPermitted: [], localNode: 'node-a', judgesLocalPods }
  const router = new AmbientRouter({ store }, options)
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
  const plan = router.plan({ listener, client, destination: parseSocketAddress(destination) })
  return drawRoute(plan, seededRandom(1))
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

t.test('leaves the decision to the other end where pods are captured in their own namespaces', async (t) => {
  const options = { judgesLocalPods: false }
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [DENY_WEB], options)).length, 4)
  t.equal(routeTo('10.1.0.1:8080', [DENY_WEB], options).kind, 'original-destination')
})

t.test('keeps the upstream as it is while nothing is denied', async (t) => {
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [])).length, 4)
  t.strictSame(addressesOf(routeTo(VIPS.ipv4, [{ ...DENY_WEB, namespace: 'elsewhere' }])).length, 4)
})
