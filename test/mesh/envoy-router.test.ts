/** Where connections go by Envoy's resources. No sockets: facts in, route out. */
import t from 'tap'

import { formatSocketAddress, parseIp, parseSocketAddress } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { EnvoyRouter } from '../../src/mesh/envoy-router.ts'
import { hostnamesOf } from '../../src/mesh/hostnames.ts'
import { serviceOfClusterName } from '../../src/mesh/istio-names.ts'
import { drawRoute } from '../../src/mesh/router.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { assignment, chain, cluster, endpoint, host, listener, staticCluster } from './envoy-fixtures.ts'

import type { Cluster, DnsLookupFamily, EndpointTemplate } from '../../src/mesh/cluster.ts'
import type { ForwardingChain, Listener } from '../../src/mesh/listener.ts'
import type { Route } from '../../src/mesh/router.ts'
import type { MeshUpdate } from '../../src/mesh/store.ts'

function mesh(
  updates: readonly MeshUpdate[],
  ownAddresses: readonly string[] = [],
  plaintextPermitted: readonly string[] = [],
) {
  const store = new MeshStore()
  store.apply(updates)
  const random = seededRandom(1)
  const router = new EnvoyRouter({ store }, { ownAddresses: ownAddresses.map(parseIp), plaintextPermitted })
  const route = (listener: Listener, destination: string, client = '192.0.2.9:4000'): Route => {
    const facts = {
      listener,
      client: parseSocketAddress(client),
      destination: parseSocketAddress(destination),
    }
    return drawRoute(router.plan(facts), random)
  }
  return { store, router, route }
}

function listeners(...all: readonly Listener[]): readonly MeshUpdate[] {
  return all.map((upsert) => ({ kind: 'listener', upsert }))
}

/** The endpoints of a route, each as its addresses. */
function addressesOf(route: Route): readonly (readonly string[])[] {
  if (route.kind === 'reject') return []
  return route.upstream.endpoints.map((each) => each.addresses.map(formatSocketAddress))
}

/** The cluster that a route leads to, or why it leads nowhere. */
function outcome(route: Route): string {
  return route.kind === 'reject' ? `${route.reason}: ${route.detail}` : route.upstream.name
}

function named(...names: readonly string[]): readonly MeshUpdate[] {
  return names.map((name) => ({
    kind: 'cluster',
    upsert: staticCluster(name, endpoint('10.1.0.1:80', '[fd01::1]:80')),
  }))
}

t.test('routes to the endpoints of the cluster that the filter chain names', (t) => {
  const listening = listener('web', ['0.0.0.0:80', '[::]:80'])
  const { route } = mesh([...listeners(listening), ...named('web')])
  const found = route(listening, '10.0.0.1:80')
  t.equal(found.kind, 'upstream')
  t.strictSame(addressesOf(found), [['10.1.0.1:80', '[fd01::1]:80']])
  t.end()
})

const outbound = listener('outbound', ['0.0.0.0:15001', '[::]:15001'], {
  capture: 'redirect',
  hasHandOff: true,
})
const exact4 = listener('exact4', ['10.96.0.1:80'], { bindToPort: false })
const exact6 = listener('exact6', ['[fd96::1]:80'], { bindToPort: false })
const wildcard4 = listener('wildcard4', ['0.0.0.0:80'], { bindToPort: false })
const wildcard6 = listener('wildcard6', ['[::]:80'], { bindToPort: false })
const both = listener('both', ['0.0.0.0:90', '[::]:90'], { bindToPort: false })
const only4 = listener('only4', ['0.0.0.0:100'], { bindToPort: false })

