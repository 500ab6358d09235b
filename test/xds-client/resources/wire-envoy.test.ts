/** What is special to Envoy's resources that come over the wire; recorded ones are in wire-envoy-recorded.test.ts. */
import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import { formatPath } from '../../../src/core/result.ts'
import { hasUnreadRoutes } from '../../../src/mesh/filter-chain-match.ts'
import {
  decodeAssignmentResource,
  decodeClusterResource,
  decodeListenerResource,
} from '../../../src/xds-client/resources/wire-envoy.ts'
import { SCHEMA, addressOf, any, chainText, envoyBytes, struct, valueOf } from '../../fixtures/envoy-wire.ts'
import { wireBytes } from '../../fixtures/wire-bytes.ts'

import type { Result } from '../../../src/core/result.ts'
import type { Cluster, LoadAssignment } from '../../../src/mesh/cluster.ts'
import type { Listener } from '../../../src/mesh/listener.ts'
import type { EnvoyResource } from '../../../src/xds-client/resources/wire-envoy.ts'

type Message = Readonly<Record<string, unknown>>

const NETWORK = 'envoy.extensions.filters.network'

function problemsOf(result: Result<unknown>): readonly string[] {
  return result.ok ? [] : result.problems.map(({ path, message }) => `${formatPath(path)}: ${message}`)
}

function lbEndpoint(endpoint: Message, rest: Message = {}): Message {
  return { endpoint, health_status: 'HEALTHY', load_balancing_weight: { value: 1 }, ...rest }
}

function assignmentOf(...endpoints: readonly Message[]): Result<EnvoyResource<LoadAssignment>> {
  const message = { cluster_name: 'web', endpoints: [{ lb_endpoints: endpoints }] }
  return decodeAssignmentResource(
    envoyBytes('envoy.config.endpoint.v3.ClusterLoadAssignment', message),
    SCHEMA,
  )
}

t.test('an endpoint has its twin address, and the labels that its transport is chosen by', (t) => {
  const twin = lbEndpoint(
    {
      address: addressOf('10.0.0.1', 80),
      additional_addresses: [{ address: addressOf('fd00::1', 80) }],
    },
    { metadata: { filter_metadata: { 'envoy.transport_socket_match': struct({ tlsMode: 'istio' }) } } },
  )
  const [found] = valueOf(assignmentOf(twin)).value.endpoints
  t.strictSame(found?.hosts, [
    { kind: 'ip', address: parseSocketAddress('10.0.0.1:80') },
    { kind: 'ip', address: parseSocketAddress('[fd00::1]:80') },
  ])
  // What the labels come to is the cluster's to say.
  t.match(found, { protocol: 'tcp', transportLabels: { tlsMode: 'istio' } })
  t.end()
})

t.test('of an endpoint that comes twice the first one holds, as in Envoy', (t) => {
  const twice = [1, 9].map((weight) =>
    lbEndpoint({ address: addressOf('10.0.0.1', 80) }, { load_balancing_weight: { value: weight } }),
  )
  const { value, ignoredFields } = valueOf(assignmentOf(...twice))
  t.strictSame(
    value.endpoints.map(({ weight }) => weight),
    [1],
  )
  t.strictSame(ignoredFields, ['LbEndpoint.endpoint'])
  t.end()
})

t.test('an endpoint behind an internal listener that leads nowhere known is left out', (t) => {
  const address = { envoy_internal_address: { server_listener_name: 'x', endpoint_id: 'y' } }
  t.strictSame(valueOf(assignmentOf(lbEndpoint({ address }))), {
    value: { name: 'web', endpoints: [] },
    ignoredFields: ['EnvoyInternalAddress.endpoint_id'],
  })
  t.end()
})

function clusterOf(message: Message): Result<EnvoyResource<Cluster>> {
  const bytes = envoyBytes('envoy.config.cluster.v3.Cluster', { name: 'web', type: 'EDS', ...message })
  return decodeClusterResource(bytes, SCHEMA)
}

const EDS = { eds_cluster_config: { eds_config: Uint8Array.of(26, 0), service_name: 'other' } }
const TLS = { name: 'tls', typed_config: any('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext') }
const RAW = { name: 'raw', typed_config: any('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') }

