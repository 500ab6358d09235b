import assert from 'node:assert/strict'

import fc from 'fast-check'
import t from 'tap'

import { parseSocketAddress, formatSocketAddress, parseIp } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { drawRoute } from '../../src/mesh/router.ts'
import { ambientStore, applyAmbient } from '../fixtures/ambient-mesh.ts'

import type { AmbientRouterOptions } from '../../src/mesh/ambient-router.ts'
import type { TrafficDirection } from '../../src/mesh/listener.ts'
import type { Route, RouteFacts } from '../../src/mesh/router.ts'
import type { MeshStore } from '../../src/mesh/store.ts'
import type { Upstream } from '../../src/mesh/upstream.ts'

const CLIENT = { name: 'client', namespace: 'web', workloadIps: ['10.0.0.1', 'fd00::1'], node: 'node-a' }
const ECHO = {
  name: 'echo',
  namespace: 'shop',
  hostname: 'echo.shop',
  vips: ['/10.96.0.1', '/fd00:96::1'],
  ports: { 80: 8080 },
}
const ECHO_KEY = 'shop/echo.shop'

/** An endpoint of the echo service with addresses ending in `n`. */
function echoPod(n: number, fields: object = {}): object {
  return {
    name: `echo-${n}`,
    namespace: 'shop',
    workloadIps: [`10.1.0.${n}`, `fd00:1::${n}`],
    services: { [ECHO_KEY]: { 80: 8080 } },
    ...fields,
  }
}

function facts(client: string, destination: string, direction: TrafficDirection = 'outbound'): RouteFacts {
  return {
    listener: {
      name: direction,
      addresses: [],
      capture: 'redirect',
      direction,
      bindToPort: true,
      filterChains: [],
      accessLogs: [{ target: { kind: 'stdout' } }],
    },
    client: parseSocketAddress(client),
    destination: parseSocketAddress(destination),
  }
}

function routerOf(store: MeshStore, options: Partial<AmbientRouterOptions> = {}): AmbientRouter {
  return new AmbientRouter({ store }, { network: '', plaintextPermitted: [], ...options })
}

function routeBy(router: AmbientRouter, asked: RouteFacts): Route {
  return drawRoute(router.plan(asked), seededRandom(1))
}

function route(
  document: unknown,
  destination: string,
  { client = '10.0.0.1:40000', ...options }: Partial<AmbientRouterOptions> & { client?: string } = {},
): Route {
  return routeBy(routerOf(ambientStore(document), options), facts(client, destination))
}

function upstreamOf(routed: Route): Upstream {
  if (routed.kind === 'reject') throw new Error(`rejected: ${routed.reason} ${routed.detail}`)
  return routed.upstream
}

/** `id: address address`, an endpoint a line. */
function summary(routed: Route): readonly string[] {
  return upstreamOf(routed).endpoints.map(
    ({ id, addresses }) => `${id}: ${addresses.map(formatSocketAddress).join(' ')}`,
  )
}

/** The reason and detail of a rejection, or what the route accepted. */
function verdict(routed: Route): string {
  return routed.kind === 'reject' ? `${routed.reason}: ${routed.detail}` : summary(routed).join(', ')
}

t.test(
  'a service is reached over all addresses of its endpoints, asked for over either family',
  async (t) => {
    const mesh = { workloads: [CLIENT, echoPod(1), echoPod(2, { capacity: 3 })], services: [ECHO] }
    for (const destination of ['10.96.0.1:80', '[fd00:96::1]:80']) {
      const routed = route(mesh, destination)
      t.equal(routed.kind, 'upstream')
      t.strictSame(summary(routed), [
        'Kubernetes//Pod/shop/echo-1:8080: 10.1.0.1:8080 [fd00:1::1]:8080',
        'Kubernetes//Pod/shop/echo-2:8080: 10.1.0.2:8080 [fd00:1::2]:8080',
      ])
      t.match(upstreamOf(routed), {
        name: 'shop/echo.shop:80',
        loadBalancing: 'random',
        connectTimeoutMs: 10_000,
        endpoints: [{ weight: 1, priority: 0, protocol: 'tcp' }, { weight: 3 }],
      })
      t.match(routed.labels, {
        source: { name: 'client', namespace: 'web' },
        service: { hostname: 'echo.shop', namespace: 'shop', name: 'echo' },
      })
      t.match(upstreamOf(routed).endpoints[0]?.workload, { name: 'echo-1', cluster: 'Kubernetes' })
      t.equal(routed.settings.accessLogs.length, 1, "the listener's access logs hold")
    }
  },
)