const handOffs: readonly (readonly [string, string])[] = [
  ['10.96.0.1:80', 'exact4'],
  ['10.96.0.2:80', 'wildcard4'],
  ['[fd96::1]:80', 'exact6'],
  ['[fd96::2]:80', 'wildcard6'],
  ['10.96.0.1:90', 'both'],
  ['[fd96::1]:90', 'both'],
  ['10.96.0.1:100', 'only4'],
  ['[fd96::1]:100', 'outbound'],
  ['10.96.0.1:81', 'outbound'],
]
const handOffMesh = [
  ...listeners(outbound, exact4, exact6, wildcard4, wildcard6, both, only4),
  ...named('outbound', 'exact4', 'exact6', 'wildcard4', 'wildcard6', 'both', 'only4'),
]
for (const [destination, expected] of handOffs) {
  t.test(
    `rule 4: hands ${destination} to ${expected}: exact address, wildcard of the family, receiver`,
    (t) => {
      t.equal(outcome(mesh(handOffMesh).route(outbound, destination)), expected)
      t.end()
    },
  )
}

t.test('hands over once, and not by the listener that a connection was handed to', (t) => {
  const hop = { ...wildcard4, capture: 'redirect', hasHandOff: true } as const
  const { route } = mesh([...handOffMesh, ...listeners(hop)])
  t.equal(outcome(route(outbound, '10.96.0.9:80')), 'wildcard4')
  t.end()
})

t.test('hands nothing over without use_original_dst, or when connections are not redirected', (t) => {
  const inbound = listener('inbound', ['0.0.0.0:15006'], { capture: 'redirect' })
  const direct = listener('direct', ['0.0.0.0:15007'], { hasHandOff: true })
  const { route } = mesh([...handOffMesh, ...listeners(inbound, direct), ...named('inbound', 'direct')])
  t.equal(outcome(route(inbound, '10.96.0.1:80')), 'inbound')
  t.equal(outcome(route(direct, '10.96.0.1:80')), 'direct')
  t.equal(outcome(route({ ...outbound, capture: 'tproxy' }, '10.96.0.1:80')), 'exact4')
  t.end()
})

t.test('routes by the listener as it is in force, not as it was when its socket was bound', (t) => {
  const old = listener('web', ['0.0.0.0:80'])
  const { store, route } = mesh([...listeners(old), ...named('web', 'new')])
  store.apply(listeners({ ...old, filterChains: [chain('new')] }))
  t.equal(outcome(route(old, '10.0.0.1:80')), 'new')
  t.end()
})

const matching = listener('matching', ['0.0.0.0:1', '[::]:1'], {
  filterChains: [
    chain('any'),
    chain('port', { port: 80 }),
    chain('port-wide', { port: 81, to: ['10.0.0.0/8'] }),
    chain('port-narrow', { port: 81, to: ['10.1.0.0/16'], from: ['192.0.2.0/24'] }),
    chain('v4', { port: 82, to: ['0.0.0.0/0'] }),
    chain('v6', { port: 82, to: ['::/0'] }),
    chain('from-wide', { port: 83, from: ['192.0.0.0/8'] }),
    chain('from-narrow', { port: 83, from: ['203.0.113.0/24', '192.0.2.0/24'] }),
    chain('from-any', { port: 83 }),
  ],
  defaultFilterChain: chain('default'),
})
const matches: readonly (readonly [string, string, string])[] = [
  ['10.0.0.1:79', '192.0.2.9:1', 'any'],
  ['10.0.0.1:80', '192.0.2.9:1', 'port'],
  ['10.2.0.1:81', '192.0.2.9:1', 'port-wide'],
  ['10.1.0.1:81', '192.0.2.9:1', 'port-narrow'],
  // The longer destination prefix is decided on before the client is looked at; Envoy does not go back.
  ['10.1.0.1:81', '198.51.100.1:1', 'default'],
  // So is the port.
  ['172.16.0.1:81', '192.0.2.9:1', 'default'],
  ['10.0.0.1:82', '192.0.2.9:1', 'v4'],
  ['[fd00::1]:82', '[fd00::9]:1', 'v6'],
  ['10.0.0.1:83', '192.0.2.9:1', 'from-narrow'],
  ['10.0.0.1:83', '192.1.0.1:1', 'from-wide'],
  ['[fd00::1]:83', '[fd00::9]:1', 'from-any'],
]
for (const [destination, client, expected] of matches) {
  t.test(`matches ${client} to ${destination} with chain ${expected}`, (t) => {
    const names = matching.filterChains.map(({ name }) => name)
    // The order in which chains are written decides nothing.
    const reversed = { ...matching, filterChains: [...matching.filterChains].reverse() }
    for (const listening of [matching, reversed]) {
      const { route } = mesh([...listeners(listening), ...named(...names, 'default')])
      t.equal(outcome(route(listening, destination, client)), expected)
    }
    t.end()
  })
}