const transports: readonly (readonly [string, Message, Cluster['transport']])[] = [
  ['none', {}, undefined],
  ['raw_buffer', { transport_socket: RAW }, undefined],
  [
    'raw_buffer by its name alone',
    { transport_socket: { name: 'envoy.transport_sockets.raw_buffer' } },
    undefined,
  ],
  ['TLS', { transport_socket: TLS }, { matches: [], isEncrypted: true }],
  ['one of an unknown type', { transport_socket: { name: 'x' } }, { matches: [], isEncrypted: true }],
  [
    'only plain ones to choose from',
    { transport_socket_matches: [{ name: 'a', match: struct({ a: 'b' }), transport_socket: RAW }] },
    undefined,
  ],
  [
    'plain text where labels ask for it, else TLS',
    {
      transport_socket: TLS,
      transport_socket_matches: [{ name: 'a', match: struct({ a: 'b' }), transport_socket: RAW }],
    },
    { matches: [{ criteria: { a: 'b' }, isEncrypted: false }], isEncrypted: true },
  ],
]

for (const [what, message, expected] of transports) {
  t.test(`rule 15: a cluster knows its transport: ${what}`, (t) => {
    t.strictSame(valueOf(clusterOf({ ...EDS, ...message })).value.transport, expected)
    t.end()
  })
}

t.test('an EDS cluster takes its assignment by name, from wherever it came itself', (t) => {
  t.strictSame(valueOf(clusterOf(EDS)).value.discovery, { kind: 'eds', assignmentName: 'other' })
  t.end()
})

t.test('a load balancing policy that is not known gives the default, and is listed', (t) => {
  const { value, ignoredFields } = valueOf(clusterOf({ ...EDS, lb_policy: 'RING_HASH' }))
  t.equal(value.settings.loadBalancing, 'round-robin')
  t.strictSame(ignoredFields, ['Cluster.lb_policy(RING_HASH)'])
  t.end()
})

t.test('fields, enum values and wire types that are not known are listed and change nothing', (t) => {
  // 2 is type, an enum: of a value that is not known, then as text. 9999 is no field of a cluster.
  const bytes = wireBytes({ 1: 'web', 2: [77, 'EDS'], 9999: 'new' })
  const { value, ignoredFields } = valueOf(decodeClusterResource(bytes, SCHEMA))
  t.equal(value.discovery.kind, 'static')
  t.strictSame(ignoredFields, ['Cluster.type(77)', 'Cluster.type', 'Cluster.#9999'])
  t.end()
})

function filter(typeName: string, config: Message = {}): Message {
  return { name: 'x', typed_config: any(typeName, config) }
}

const PROXY = filter(`${NETWORK}.tcp_proxy.v3.TcpProxy`, { stat_prefix: 'web', cluster: 'web' })

function listenerOf(message: Message): Result<EnvoyResource<Listener>> {
  const defaults = { name: 'web', address: addressOf('10.0.0.1', 80), filter_chains: [{ filters: [PROXY] }] }
  const bytes = envoyBytes('envoy.config.listener.v3.Listener', { ...defaults, ...message })
  return decodeListenerResource(bytes, SCHEMA)
}

function http(routeConfig: Message | undefined, httpFilters: readonly Message[] = []): Message {
  return filter(`${NETWORK}.http_connection_manager.v3.HttpConnectionManager`, {
    stat_prefix: 'http',
    ...(routeConfig && { route_config: routeConfig }),
    http_filters: httpFilters,
  })
}

function routesTo(...clusters: readonly string[]): Message {
  const routes = clusters.map((cluster) => ({ route: { cluster } }))
  return { virtual_hosts: [{ name: 'h', domains: ['*'], routes }] }
}

const direct = {
  virtual_hosts: [{ routes: [{ route: { cluster: 'a' } }, { direct_response: Uint8Array.of(8, 1) }] }],
}
const rules = (message: Message): Message => ({ rules: message })
const networkRbac = (config: Message): Message => filter(`${NETWORK}.rbac.v3.RBAC`, config)
const httpRbac = (config: Message): Message => filter('envoy.extensions.filters.http.rbac.v3.RBAC', config)
const somePolicy = { policies: { p: Uint8Array.of(8, 1) } }