t.test('a destination that the mesh does not know has only itself', async (t) => {
  const routed = route({ workloads: [CLIENT] }, '[2001:db8::1]:443')
  t.equal(routed.kind, 'original-destination')
  t.equal(upstreamOf(routed).name, 'PassthroughCluster')
  t.strictSame(summary(routed), ['[2001:db8::1]:443: [2001:db8::1]:443'])
})

t.test('rule 6: a workload asked for by its own address has its twin address behind it', async (t) => {
  const mesh = { workloads: [CLIENT, echoPod(1)] }
  const uid = 'Kubernetes//Pod/shop/echo-1'
  t.strictSame(summary(route(mesh, '10.1.0.1:9')), [`${uid}:9: 10.1.0.1:9 [fd00:1::1]:9`])
  t.strictSame(summary(route(mesh, '[fd00:1::1]:9')), [`${uid}:9: [fd00:1::1]:9 10.1.0.1:9`])
  t.match(route(mesh, '10.1.0.1:9'), { kind: 'original-destination', upstream: { name: `${uid}:9` } })
})

t.test('a client that no workload is known for is served all the same', async (t) => {
  const client = '10.9.9.9:1'
  const near = {
    loadBalancer: { mode: 'Strict', routingPreferences: ['Node', 'Zone'], healthPolicy: 'OnlyHealthy' },
  }
  const mesh = {
    workloads: [echoPod(1, { node: 'node-a' }), echoPod(2, { node: 'node-b' })],
    services: [{ ...ECHO, ...near }],
  }
  const routed = route(mesh, '10.96.0.1:80', { client, localNode: 'node-a' })
  t.strictSame(summary(routed), ['Kubernetes//Pod/shop/echo-1:8080: 10.1.0.1:8080 [fd00:1::1]:8080'])
  t.equal(routed.labels.source, undefined)
  t.equal(upstreamOf(route(mesh, '10.96.0.1:80', { client })).endpoints.length, 2)
})

t.test(
  'the target port is what the workload says, else the service, else what its tunnel takes',
  async (t) => {
    const services = [{ ...ECHO, ports: { 80: 8080, 81: 0, 82: 8082 } }]
    const workloads = [
      echoPod(1, { services: { [ECHO_KEY]: { 80: 9090, 81: 9091 } } }),
      echoPod(2, { services: { [ECHO_KEY]: {} } }),
      echoPod(3, { services: { [ECHO_KEY]: {} }, applicationTunnel: { protocol: 'PROXY', port: 15088 } }),
    ]
    const portsOf = (port: number): readonly (number | undefined)[] =>
      upstreamOf(route({ workloads, services }, `10.96.0.1:${port}`)).endpoints.map(
        ({ addresses }) => addresses[0]?.port,
      )
    t.strictSame(portsOf(80), [9090, 8080, 8080])
    t.strictSame(
      portsOf(81),
      [9091, 81],
      'a named port that a workload does not have leaves the workload out',
    )
    t.strictSame(portsOf(82), [8082, 8082, 8082])
  },
)

t.test('what a service cannot serve is refused by name', async (t) => {
  const workloads = [echoPod(1, { status: 'Unhealthy' })]
  const mesh = { workloads, services: [ECHO] }
  t.equal(verdict(route(mesh, '10.96.0.1:81')), 'no_route: service shop/echo.shop has no port 81')
  t.equal(
    verdict(route(mesh, '10.96.0.1:80')),
    'no_endpoints: service shop/echo.shop has no endpoint for port 80',
  )
  t.match(route(mesh, '10.96.0.1:80').labels.service, { name: 'echo' })
})