t.test('refuses with the reason that applies and what was missing', (t) => {
  const listening = listener('web', ['0.0.0.0:80'], { filterChains: [chain('web', { port: 80 })] })
  const { store, route } = mesh(listeners(listening))
  t.equal(
    outcome(route(listening, '10.0.0.1:81')),
    'no_route: no filter chain of listener web for 10.0.0.1:81',
  )
  t.equal(outcome(route(listening, '10.0.0.1:80')), 'no_cluster: cluster web')
  store.apply([{ kind: 'cluster', upsert: staticCluster('web') }])
  t.equal(outcome(route(listening, '10.0.0.1:80')), 'no_endpoints: cluster web')
  t.end()
})

t.test('picks among weighted clusters in proportion to their weights', (t) => {
  const tcpProxy = {
    statPrefix: 'x',
    clusters: [
      { name: 'a', weight: 3 },
      { name: 'b', weight: 1 },
    ],
    accessLogs: [],
  }
  const listening = listener('web', ['0.0.0.0:80'], { filterChains: [{ ...chain('x'), tcpProxy }] })
  const { route } = mesh([...listeners(listening), ...named('a', 'b')])
  const picks = Array.from({ length: 4_000 }, () => outcome(route(listening, '10.0.0.1:80')))
  const share = picks.filter((name) => name === 'a').length / picks.length
  t.ok(Math.abs(share - 0.75) < 0.03, `share of a is ${share}`)
  t.end()
})

t.test('carries the settings of the tcp_proxy and the access logs of listener and filter', (t) => {
  const tcpProxy = {
    statPrefix: 'x',
    clusters: [{ name: 'web', weight: 1 }],
    idleTimeoutMs: 0,
    maxConnectAttempts: 2,
    maxConnectionDurationMs: 60_000,
    accessLogs: [{ target: { kind: 'stderr' } }],
  } as const
  const listening = listener('web', ['0.0.0.0:80'], {
    filterChains: [{ ...chain('web'), tcpProxy }],
    accessLogs: [{ target: { kind: 'stdout' } }],
  })
  const { route } = mesh([...listeners(listening), ...named('web')])
  t.strictSame(route(listening, '10.0.0.1:80').settings, {
    idleTimeoutMs: 0,
    maxConnectionDurationMs: 60_000,
    maxEndpoints: 2,
    accessLogs: [{ target: { kind: 'stdout' } }, { target: { kind: 'stderr' } }],
  })
  t.end()
})

const edsCluster = cluster('eds', { kind: 'eds', assignmentName: 'eds-name' })
const edsListener = listener('eds', ['0.0.0.0:80'])

t.test('joins an EDS cluster with its assignment, and has no endpoints until that arrives', (t) => {
  const { store, route } = mesh([...listeners(edsListener), { kind: 'cluster', upsert: edsCluster }])
  t.equal(outcome(route(edsListener, '10.0.0.1:80')), 'no_endpoints: cluster eds')
  const upsert = { ...assignment('eds-name', endpoint('10.1.0.1:80')), overprovisioningFactor: 200 }
  store.apply([{ kind: 'assignment', upsert }])
  const found = route(edsListener, '10.0.0.1:80')
  t.strictSame(addressesOf(found), [['10.1.0.1:80']])
  t.match(found, { upstream: { overprovisioningFactor: 200 } })
  t.end()
})