/** Filters of an outbound chain, and what becomes of its connections. */
const chains: readonly (readonly [string, readonly Message[], string])[] = [
  ['no filters', [], 'no_route'],
  ['a filter that is not known and none that carries', [filter('redis')], 'no_route'],
  ['filters that are not known before tcp_proxy', [filter('stats.PluginConfig'), PROXY], 'web'],
  [
    'a discovered filter before tcp_proxy',
    [{ name: 'wasm', config_discovery: Uint8Array.of(8, 1) }, PROXY],
    'web',
  ],
  [
    'a tunnel',
    [
      filter(`${NETWORK}.tcp_proxy.v3.TcpProxy`, {
        stat_prefix: 'a',
        cluster: 'a',
        tunneling_config: { hostname: 'h' },
      }),
    ],
    'mtls_required',
  ],
  ['HTTP with routes to one cluster', [http(routesTo('a', 'a'))], 'a'],
  ['HTTP with routes to two clusters', [http(routesTo('a', 'b'))], 'PassthroughCluster'],
  ['HTTP with a route that is answered by itself', [http(direct)], 'PassthroughCluster'],
  ['HTTP without routes', [http(undefined)], 'PassthroughCluster'],
  ['RBAC that allows some', [networkRbac(rules({ action: 'ALLOW', ...somePolicy })), PROXY], 'policy_denied'],
  ['RBAC that allows nobody', [networkRbac(rules({ action: 'ALLOW' })), PROXY], 'policy_denied'],
  ['RBAC that denies some', [networkRbac(rules({ action: 'DENY', ...somePolicy })), PROXY], 'policy_denied'],
  ['RBAC that denies nobody', [networkRbac(rules({ action: 'DENY' })), PROXY], 'web'],
  ['RBAC that logs', [networkRbac(rules({ action: 'LOG', ...somePolicy })), PROXY], 'web'],
  ['RBAC in the shadow', [networkRbac({ shadow_rules: { action: 'DENY', ...somePolicy } }), PROXY], 'web'],
  ['RBAC with a matcher', [networkRbac({ matcher: Uint8Array.of(8, 1) }), PROXY], 'policy_denied'],
  ['external authorization', [filter(`${NETWORK}.ext_authz.v3.ExtAuthz`), PROXY], 'policy_denied'],
  [
    'HTTP with RBAC',
    [http(routesTo('a'), [httpRbac(rules({ action: 'DENY', ...somePolicy }))])],
    'policy_denied',
  ],
  [
    'HTTP with RBAC that is disabled',
    [http(routesTo('a'), [{ ...httpRbac(rules({ action: 'DENY', ...somePolicy })), disabled: true }])],
    'a',
  ],
  [
    'HTTP with JWT authentication',
    [http(routesTo('a'), [filter('envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication')])],
    'policy_denied',
  ],
]

for (const [what, filters, expected] of chains) {
  t.test(`a chain of ${what} leads to ${expected}`, (t) => {
    const { value } = valueOf(listenerOf({ filter_chains: [{ filters }] }))
    t.strictSame(value.filterChains.map(chainText), [`* * * -> ${expected}`])
    t.end()
  })
}

/** What carries HTTP, by where it comes from, and whether its destination says which service is meant. */
const unread: readonly (readonly [string, string, Message, boolean])[] = [
  ['outbound HTTP with routes to two clusters', 'OUTBOUND', http(routesTo('a', 'b')), true],
  ['outbound HTTP without routes', 'OUTBOUND', http(undefined), true],
  ['HTTP of no direction without routes', 'UNSPECIFIED', http(undefined), true],
  ['HTTP with routes to one cluster', 'OUTBOUND', http(routesTo('a')), false],
  ['inbound HTTP without routes', 'INBOUND', http(undefined), false],
  ['plain TCP', 'OUTBOUND', PROXY, false],
]

for (const [what, direction, carrying, expected] of unread) {
  t.test(`rule 15: ${what} ${expected ? 'goes' : 'does not go'} to the service of its destination`, (t) => {
    const { value } = valueOf(
      listenerOf({ traffic_direction: direction, filter_chains: [{ filters: [carrying] }] }),
    )
    t.equal(value.filterChains.some(hasUnreadRoutes), expected)
    t.end()
  })
}

t.test('inbound HTTP that is ambiguous goes by the cluster for inbound passing', (t) => {
  const { value } = valueOf(
    listenerOf({ traffic_direction: 'INBOUND', filter_chains: [{ filters: [http(routesTo('a', 'b'))] }] }),
  )
  t.strictSame(value.filterChains.map(chainText), ['* * * -> InboundPassthroughCluster'])
  t.end()
})

t.test('rule 15: a chain that terminates TLS refuses, whatever it matches', (t) => {
  const { value } = valueOf(listenerOf({ filter_chains: [{ filters: [PROXY], transport_socket: TLS }] }))
  t.strictSame(value.filterChains.map(chainText), ['* * * -> mtls_required'])
  t.end()
})