t.test('an endpoint that is not healthy counts only where the service allows it', async (t) => {
  const workloads = [echoPod(1, { status: 'Unhealthy' }), echoPod(2)]
  const allowAll = { loadBalancer: { mode: 'Standard', healthPolicy: 'AllowAll' } }
  t.equal(upstreamOf(route({ workloads, services: [ECHO] }, '10.96.0.1:80')).endpoints.length, 1)
  const all = upstreamOf(route({ workloads, services: [{ ...ECHO, ...allowAll }] }, '10.96.0.1:80'))
  t.strictSame(
    all.endpoints.map(({ health }) => health),
    ['healthy', 'healthy'],
  )
})

t.test('rule 15: what asks for mTLS is not sent in plain text', async (t) => {
  const mesh = { workloads: [echoPod(1, { protocol: 'HBONE' })], services: [ECHO] }
  const uid = 'Kubernetes//Pod/shop/echo-1'
  const remedy =
    'asks for mTLS (HBONE), which is not spoken here; name it in TWINSTACK_ALLOW_PLAINTEXT to permit plain text'
  t.equal(verdict(route(mesh, '10.96.0.1:80')), `mtls_required: service shop/echo.shop ${remedy}`)
  t.equal(verdict(route(mesh, '10.1.0.1:8080')), `mtls_required: workload ${uid} ${remedy}`)

  for (const name of ['*', uid, 'shop']) {
    const options = { plaintextPermitted: ['elsewhere', name] }
    t.match(route(mesh, '10.96.0.1:80', options), { upstream: { endpoints: [{ protocol: 'tcp' }] } }, name)
    t.equal(route(mesh, '10.1.0.1:8080', options).kind, 'original-destination', name)
  }
  const byService = { plaintextPermitted: [ECHO_KEY] }
  t.equal(route(mesh, '10.96.0.1:80', byService).kind, 'upstream')
  t.equal(
    route(mesh, '10.1.0.1:8080', byService).kind,
    'reject',
    'a service permits itself, not its workloads',
  )
  t.equal(route(mesh, '10.96.0.1:80', { plaintextPermitted: ['web'] }).kind, 'reject')
})

t.test('rule 15: endpoints that ask for mTLS are left out while others remain', async (t) => {
  const mesh = { workloads: [echoPod(1, { protocol: 'HBONE' }), echoPod(2)], services: [ECHO] }
  t.strictSame(summary(route(mesh, '10.96.0.1:80')), [
    'Kubernetes//Pod/shop/echo-2:8080: 10.1.0.2:8080 [fd00:1::2]:8080',
  ])
})

t.test(
  'rule 15: a waypoint or a gateway to another network is not bypassed, whatever is permitted',
  async (t) => {
    const options = { plaintextPermitted: ['*'] }
    const waypoint = { destination: 'shop/waypoint.shop', hboneMtlsPort: 15008 }
    const gateway = { networkGateway: { destination: 'far/192.0.2.1', hboneMtlsPort: 15008 } }
    const throughService = { workloads: [echoPod(1)], services: [{ ...ECHO, waypoint }] }
    t.equal(
      verdict(route(throughService, '10.96.0.1:80', options)),
      'mtls_required: service shop/echo.shop is reached through waypoint shop/waypoint.shop over mTLS (HBONE) only, which TWINSTACK_ALLOW_PLAINTEXT does not lift',
    )
    const throughWorkload = { workloads: [echoPod(1, { waypoint })], services: [ECHO] }
    t.match(route(throughWorkload, '10.1.0.1:80', options), { kind: 'reject', reason: 'mtls_required' })
    t.equal(
      route(throughWorkload, '10.96.0.1:80', options).kind,
      'upstream',
      'asked for as a service, as ztunnel',
    )
    const far = { workloads: [echoPod(1, { network: 'far', ...gateway })], services: [ECHO] }
    t.match(route(far, '10.96.0.1:80', options), { kind: 'reject', reason: 'mtls_required' })
    const passthrough = { loadBalancer: { mode: 'Passthrough' } }
    const through = {
      workloads: [echoPod(1, { protocol: 'HBONE' })],
      services: [{ ...ECHO, ...passthrough, vips: ['/10.1.0.1'] }],
    }
    t.match(route(through, '10.1.0.1:80'), { kind: 'reject', reason: 'mtls_required' })
  },
)