t.test('gives the same upstream object until something that it is made of changes', (t) => {
  const dns = cluster('dns', {
    kind: 'strict-dns',
    assignment: assignment('dns', endpoint('db.example:5432')),
    lookupFamily: 'all',
    refreshMs: 5_000,
  })
  const dnsListener = listener('dns', ['0.0.0.0:81'])
  const { store, route } = mesh([
    ...listeners(edsListener, dnsListener),
    { kind: 'cluster', upsert: edsCluster },
    { kind: 'cluster', upsert: dns },
    { kind: 'assignment', upsert: assignment('eds-name', endpoint('10.1.0.1:80')) },
    { kind: 'host', upsert: host('db.example', '10.9.0.1') },
  ])
  const upstreams = () =>
    [route(edsListener, '10.0.0.1:80'), route(dnsListener, '10.0.0.1:81')].map((found) =>
      found.kind === 'reject' ? undefined : found.upstream,
    )
  const first = upstreams()
  store.apply(named('unrelated'))
  store.apply([{ kind: 'assignment', upsert: assignment('other', endpoint('10.1.0.9:80')) }])
  store.apply([{ kind: 'host', upsert: host('other.example', '10.9.0.9') }])
  store.apply([{ kind: 'assignment', upsert: assignment('eds-name', endpoint('10.1.0.1:80')) }])
  const second = upstreams()
  t.equal(second[0], first[0])
  t.equal(second[1], first[1])
  store.apply([{ kind: 'host', upsert: host('db.example', '10.9.0.2') }])
  const third = upstreams()
  t.equal(third[0], first[0])
  t.not(third[1], first[1])
  store.apply([{ kind: 'assignment', upsert: assignment('eds-name', endpoint('10.1.0.2:80')) }])
  t.not(upstreams()[0], first[0])
  t.end()
})

const lookups: readonly (readonly [DnsLookupFamily, readonly string[], readonly string[]])[] = [
  ['all', ['10.9.0.1', 'fd09::1'], ['10.9.0.1:5432', '[fd09::1]:5432']],
  ['auto', ['10.9.0.1', 'fd09::1'], ['[fd09::1]:5432']],
  ['auto', ['10.9.0.1'], ['10.9.0.1:5432']],
  ['v4-preferred', ['10.9.0.1', 'fd09::1'], ['10.9.0.1:5432']],
  ['v4-preferred', ['fd09::1'], ['[fd09::1]:5432']],
  ['v4-only', ['10.9.0.1', 'fd09::1'], ['10.9.0.1:5432']],
  ['v4-only', ['fd09::1'], []],
  ['v6-only', ['10.9.0.1', 'fd09::1'], ['[fd09::1]:5432']],
]
for (const [lookupFamily, resolved, expected] of lookups) {
  t.test(`uses of ${resolved.join(' and ')} what dns_lookup_family ${lookupFamily} asks for`, (t) => {
    const dnsListener = listener('dns', ['0.0.0.0:81'])
    const routed = (kind: 'strict-dns' | 'logical-dns') => {
      const upsert = cluster('dns', {
        kind,
        assignment: assignment('dns', endpoint('db.example:5432')),
        lookupFamily,
        refreshMs: 5_000,
      })
      return mesh([
        ...listeners(dnsListener),
        { kind: 'cluster', upsert },
        { kind: 'host', upsert: host('db.example', ...resolved) },
      ]).route(dnsListener, '10.0.0.1:81')
    }
    t.strictSame(
      addressesOf(routed('strict-dns')),
      expected.map((text) => [text]),
      'strict-dns: an endpoint per address',
    )
    t.strictSame(
      addressesOf(routed('logical-dns')),
      expected.length === 0 ? [] : [expected],
      'logical-dns: one endpoint',
    )
    t.end()
  })
}

t.test('names DNS endpoints by address, or by host name where the name is the endpoint', (t) => {
  const dnsListener = listener('dns', ['0.0.0.0:81'])
  const idsOf = (kind: 'strict-dns' | 'logical-dns') => {
    const own = assignment('dns', endpoint('db.example:5432'), endpoint('twin.example:5432'))
    const found = mesh([
      ...listeners(dnsListener),
      {
        kind: 'cluster',
        upsert: cluster('dns', { kind, assignment: own, lookupFamily: 'all', refreshMs: 5_000 }),
      },
      { kind: 'host', upsert: host('db.example', '10.9.0.1', 'fd09::1') },
      { kind: 'host', upsert: host('twin.example', '10.9.0.1') },
    ]).route(dnsListener, '10.0.0.1:81')
    return found.kind === 'reject' ? [] : found.upstream.endpoints.map(({ id }) => id)
  }
  t.strictSame(idsOf('strict-dns'), ['10.9.0.1:5432', '[fd09::1]:5432'], 'an address is one endpoint')
  t.strictSame(idsOf('logical-dns'), ['db.example:5432', 'twin.example:5432'])
  t.end()
})