t.test('reads bind_to_port where old control planes write it', (t) => {
  const old = { deprecated_v1: { bind_to_port: { value: false } } }
  t.equal(valueOf(listenerOf(old)).value.bindToPort, false)
  t.equal(valueOf(listenerOf({ ...old, bind_to_port: { value: true } })).value.bindToPort, true)
  t.equal(valueOf(listenerOf({})).value.bindToPort, true)
  t.end()
})

t.test('of an address that comes twice the first one holds', (t) => {
  const { value, ignoredFields } = valueOf(
    listenerOf({
      address: addressOf('10.96.0.1', 80),
      additional_addresses: ['10.96.0.1', 'fd00::1'].map((ip) => ({ address: addressOf(ip, 80) })),
    }),
  )
  t.strictSame(
    value.addresses.map(({ address }) => address),
    ['10.96.0.1:80', '[fd00::1]:80'].map(parseSocketAddress),
  )
  t.ok(ignoredFields.includes('AdditionalAddress.address'), 'and it is listed')
  t.end()
})

t.test('a listener without chains is one that refuses all', (t) => {
  t.strictSame(valueOf(listenerOf({ filter_chains: [] })).value.filterChains, [])
  t.end()
})

t.test('takes listener filters that are not known, and the old way to name an inspector', (t) => {
  const { value, ignoredFields } = valueOf(
    listenerOf({
      listener_filters: [
        { name: 'envoy.filters.listener.tls_inspector' },
        filter('new.ListenerFilter'),
        filter('envoy.extensions.filters.listener.original_dst.v3.OriginalDst'),
      ],
    }),
  )
  t.equal(value.capture, 'redirect')
  t.strictSame(ignoredFields, ['ListenerFilter.new.ListenerFilter'])
  t.end()
})

t.test('an access log that is filtered, or goes to nowhere known, is left out', (t) => {
  const file = any('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
    path: '/dev/stdout',
    log_format: { text_format_source: { inline_string: '%NEW_OPERATOR%\n' } },
  })
  const { value, ignoredFields } = valueOf(
    listenerOf({
      access_log: [
        { name: 'a', typed_config: file },
        { name: 'b', typed_config: file, filter: Uint8Array.of(8, 1) },
        { name: 'c', typed_config: any('envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig') },
      ],
    }),
  )
  t.strictSame(value.accessLogs, [
    { target: { kind: 'stdout' }, format: { kind: 'text', template: '%NEW_OPERATOR%\n' } },
  ])
  t.ok(ignoredFields.includes('AccessLog.filter'))
  t.end()
})

const badInputs: readonly (readonly [string, Result<unknown>, readonly string[]])[] = [
  ['a cluster without a name', clusterOf({ ...EDS, name: '' }), [': Cluster needs name']],
  [
    'an endpoint without an address',
    assignmentOf(lbEndpoint({})),
    ['endpoints[0].lb_endpoints[0].endpoint: Endpoint needs address'],
  ],
  [
    'an endpoint with a host name',
    assignmentOf(lbEndpoint({ address: addressOf('db.example', 80) })),
    [
      "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: 'db.example' is a host name and the endpoints of an EDS cluster have IP addresses; write the address",
    ],
  ],
  [
    'PROXY protocol before a connection',
    listenerOf({ filter_chains: [{ filters: [PROXY], use_proxy_proto: { value: true } }] }),
    [
      'filter_chains[0].use_proxy_proto: FilterChain.use_proxy_proto is not supported: PROXY protocol is not spoken; remove it',
    ],
  ],
  [
    'a matcher in the place of filter chain matches',
    listenerOf({ filter_chain_matcher: Uint8Array.of(8, 1) }),
    [
      'filter_chain_matcher: Listener.filter_chain_matcher is not supported: give each filter chain a filter_chain_match',
    ],
  ],
  [
    'chains that the same connections match',
    listenerOf({ filter_chains: [{ filters: [PROXY] }, { filters: [PROXY] }] }),
    [
      'filter_chains[1]: matches the same connections as filter_chains[0] (any port, any destination, any client); give each chain its own filter_chain_match, or make one the default_filter_chain',
    ],
  ],
  [
    'bytes that are no message',
    decodeListenerResource(Uint8Array.of(10, 200), SCHEMA),
    [': the bytes are no message of the type: index out of range: 2 + 1 > 2'],
  ],
]

for (const [what, result, expected] of badInputs) {
  t.test(`refuses ${what}, with place`, (t) => {
    t.strictSame(problemsOf(result), expected)
    t.end()
  })
}