t.test('a service in pass-through mode leaves the destination as it is', async (t) => {
  const services = [
    {
      ...ECHO,
      vips: [],
      cidrVips: [{ network: '', cidr: '192.0.2.0/24' }],
      loadBalancer: { mode: 'Passthrough' },
    },
  ]
  const routed = route({ workloads: [CLIENT], services }, '192.0.2.7:99')
  t.equal(routed.kind, 'original-destination')
  t.strictSame(summary(routed), ['192.0.2.7:99: 192.0.2.7:99'])
  t.equal(routed.labels.service?.name, 'echo')
})

t.test('routing preferences rank endpoints by where the client is', async (t) => {
  const locality = (region: string, zone: string): object => ({ locality: { region, zone, subzone: '' } })
  const client = { ...CLIENT, ...locality('r1', 'z1') }
  const workloads = [
    client,
    echoPod(1, locality('r2', 'z1')),
    echoPod(2, locality('r1', 'z2')),
    echoPod(3, locality('r1', 'z1')),
  ]
  const service = (mode: string): object => ({
    ...ECHO,
    loadBalancer: { mode, routingPreferences: ['Network', 'Region', 'Zone'], healthPolicy: 'OnlyHealthy' },
  })
  const priorities = (mode: string, among: readonly unknown[] = workloads): readonly string[] =>
    upstreamOf(route({ workloads: among, services: [service(mode)] }, '10.96.0.1:80')).endpoints.map(
      ({ id, priority }) => `${id.slice(-6, -5)} ${priority}`,
    )
  t.strictSame(priorities('Failover'), ['1 2', '2 1', '3 0'])
  t.strictSame(
    priorities('Failover', workloads.slice(0, 3)),
    ['1 1', '2 0'],
    'the nearest there is comes first',
  )
  t.strictSame(priorities('Strict'), ['3 0'])
  t.strictSame(priorities('Standard'), ['1 0', '2 0', '3 0'])
  t.match(route({ workloads: workloads.slice(0, 3), services: [service('Strict')] }, '10.96.0.1:80'), {
    kind: 'reject',
    reason: 'no_endpoints',
  })
})

t.test('of several services on one address the client gets its own', async (t) => {
  const at = (namespace: string, fields: object = {}): object => ({
    ...ECHO,
    namespace,
    hostname: `echo.${namespace}`,
    loadBalancer: { mode: 'Passthrough' },
    ...fields,
  })
  const range = (namespace: string, cidr: string, fields: object = {}): object =>
    at(namespace, { vips: [], cidrVips: [{ network: '', cidr }], ...fields })
  const cases: readonly (readonly [string, readonly object[], string | undefined])[] = [
    ['the own namespace', [at('a', { canonical: true }), at('web')], 'web'],
    ['a canonical one', [at('a'), at('b', { canonical: true })], 'b'],
    ['the first', [at('a'), at('b')], 'a'],
    ['a visible one', [at('a', { visibility: 'Namespace', canonical: true }), at('b')], 'b'],
    ['none that it may not see', [at('a', { visibility: 'Namespace' })], undefined],
    ['its own private one', [at('web', { visibility: 'Namespace' })], 'web'],
    ['an exact one before a range', [range('web', '10.0.0.0/8'), at('a')], 'a'],
    ['the longest range', [range('a', '10.0.0.0/8'), range('b', '10.96.0.0/16')], 'b'],
    ['the range of its namespace', [range('web', '10.0.0.0/8'), range('b', '10.96.0.0/16')], 'web'],
    ['the first of equal ranges', [range('a', '10.0.0.0/8'), range('b', '10.0.0.0/8')], 'a'],
    ['a canonical range', [range('a', '10.0.0.0/8'), range('b', '10.0.0.0/8', { canonical: true })], 'b'],
    ['no address of another network', [at('a', { vips: ['far/10.96.0.1'] })], undefined],
    [
      'no range of another network',
      [at('a', { vips: [], cidrVips: [{ network: 'far', cidr: '10.0.0.0/8' }] })],
      undefined,
    ],
  ]
  for (const [name, services, expected] of cases) {
    const routed = route({ workloads: [CLIENT], services }, '10.96.0.1:80')
    t.equal(routed.labels.service?.namespace, expected, name)
  }
})