t.test('has no endpoints from a name that is not resolved or resolves to nothing', (t) => {
  const dnsListener = listener('dns', ['0.0.0.0:81'])
  const upsert = cluster('dns', {
    kind: 'strict-dns',
    assignment: assignment(
      'dns',
      endpoint('db.example:5432'),
      endpoint('none.example:1'),
      endpoint('10.1.0.1:1'),
    ),
    lookupFamily: 'all',
    refreshMs: 5_000,
  })
  const { route } = mesh([
    ...listeners(dnsListener),
    { kind: 'cluster', upsert },
    { kind: 'host', upsert: host('none.example') },
  ])
  t.strictSame(addressesOf(route(dnsListener, '10.0.0.1:81')), [['10.1.0.1:1']])
  t.end()
})

const passthrough = listener('passthrough', ['0.0.0.0:15006', '[::]:15006'], { capture: 'redirect' })
function originalMesh(portOverride?: number) {
  return mesh(
    [
      ...listeners(passthrough),
      {
        kind: 'cluster',
        upsert: cluster('passthrough', {
          kind: 'original-destination',
          ...(portOverride !== undefined && { portOverride }),
        }),
      },
      {
        kind: 'cluster',
        upsert: staticCluster('pods', endpoint('10.1.0.1:80', '[fd01::1]:80'), endpoint('10.1.0.2:80')),
      },
    ],
    ['10.244.1.2', 'fd00:244::2'],
  )
}

t.test('rule 6: a destination outside the mesh has only itself', (t) => {
  const found = originalMesh().route(passthrough, '198.51.100.1:443')
  t.equal(found.kind, 'original-destination')
  t.strictSame(addressesOf(found), [['198.51.100.1:443']])
  t.end()
})

t.test('rule 6: an instance asked for by its own address has its twin address behind it', (t) => {
  const { route } = originalMesh()
  t.strictSame(addressesOf(route(passthrough, '10.1.0.1:80')), [['10.1.0.1:80', '[fd01::1]:80']])
  t.strictSame(addressesOf(route(passthrough, '[fd01::1]:80')), [['[fd01::1]:80', '10.1.0.1:80']])
  t.strictSame(addressesOf(route(passthrough, '10.1.0.2:80')), [['10.1.0.2:80']], 'single-stack')
  t.strictSame(addressesOf(route(passthrough, '10.1.0.1:81')), [['10.1.0.1:81']], 'another port')
  t.end()
})

t.test("rule 10: a destination that is the pod's own address has the pod's twin address behind it", (t) => {
  const { route } = originalMesh()
  t.strictSame(addressesOf(route(passthrough, '10.244.1.2:9000')), [
    ['10.244.1.2:9000', '[fd00:244::2]:9000'],
  ])
  t.strictSame(addressesOf(route(passthrough, '[fd00:244::2]:9000')), [
    ['[fd00:244::2]:9000', '10.244.1.2:9000'],
  ])
  t.end()
})

t.test('replaces the port of the destination and of its twin by upstream_port_override', (t) => {
  const found = originalMesh(8080).route(passthrough, '10.1.0.1:80')
  t.strictSame(addressesOf(found), [['10.1.0.1:8080', '[fd01::1]:8080']])
  t.end()
})

t.test('learns of a twin that arrives later, and keeps the upstream of a destination until then', (t) => {
  const { store, route } = originalMesh()
  const upstream = () => {
    const found = route(passthrough, '10.1.0.2:80')
    return found.kind === 'reject' ? undefined : found.upstream
  }
  const first = upstream()
  store.apply(listeners(listener('unrelated', ['0.0.0.0:1'])))
  t.equal(upstream(), first)
  store.apply([{ kind: 'cluster', upsert: staticCluster('pods', endpoint('10.1.0.2:80', '[fd01::2]:80')) }])
  t.strictSame(addressesOf(route(passthrough, '10.1.0.2:80')), [['10.1.0.2:80', '[fd01::2]:80']])
  t.end()
})

t.test('labels a connection with the service that an Istio cluster name tells', (t) => {
  const name = 'outbound|9000||tcp-echo.dual-stack.svc.cluster.local'
  const listening = listener('web', ['0.0.0.0:80'], { filterChains: [chain(name)] })
  const { route } = mesh([...listeners(listening), ...named(name)])
  t.strictSame(route(listening, '10.0.0.1:80').labels, {
    service: {
      hostname: 'tcp-echo.dual-stack.svc.cluster.local',
      name: 'tcp-echo',
      namespace: 'dual-stack',
    },
  })
  t.end()
})

const clusterNames: readonly (readonly [string, string | undefined, string | undefined])[] = [
  ['outbound|443||kubernetes.default.svc.cluster.local', 'kubernetes', 'default'],
  ['outbound|80|v1|www.example.org', 'www.example.org', ''],
  ['inbound|9000||', undefined, undefined],
  ['PassthroughCluster', undefined, undefined],
  ['a|b|c|d', undefined, undefined],
  ['outbound|http||x', undefined, undefined],
]
t.test('reads the service of a cluster name only where the name has that form', (t) => {
  for (const [clusterName, name, namespace] of clusterNames) {
    const service = serviceOfClusterName(clusterName)
    t.equal(service?.name, name, clusterName)
    t.equal(service?.namespace, namespace, clusterName)
  }
  t.end()
})

t.test('forgets what it made for original destinations of every cluster when a twin arrives', (t) => {
  const second = listener('second', ['0.0.0.0:15007'], { capture: 'redirect' })
  const { store, route } = originalMesh()
  store.apply([
    ...listeners(second),
    { kind: 'cluster', upsert: cluster('second', { kind: 'original-destination' }) },
  ])
  route(passthrough, '10.1.0.2:80')
  route(second, '10.1.0.2:80')
  store.apply([{ kind: 'cluster', upsert: staticCluster('pods', endpoint('10.1.0.2:80', '[fd01::2]:80')) }])
  for (const listening of [passthrough, second])
    t.strictSame(addressesOf(route(listening, '10.1.0.2:80')), [['10.1.0.2:80', '[fd01::2]:80']])
  t.end()
})

t.test('lists the host names of DNS clusters once, and none of other clusters', (t) => {
  const store = new MeshStore()
  const own = assignment('dns', endpoint('db.example:1'), endpoint('db.example:2'), endpoint('10.0.0.1:1'))
  store.apply([
    ...named('static'),
    {
      kind: 'cluster',
      upsert: cluster('a', { kind: 'strict-dns', assignment: own, lookupFamily: 'all', refreshMs: 1 }),
    },
    {
      kind: 'cluster',
      upsert: cluster('b', {
        kind: 'logical-dns',
        assignment: assignment('b', endpoint('web.example:1')),
        lookupFamily: 'all',
        refreshMs: 1,
      }),
    },
  ])
  t.strictSame([...hostnamesOf(store.snapshot).keys()], ['db.example', 'web.example'])
  t.end()
})

t.test('lists the host names of workloads that have no address of their own', (t) => {
  const store = new MeshStore()
  const workload = (uid: string, hostname: string, ...addresses: readonly string[]): MeshUpdate => ({
    kind: 'workload',
    upsert: {
      uid,
      name: uid,
      namespace: 'default',
      addresses: addresses.map(parseIp),
      hostname,
      network: '',
      protocol: 'tcp',
      trustDomain: 'cluster.local',
      serviceAccount: 'default',
      node: '',
      clusterId: '',
      canonicalName: '',
      canonicalRevision: '',
      workloadName: uid,
      workloadType: 'pod',
      status: 'healthy',
      isHostNetwork: false,
      isNativeTunnel: false,
      locality: { region: '', zone: '', subzone: '' },
      capacity: 1,
      services: new Map(),
      authorizationPolicies: [],
    },
  })
  store.apply([
    workload('a', 'db.example'),
    workload('b', 'web.example', '10.0.0.1'),
    workload('c', '', 'fd00::1'),
    workload('d', ''),
  ])
  t.strictSame([...hostnamesOf(store.snapshot)], [['db.example', 5_000]])
  t.end()
})