t.test('an address that several workloads claim is that of the pod, then of the mesh member', async (t) => {
  const entry = (name: string, fields: object = {}): object => ({
    uid: `c/networking.istio.io/WorkloadEntry/shop/${name}`,
    name,
    namespace: 'shop',
    workloadIps: ['10.1.0.1'],
    ...fields,
  })
  const ownerOf = (...workloads: readonly object[]): string | undefined =>
    upstreamOf(route({ workloads }, '10.1.0.1:80', { plaintextPermitted: ['*'] })).endpoints[0]?.workload
      ?.name
  t.equal(ownerOf(echoPod(1), entry('e', { protocol: 'HBONE' })), 'echo-1')
  t.equal(ownerOf(entry('h', { protocol: 'HBONE' }), entry('t')), 'h')
  t.equal(ownerOf(entry('t'), entry('h', { protocol: 'HBONE' })), 'h')
  t.equal(ownerOf(entry('n', { networkMode: 'HostNetwork' })), undefined, "a host's address is nobody's")
})

t.test('a workload known by its host name has the addresses that the name resolved to', async (t) => {
  const store = ambientStore({
    workloads: [echoPod(1, { workloadIps: [], hostname: 'db.example' })],
    services: [{ ...ECHO, ipFamilies: 'IPv6' }],
  })
  const router = routerOf(store)
  const asked = facts('10.0.0.1:1', '10.96.0.1:80')
  t.match(routeBy(router, asked), { kind: 'reject', reason: 'no_endpoints' })
  const addresses = [parseIp('192.0.2.1'), parseIp('2001:db8::1')]
  store.apply([{ kind: 'host', upsert: { hostname: 'db.example', addresses } }])
  t.strictSame(summary(routeBy(router, asked)), ['Kubernetes//Pod/shop/echo-1:8080: [2001:db8::1]:8080'])
})