t.test('resolves a name as often as the most eager of the clusters that use it asks', (t) => {
  const store = new MeshStore()
  const dns = (name: string, refreshMs: number): MeshUpdate => ({
    kind: 'cluster',
    upsert: cluster(name, {
      kind: 'strict-dns',
      assignment: assignment(name, endpoint('db.example:1')),
      lookupFamily: 'all',
      refreshMs,
    }),
  })
  store.apply([dns('a', 30_000), dns('b', 1_000), dns('c', 60_000)])
  t.strictSame([...hostnamesOf(store.snapshot)], [['db.example', 1_000]])
  t.end()
})

const MTLS_CLUSTER = 'outbound|80||web.shop.svc.cluster.local'
const MTLS_TRANSPORT: Cluster['transport'] = {
  matches: [
    { criteria: { tlsMode: 'istio' }, isEncrypted: true },
    { criteria: {}, isEncrypted: false },
  ],
  isEncrypted: false,
}

/** An endpoint of both families whose labels ask for Istio's mTLS. */
function meshEndpoint(...hosts: readonly string[]): EndpointTemplate {
  return { ...endpoint(...hosts), transportLabels: { tlsMode: 'istio' } }
}

function mtlsMesh(
  endpoints: readonly EndpointTemplate[],
  plaintextPermitted: readonly string[] = [],
  transport = MTLS_TRANSPORT,
) {
  const web = { ...staticCluster(MTLS_CLUSTER, ...endpoints), ...(transport && { transport }) }
  const receiving = listener('in', ['10.9.9.9:80'], { filterChains: [chain(MTLS_CLUSTER)] })
  const lab = mesh([{ kind: 'cluster', upsert: web }, ...listeners(receiving)], [], plaintextPermitted)
  return lab.route(receiving, '10.9.9.9:80')
}

t.test('rule 15: refuses an upstream whose endpoints all ask for mTLS', (t) => {
  t.match(mtlsMesh([meshEndpoint('10.0.0.1:80', '[fd00::1]:80')]), {
    kind: 'reject',
    reason: 'mtls_required',
    detail: `cluster ${MTLS_CLUSTER} asks for mTLS, which is not spoken here; name it in TWINSTACK_ALLOW_PLAINTEXT to permit plain text`,
  })
  t.match(mtlsMesh([{ ...endpoint('10.0.0.1:80'), protocol: 'hbone' }]), { reason: 'mtls_required' })
  t.match(mtlsMesh([endpoint('10.0.0.1:80')], [], { matches: [], isEncrypted: true }), {
    reason: 'mtls_required',
  })
  t.end()
})

t.test('rule 15: leaves out endpoints that ask for mTLS while others remain', (t) => {
  const route = mtlsMesh([meshEndpoint('10.0.0.1:80'), endpoint('10.0.0.2:80')])
  t.strictSame(addressesOf(route), [['10.0.0.2:80']])
  t.end()
})

t.test('labels that the cluster does not choose a transport by change nothing', (t) => {
  const plain = { matches: [], isEncrypted: false }
  t.strictSame(addressesOf(mtlsMesh([meshEndpoint('10.0.0.1:80')], [], plain)), [['10.0.0.1:80']])
  t.end()
})

for (const permitted of ['*', MTLS_CLUSTER, 'shop/web.shop.svc.cluster.local', 'shop']) {
  t.test(`rule 15: reaches endpoints that ask for mTLS in plain text where ${permitted} permits it`, (t) => {
    const route = mtlsMesh([meshEndpoint('10.0.0.1:80', '[fd00::1]:80')], [permitted])
    t.strictSame(addressesOf(route), [['10.0.0.1:80', '[fd00::1]:80']])
    t.end()
  })
}

t.test('rule 15: refuses an original destination whose cluster is encrypted', (t) => {
  const encrypted = { matches: [], isEncrypted: true }
  const upsert = { ...cluster('out', { kind: 'original-destination' }), transport: encrypted }
  const receiving = listener('out', ['127.0.0.1:15001'], { capture: 'redirect' })
  const updates: readonly MeshUpdate[] = [{ kind: 'cluster', upsert }, ...listeners(receiving)]
  t.match(mesh(updates).route(receiving, '10.0.0.1:80'), { kind: 'reject', reason: 'mtls_required' })
  t.match(mesh(updates, [], ['out']).route(receiving, '10.0.0.1:80'), { kind: 'original-destination' })
  t.end()
})

t.test('refuses the connections of a chain that refuses, for its reason', (t) => {
  const { name, match } = chain('a')
  const refusal = { reason: 'policy_denied', detail: 'a policy' } as const
  const receiving = listener('in', ['10.9.9.9:80'], { filterChains: [{ name, match, refusal }] })
  t.match(mesh(listeners(receiving)).route(receiving, '10.9.9.9:80'), { kind: 'reject', ...refusal })
  t.end()
})

/** Chains as their names, in the order of the listener; what each asks of the client's first bytes. */
const inspections: readonly (readonly [string, readonly ForwardingChain[], string | undefined])[] = [
  ['raw_buffer before a chain for any', [inspected('any'), inspected('raw', 'raw_buffer')], 'raw'],
  ['a chain for any beside one for TLS', [inspected('tls', 'tls'), inspected('any')], 'any'],
  ['no chain for TLS', [inspected('tls', 'tls')], undefined],
  ['no chain for a server name', [forServerName('sni'), inspected('any')], 'any'],
  [
    'no chain for an application protocol, and never one that raw_buffer was better than',
    [inspected('any'), { ...inspected('http', 'raw_buffer'), ...applicationMatch('raw_buffer') }],
    undefined,
  ],
]

for (const [what, filterChains, expected] of inspections) {
  t.test(`a connection that is not looked into takes ${what}`, (t) => {
    const receiving = listener('in', ['10.9.9.9:80'], { filterChains })
    const clusters = ['any', 'raw', 'tls', 'sni', 'http'].map((name): MeshUpdate => ({
      kind: 'cluster',
      upsert: staticCluster(name, endpoint('10.0.0.1:80')),
    }))
    const route = mesh([...clusters, ...listeners(receiving)]).route(receiving, '10.9.9.9:80')
    t.equal(route.kind === 'reject' ? undefined : route.upstream.name, expected)
    t.end()
  })
}

t.test('rule 15: a destination that only clients with TLS have a chain for asks for mTLS', (t) => {
  const strict = inspected('strict', 'tls', 80)
  const receiving = listener('in', ['10.9.9.9:80'], {
    filterChains: [strict, inspected('any', 'raw_buffer', 81)],
  })
  const { route } = mesh(listeners(receiving))
  t.match(route(receiving, '10.9.9.9:80'), { kind: 'reject', reason: 'mtls_required' })
  t.match(route(receiving, '10.9.9.9:82'), { kind: 'reject', reason: 'no_route' })
  t.end()
})

function inspected(name: string, transportProtocol?: string, port?: number): ForwardingChain {
  const plain = chain(name, port === undefined ? {} : { port })
  return {
    ...plain,
    match: { ...plain.match, ...(transportProtocol !== undefined && { transportProtocol }) },
  }
}

function forServerName(name: string): ForwardingChain {
  const plain = chain(name)
  return { ...plain, match: { ...plain.match, serverNames: ['a.example'] } }
}

function applicationMatch(transportProtocol: string): Pick<ForwardingChain, 'match'> {
  return { match: { ...chain('http').match, transportProtocol, applicationProtocols: ['h2c'] } }
}