t.test('every allowed address of every endpoint is there exactly once', async () => {
  const families = fc.constantFrom('IPv4', 'IPv6', 'Dual', undefined)
  const shape = fc.array(fc.constantFrom('4', '6'), { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(fc.array(shape, { maxLength: 6 }), families, (shapes, ipFamilies) => {
      const addressesOf = (digits: readonly string[], n: number): readonly string[] =>
        digits.map((digit, index) =>
          digit === '4' ? `10.${index}.0.${n + 1}` : `fd00:${index + 1}::${n + 1}`,
        )
      const workloads = shapes.map((digits, n) => echoPod(n, { workloadIps: addressesOf(digits, n) }))
      const isAllowed = (ip: string): boolean =>
        ipFamilies === undefined || ipFamilies === 'Dual' || ip.includes(':') === (ipFamilies === 'IPv6')
      const expected = shapes.flatMap(addressesOf).filter(isAllowed)
      const routed = route({ workloads, services: [{ ...ECHO, ipFamilies }] }, '10.96.0.1:80')
      const endpoints = routed.kind === 'reject' ? [] : routed.upstream.endpoints
      const found = endpoints.flatMap(({ addresses }) => addresses.map(({ ip }) => ip.text))
      assert.deepEqual([...found].sort(), [...expected].sort())
      assert.ok(endpoints.every(({ addresses }) => addresses.length > 0))
    }),
    { numRuns: 60 },
  )
})

t.test('the upstream of a service can be sent to another thread', (t) => {
  const upstream = upstreamOf(route({ workloads: [echoPod(1)], services: [ECHO] }, '10.96.0.1:80'))
  t.strictSame(structuredClone(upstream), upstream)
  t.end()
})

t.test('an upstream stays the same object while nothing that it is made of has changed', async (t) => {
  const mesh = { workloads: [CLIENT, echoPod(1)], services: [ECHO] }
  const store = ambientStore(mesh)
  const router = routerOf(store)
  const asked = facts('10.0.0.1:1', '10.96.0.1:80')
  const first = upstreamOf(routeBy(router, asked))
  t.equal(
    upstreamOf(routeBy(router, facts('[fd00::1]:2', '[fd00:96::1]:80'))),
    first,
    'both families share it',
  )
  const policy = { name: 'p', namespace: 'shop', scope: 'Namespace', action: 'Allow', rules: [] }
  applyAmbient(store, { ...mesh, policies: [policy] })
  t.equal(upstreamOf(routeBy(router, asked)), first, 'a policy is no part of it')
  applyAmbient(store, { ...mesh, workloads: [CLIENT, echoPod(1), echoPod(2)] })
  t.equal(upstreamOf(routeBy(router, asked)).endpoints.length, 2)
})

const DENY_WEB = {
  name: 'deny-web',
  namespace: 'shop',
  scope: 'Namespace',
  action: 'Deny',
  rules: [[[{ namespaces: [{ Exact: 'web' }] }]]],
}

t.test('rule 10: a connection into a pod has the twin address of the pod behind it', async (t) => {
  const store = ambientStore({ workloads: [CLIENT, echoPod(1, { protocol: 'HBONE' })], services: [ECHO] })
  const routed = routeBy(routerOf(store), facts('[fd00::1]:1', '[fd00:1::1]:8080', 'inbound'))
  t.equal(routed.kind, 'original-destination')
  t.equal(upstreamOf(routed).name, 'InboundPassthroughCluster')
  t.strictSame(summary(routed), ['Kubernetes//Pod/shop/echo-1:8080 inbound: [fd00:1::1]:8080 10.1.0.1:8080'])
  t.match(routed.labels, { source: { name: 'client' }, service: { name: 'echo' } })
  t.match(upstreamOf(routed).endpoints[0], { protocol: 'tcp', workload: { name: 'echo-1' } })
})

t.test('a connection into an address that no workload owns goes to itself', async (t) => {
  const store = ambientStore({ workloads: [CLIENT], policies: [{ ...DENY_WEB, scope: 'Global' }] })
  const router = routerOf(store)
  const asked = facts('10.0.0.1:1', '10.7.7.7:80', 'inbound')
  t.strictSame(summary(routeBy(router, asked)), ['10.7.7.7:80: 10.7.7.7:80'])
  t.ok(router.isStillAllowed(asked))
})

t.test('policies decide who gets into a pod, and not who gets out', async (t) => {
  const mesh = { workloads: [CLIENT, echoPod(1)], policies: [DENY_WEB] }
  const router = routerOf(ambientStore(mesh))
  for (const [client, destination] of [
    ['10.0.0.1:1', '10.1.0.1:8080'],
    ['[fd00::1]:1', '[fd00:1::1]:8080'],
  ] as const) {
    t.match(routeBy(router, facts(client, destination, 'inbound')), {
      kind: 'reject',
      reason: 'policy_denied',
      detail: 'denied by policy shop/deny-web',
    })
    t.equal(routeBy(router, facts(client, destination)).kind, 'original-destination')
  }
  t.equal(routeBy(router, facts('10.0.0.2:1', '10.1.0.1:8080', 'inbound')).kind, 'original-destination')
})

t.test('rule 12: a changed policy decides live connections anew', async (t) => {
  const mesh = { workloads: [CLIENT, echoPod(1)] }
  const store = ambientStore(mesh)
  const router = routerOf(store)
  const inbound = facts('10.0.0.1:1', '10.1.0.1:8080', 'inbound')
  const outbound = facts('10.0.0.1:1', '10.1.0.1:8080')
  t.ok(router.isStillAllowed(inbound))
  applyAmbient(store, { ...mesh, policies: [DENY_WEB] })
  t.notOk(router.isStillAllowed(inbound))
  t.ok(router.isStillAllowed(outbound))
  applyAmbient(store, { workloads: [CLIENT, echoPod(1, { authorizationPolicies: ['shop/x'] })] })
  t.notOk(router.isStillAllowed(inbound), 'a policy newly attached to the workload counts')
  applyAmbient(store, mesh)
  t.ok(router.isStillAllowed(inbound))
})
