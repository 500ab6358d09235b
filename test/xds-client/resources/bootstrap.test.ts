/** Whole bootstrap documents: what they become, and every mistake with its place and remedy. */
import t from 'tap'

import { formatSocketAddress } from '../../../src/core/address.ts'
import { decodeAssignments, decodeBootstrap } from '../../../src/xds-client/resources/bootstrap.ts'
import {
  address,
  bootstrap,
  cluster,
  filterChain,
  lbEndpoint,
  listener,
  loadAssignment,
  problemsOf,
  typed,
} from './envoy-documents.ts'

import type { Message } from './envoy-documents.ts'

t.test('decodes node, admin, listeners and clusters', (t) => {
  const { report, bootstrap: decoded } = decodeBootstrap(
    bootstrap(
      {},
      {
        node: { id: 'node-1', cluster: 'edge', metadata: { NAME: 'x' }, locality: { region: 'r' } },
        admin: { address: address('127.0.0.1', 15_000) },
      },
    ),
  )
  t.strictSame(problemsOf(report), [])
  t.strictSame(decoded?.node, { id: 'node-1', cluster: 'edge', metadata: { NAME: 'x' } })
  t.equal(decoded?.admin && formatSocketAddress(decoded.admin), '127.0.0.1:15000')
  t.match(decoded, { listeners: [{ name: 'web' }], clusters: [{ name: 'web' }], assignmentFiles: [] })
  t.strictSame(report.ignoredFields, ['Node.locality'])
  t.end()
})

t.test('decodes lowerCamelCase names as well as snake_case', (t) => {
  const { report, bootstrap: decoded } = decodeBootstrap({
    staticResources: {
      clusters: [{ name: 'web', type: 'ORIGINAL_DST', lbPolicy: 'CLUSTER_PROVIDED', connectTimeout: '0.5s' }],
    },
  })
  t.strictSame(problemsOf(report), [])
  t.match(decoded?.clusters[0], { settings: { connectTimeoutMs: 500 } })
  t.end()
})

t.test('gives clusters without a bind config the source addresses of the cluster manager', (t) => {
  const bind = (text: string) => ({ source_address: { address: text, port_value: 0 } })
  const { bootstrap: decoded } = decodeBootstrap(
    bootstrap(
      { clusters: [cluster(), cluster({ name: 'own', upstream_bind_config: bind('::6') })] },
      { cluster_manager: { upstream_bind_config: bind('127.0.0.6') } },
    ),
  )
  const sources = decoded?.clusters.map(({ settings }) => settings.sourceAddresses.map(({ ip }) => ip.text))
  t.strictSame(sources, [['127.0.0.6'], ['::6']])
  t.end()
})

const edsFile = (path: string, name: string, serviceName?: string) => ({
  name,
  type: 'EDS',
  eds_cluster_config: {
    eds_config: { path_config_source: { path } },
    ...(serviceName !== undefined && { service_name: serviceName }),
  },
})

t.test('lists each file that EDS clusters read, with the assignments expected in it', (t) => {
  const { report, bootstrap: decoded } = decodeBootstrap(
    bootstrap({
      listeners: [],
      clusters: [
        edsFile('a.yaml', 'one'),
        edsFile('a.yaml', 'two', 'service-two'),
        { name: 'old', type: 'EDS', eds_cluster_config: { eds_config: { path: 'b.yaml' } } },
      ],
    }),
  )
  t.strictSame(problemsOf(report), [])
  t.strictSame(decoded?.assignmentFiles, [
    { path: 'a.yaml', assignmentNames: ['one', 'service-two'] },
    { path: 'b.yaml', assignmentNames: ['old'] },
  ])
  t.end()
})

const resource = (assignment: Message) => ({
  '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  ...assignment,
})

t.test('decodes a file of load assignments', (t) => {
  const { report, assignments } = decodeAssignments(
    {
      version_info: '1',
      resources: [resource(loadAssignment([lbEndpoint('10.0.0.1', 80)])), resource({ cluster_name: 'none' })],
    },
    ['web', 'none'],
  )
  t.strictSame(problemsOf(report), [])
  t.match(assignments, [
    { name: 'web', endpoints: [{ id: '10.0.0.1:80' }] },
    { name: 'none', endpoints: [] },
  ])
  t.end()
})

const badAssignments: readonly (readonly [string, unknown, string])[] = [
  ['no resources', {}, 'error : DiscoveryResponse needs resources'],
  ['no map', [], 'error : must be a DiscoveryResponse message (a map), not a list'],
  [
    'another type',
    { resources: [{ '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', name: 'web' }] },
    'error resources[0]: must be a envoy.config.endpoint.v3.ClusterLoadAssignment, not a envoy.config.cluster.v3.Cluster',
  ],
  [
    'one name twice',
    { resources: [resource({ cluster_name: 'a' }), resource({ cluster_name: 'a' })] },
    "error resources[1].cluster_name: there is a ClusterLoadAssignment 'a' already; give each its own name",
  ],
  [
    'a host name',
    { resources: [resource(loadAssignment([lbEndpoint('db.example', 80)]))] },
    "error resources[0].endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: 'db.example' is a host name and the endpoints of an EDS cluster have IP addresses; write the address",
  ],
]
for (const [what, document, expected] of badAssignments) {
  t.test(`refuses a file of load assignments with ${what}`, (t) => {
    const { report, assignments } = decodeAssignments(document)
    t.strictSame(problemsOf(report), [expected])
    t.equal(assignments, undefined)
    t.end()
  })
}

t.test('refuses a file of load assignments that lacks one that a cluster reads from it', (t) => {
  const { report } = decodeAssignments({ resources: [] }, ['web'])
  t.strictSame(problemsOf(report), [
    "error resources: there is no ClusterLoadAssignment of cluster_name 'web', which a cluster reads from this file; add one, without endpoints if it has none",
  ])
  t.end()
})

/** A bootstrap that differs from a good one in a listener, a cluster or the rest, and all problems it then has. */
type BadInput = readonly [what: string, document: unknown, problems: readonly string[]]

const L = 'static_resources.listeners[0]'
const C = 'static_resources.clusters[0]'
const FILTER = `${L}.filter_chains[0].filters[0]`
const SOCKET = `${L}.address.socket_address`
const ENDPOINT = `${C}.load_assignment.endpoints[0].lb_endpoints[0]`
const ENDPOINT_ADDRESS = `${ENDPOINT}.endpoint.address.socket_address`

const withListener = (rest: Message) => bootstrap({ listeners: [listener(rest)] })
const withAddress = (text: string, rest: Message = {}) => withListener({ address: address(text, 80, rest) })
const withTcpProxy = (rest: Message) => withListener({ filter_chains: [filterChain('web', {}, rest)] })
const withChain = (rest: Message) => withListener({ filter_chains: [filterChain('web', rest)] })
const withMatch = (match: Message) => withChain({ filter_chain_match: match })
const withCluster = (rest: Message) => bootstrap({ clusters: [cluster(rest)] })
const withEndpoint = (text: string, rest: Message = {}) =>
  withCluster({ load_assignment: loadAssignment([lbEndpoint(text, 80, rest)]) })
const withAssignment = (locality: Message, rest: Message = {}) =>
  withCluster({ load_assignment: loadAssignment([lbEndpoint('10.0.0.1', 80)], locality, rest) })
const source = (...texts: readonly string[]) => ({
  ...(texts[0] !== undefined && { source_address: { address: texts[0], port_value: 0 } }),
  extra_source_addresses: texts.slice(1).map((text) => ({ address: { address: text, port_value: 0 } })),
})
const withSource = (bindConfig: Message) => withCluster({ upstream_bind_config: bindConfig })

const badInputs: readonly BadInput[] = [
  ['no map', 'text', ["error : must be a Bootstrap message (a map), not 'text'"]],
  [
    'a misspelt field',
    bootstrap({}, { static_resource: {} }),
    ["error static_resource: Bootstrap has no field 'static_resource'; check the spelling, or remove it"],
  ],
  [
    'two listeners of one name',
    bootstrap({ listeners: [listener(), listener({ address: address('0.0.0.0', 81) })] }),
    ["error static_resources.listeners[1].name: there is a listener 'web' already; give each its own name"],
  ],
  [
    'two clusters of one name',
    bootstrap({ clusters: [cluster(), cluster()] }),
    ["error static_resources.clusters[1].name: there is a cluster 'web' already; give each its own name"],
  ],
  [
    'two listeners on one address',
    bootstrap({ listeners: [listener(), listener({ name: 'b' })] }),
    [
      "error static_resources.listeners[1].address.socket_address.address: 0.0.0.0:80 is an address of listener 'web' already; give each listener its own",
    ],
  ],
  [
    'an address that ipv4_compat of another listener takes',
    bootstrap({
      listeners: [listener({ address: address('::', 80, { ipv4_compat: true }) }), listener({ name: 'b' })],
    }),
    [
      "error static_resources.listeners[1].address.socket_address.address: 0.0.0.0:80 is an address of listener 'web' already; give each listener its own",
    ],
  ],
  [
    'one address twice in a listener',
    withListener({ additional_addresses: [{ address: address('0.0.0.0', 80) }] }),
    [
      `error ${L}.additional_addresses[0].address.socket_address.address: the listener has 0.0.0.0:80 already; remove one of the two`,
    ],
  ],
  [
    'a cluster that is not defined',
    withListener({ filter_chains: [filterChain('wbe')] }),
    [
      `error ${FILTER}.typed_config.cluster: there is no cluster 'wbe'; define it under static_resources.clusters`,
    ],
  ],
  ['a listener without a name', withListener({ name: undefined }), [`error ${L}: Listener needs name`]],
  [
    'a listener without an address',
    withListener({ address: undefined }),
    [`error ${L}: Listener needs address`],
  ],
  [
    'a listener on a pipe',
    withListener({ address: { pipe: { path: '/run/x' } } }),
    [
      `error ${L}.address.pipe: Address.pipe is not supported: use a socket_address with an IP address and a port`,
    ],
  ],
  [
    'a port beyond 65535',
    withListener({ address: address('0.0.0.0', 70_000) }),
    [`error ${SOCKET}.port_value: must be a whole number from 0 to 65535, not 70000`],
  ],
  [
    'no port',
    withListener({ address: { socket_address: { address: '0.0.0.0' } } }),
    [`error ${SOCKET}: SocketAddress needs port_value; write 0 where the kernel is to choose`],
  ],
  [
    'a named port',
    withListener({ address: { socket_address: { address: '0.0.0.0', named_port: 'http' } } }),
    [`error ${SOCKET}.named_port: SocketAddress.named_port is not supported: write the number as port_value`],
  ],
  [
    'UDP',
    withAddress('0.0.0.0', { protocol: 'UDP' }),
    [`error ${SOCKET}.protocol: UDP is not proxied; write TCP or leave protocol out`],
  ],
  [
    'text that is no address',
    withAddress('10.0.0.256'),
    [`error ${SOCKET}.address: '10.0.0.256' is not an IP address; write it as 10.0.0.1 or fd00::1`],
  ],
  [
    'a host name to listen on',
    withAddress('localhost'),
    [`error ${SOCKET}.address: 'localhost' is a host name and an IP address is needed here`],
  ],
  [
    'a link-local listener address without interface',
    withAddress('fe80::1'),
    [
      `error ${SOCKET}.address: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0`,
    ],
  ],
  [
    'rule 3: an IPv4-mapped listener address',
    withAddress('::ffff:10.0.0.1'),
    [
      `error ${SOCKET}.address: '::ffff:10.0.0.1' is IPv4 and an IPv6-only socket cannot be bound to it; write 10.0.0.1`,
    ],
  ],
  [
    'ipv4_compat on another address than ::',
    withAddress('fd00::1', { ipv4_compat: true }),
    [`error ${SOCKET}.address: ipv4_compat is for :: and IPv4-mapped addresses, not for fd00::1; remove it`],
  ],
  [
    'ipv4_compat on an additional address that may not have it',
    withListener({
      address: address('::', 80, { ipv4_compat: true }),
      additional_addresses: [{ address: address('::1', 81, { ipv4_compat: true }) }],
    }),
    [
      `error ${L}.additional_addresses[0].address.socket_address.address: ipv4_compat is for :: and IPv4-mapped addresses, not for ::1; remove it`,
    ],
  ],
  [
    'keepalive of one address',
    withListener({
      additional_addresses: [{ address: address('::', 80), tcp_keepalive: { keepalive_time: 5 } }],
    }),
    [
      `error ${L}.additional_addresses[0].tcp_keepalive: AdditionalAddress.tcp_keepalive is not supported: set tcp_keepalive of the listener, for all addresses`,
    ],
  ],
  [
    'a listener without filter chains',
    withListener({ filter_chains: [] }),
    [`error ${L}: the listener has no filter_chains; add one with a tcp_proxy filter`],
  ],
  [
    'a filter chain without filters',
    withListener({ filter_chains: [{}] }),
    [
      `error ${L}.filter_chains[0]: the filter chain has no filters; add a tcp_proxy filter that names a cluster`,
    ],
  ],
  [
    'two filter chains that match everything',
    withListener({
      filter_chains: [filterChain('web'), filterChain('web')],
    }),
    [
      `error ${L}.filter_chains[1]: matches the same connections as filter_chains[0] (any port, any destination, any client); give each chain its own filter_chain_match, or make one the default_filter_chain`,
    ],
  ],
  [
    'two filter chains that overlap in a prefix',
    withListener({
      filter_chains: [
        filterChain('web', {
          filter_chain_match: { prefix_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
        }),
        filterChain('web', {
          filter_chain_match: {
            prefix_ranges: [
              { address_prefix: '11.0.0.0', prefix_len: 8 },
              { address_prefix: '10.9.9.9', prefix_len: 8 },
            ],
          },
        }),
      ],
    }),
    [
      `error ${L}.filter_chains[1]: matches the same connections as filter_chains[0] (any port, 10.0.0.0/8, any client); give each chain its own filter_chain_match, or make one the default_filter_chain`,
    ],
  ],
  [
    'server names',
    withMatch({ server_names: ['a.example'] }),
    [
      `error ${L}.filter_chains[0].filter_chain_match.server_names: FilterChainMatch.server_names is not supported: chains are chosen by destination and client address only; remove it`,
    ],
  ],
  [
    'transport protocol',
    withMatch({ transport_protocol: 'tls' }),
    [
      `error ${L}.filter_chains[0].filter_chain_match.transport_protocol: FilterChainMatch.transport_protocol is not supported: chains are chosen by destination and client address only; remove it`,
    ],
  ],
  [
    'application protocols',
    withMatch({ application_protocols: ['h2'] }),
    [
      `error ${L}.filter_chains[0].filter_chain_match.application_protocols: FilterChainMatch.application_protocols is not supported: chains are chosen by destination and client address only; remove it`,
    ],
  ],
  [
    'rule 3: an IPv4-mapped prefix that covers both families',
    withMatch({
      prefix_ranges: [{ address_prefix: '::ffff:10.0.0.0', prefix_len: 64 }],
    }),
    [
      `error ${L}.filter_chains[0].filter_chain_match.prefix_ranges[0].address_prefix: '::ffff:10.0.0.0/64' covers addresses of both families; write the IPv4 and the IPv6 prefix apart`,
    ],
  ],
  [
    'a prefix longer than its family',
    withMatch({ source_prefix_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 33 }] }),
    [
      `error ${L}.filter_chains[0].filter_chain_match.source_prefix_ranges[0].address_prefix: a prefix of 10.0.0.0 has 0 to 32 bits, not 33`,
    ],
  ],
  [
    'TLS towards clients',
    withChain({ transport_socket: typed('transport_sockets.tls.v3.DownstreamTlsContext') }),
    [
      `error ${L}.filter_chains[0].transport_socket: transport socket x is not supported and plain text does not stand in for it; remove transport_socket`,
    ],
  ],
  [
    'PROXY protocol',
    withChain({ use_proxy_proto: true }),
    [
      `error ${L}.filter_chains[0].use_proxy_proto: FilterChain.use_proxy_proto is not supported: PROXY protocol is not spoken; remove it`,
    ],
  ],
  [
    'another network filter',
    withListener({ filter_chains: [{ filters: [typed('filters.network.rbac.v3.RBAC')] }] }),
    [
      `error ${FILTER}: network filter envoy.extensions.filters.network.rbac.v3.RBAC is not supported; only envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy is`,
    ],
  ],
  [
    'a filter without configuration',
    withListener({ filter_chains: [{ filters: [{ name: 'envoy.filters.network.tcp_proxy' }] }] }),
    [`error ${FILTER}: Filter needs typed_config`],
  ],
  [
    'another listener filter',
    withListener({ listener_filters: [typed('filters.listener.proxy_protocol.v3.ProxyProtocol')] }),
    [
      `error ${L}.listener_filters[0]: listener filter envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol is not supported; only original_dst, original_src and inspectors are`,
    ],
  ],
  [
    'what original_src cannot do here',
    withListener({
      listener_filters: [
        typed('filters.listener.original_src.v3.OriginalSrc', { bind_port: true, mark: 1337 }),
      ],
    }),
    [
      `error ${L}.listener_filters[0].typed_config.bind_port: the port of the client is not kept: two connections could need the same one; remove it`,
      `error ${L}.listener_filters[0].typed_config.mark: one mark is for all upstream connections: set PACKET_MARK`,
    ],
  ],
  [
    'a tcp_proxy without a cluster',
    withTcpProxy({ cluster: undefined }),
    [`error ${FILTER}.typed_config: TcpProxy needs cluster or weighted_clusters`],
  ],
  [
    'a tcp_proxy with both kinds of cluster',
    withTcpProxy({ weighted_clusters: { clusters: [{ name: 'web', weight: 1 }] } }),
    [`error ${FILTER}.typed_config: TcpProxy has both cluster and weighted_clusters; remove one`],
  ],
  [
    'a weighted cluster of weight 0',
    withTcpProxy({ cluster: undefined, weighted_clusters: { clusters: [{ name: 'web', weight: 0 }] } }),
    [
      `error ${FILTER}.typed_config.weighted_clusters.clusters[0].weight: must be a whole number from 1 to 4294967295, not 0`,
    ],
  ],
  [
    'tunneling',
    withTcpProxy({ tunneling_config: { hostname: 'x' } }),
    [
      `error ${FILTER}.typed_config.tunneling_config: TcpProxy.tunneling_config is not supported: connections are carried as plain TCP; remove it`,
    ],
  ],
  [
    'a hash policy',
    withTcpProxy({ hash_policy: [{ source_ip: {} }] }),
    [
      `error ${FILTER}.typed_config.hash_policy: TcpProxy.hash_policy is not supported: connections are not bound to an endpoint by hash; remove it`,
    ],
  ],
  [
    'a metadata match',
    withTcpProxy({ metadata_match: { filter_metadata: {} } }),
    [
      `error ${FILTER}.typed_config.metadata_match: TcpProxy.metadata_match is not supported: there are no subsets; make a cluster of the endpoints that are meant`,
    ],
  ],
  [
    'a negative duration',
    withTcpProxy({ idle_timeout: '-1s' }),
    [
      `error ${FILTER}.typed_config.idle_timeout: must be a duration in seconds such as 5s or 0.25s, not '-1s'`,
    ],
  ],
  [
    'no connect attempts',
    withTcpProxy({ max_connect_attempts: 0 }),
    [`error ${FILTER}.typed_config.max_connect_attempts: must be a whole number from 1 to 4294967295, not 0`],
  ],
  [
    'another access logger',
    withListener({ access_log: [typed('access_loggers.grpc.v3.TcpGrpcAccessLogConfig')] }),
    [
      `error ${L}.access_log[0].typed_config: access logger envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig is not supported; write to a FileAccessLog, StdoutAccessLog or StderrAccessLog`,
    ],
  ],
  [
    'an access log of two formats',
    withListener({
      access_log: [
        typed('access_loggers.file.v3.FileAccessLog', { path: 'x', format: 'a', json_format: { a: 'b' } }),
      ],
    }),
    [`error ${L}.access_log[0].typed_config: an access log has one format; remove all but one`],
  ],
  [
    'an access log filter',
    withListener({
      access_log: [
        {
          ...typed('access_loggers.stream.v3.StdoutAccessLog'),
          filter: { not_health_check_filter: {}, x: 1 },
        },
      ],
    }),
    [
      `error ${L}.access_log[0].filter: AccessLog.filter is not supported: every connection is logged; remove the filter`,
    ],
  ],
  [
    'a cluster type that is not known',
    withCluster({ type: 'DYNAMIC' }),
    [`error ${C}.type: must be one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST, not 'DYNAMIC'`],
  ],
  [
    'a policy that is not supported',
    withCluster({ lb_policy: 'RING_HASH' }),
    [
      `error ${C}.lb_policy: lb_policy RING_HASH is not supported; write ROUND_ROBIN, LEAST_REQUEST or RANDOM`,
    ],
  ],
  [
    'a policy that does not exist',
    withCluster({ lb_policy: 'FASTEST' }),
    [`error ${C}.lb_policy: 'FASTEST' is no lb_policy; write ROUND_ROBIN, LEAST_REQUEST or RANDOM`],
  ],
  [
    'CLUSTER_PROVIDED on a STATIC cluster',
    withCluster({ lb_policy: 'CLUSTER_PROVIDED' }),
    [`error ${C}.lb_policy: CLUSTER_PROVIDED is for clusters of type ORIGINAL_DST; write ROUND_ROBIN`],
  ],
  [
    'ORIGINAL_DST without CLUSTER_PROVIDED',
    withCluster({ type: 'ORIGINAL_DST', load_assignment: undefined }),
    [`error ${C}: a cluster of type ORIGINAL_DST needs lb_policy: CLUSTER_PROVIDED`],
  ],
  [
    'ORIGINAL_DST with endpoints',
    withCluster({ type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' }),
    [`error ${C}.load_assignment: load_assignment is not for clusters of type ORIGINAL_DST; remove it`],
  ],
  [
    'EDS from ADS',
    bootstrap({ clusters: [{ name: 'web', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } } }] }),
    [
      `error ${C}.eds_cluster_config.eds_config.ads: ads (ADS) is not supported: a cluster of static_resources has its endpoints in a file named by path_config_source, or in load_assignment; a cluster of the control plane has them from there`,
    ],
  ],
  [
    'EDS without configuration',
    bootstrap({ clusters: [{ name: 'web', type: 'EDS' }] }),
    [`error ${C}: a cluster of type EDS needs eds_cluster_config`],
  ],
  [
    'a STATIC cluster without endpoints',
    withCluster({ load_assignment: { cluster_name: 'web' } }),
    [`error ${C}.load_assignment: load_assignment has no endpoints; add one under endpoints[].lb_endpoints`],
  ],
  [
    'a STRICT_DNS cluster without load_assignment',
    withCluster({ type: 'STRICT_DNS', load_assignment: undefined }),
    [`error ${C}: the cluster has no endpoints; write them under load_assignment`],
  ],
  [
    'a LOGICAL_DNS cluster with two endpoints',
    withCluster({
      type: 'LOGICAL_DNS',
      load_assignment: loadAssignment([lbEndpoint('a.example', 80), lbEndpoint('b.example', 80)]),
    }),
    [
      `error ${C}.load_assignment: a LOGICAL_DNS cluster has exactly one endpoint; remove the others, or set type: STRICT_DNS`,
    ],
  ],
  [
    'a host name in a STATIC cluster',
    withEndpoint('db.example'),
    [
      `error ${ENDPOINT_ADDRESS}.address: 'db.example' is a host name and a STATIC cluster has IP addresses; write the address, or set type: STRICT_DNS`,
    ],
  ],
  [
    'a link-local endpoint without interface',
    withEndpoint('fe80::1'),
    [
      `error ${ENDPOINT_ADDRESS}.address: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0`,
    ],
  ],
  [
    'a link-local source address without interface',
    withSource(source('fe80::1')),
    [
      `error ${C}.upstream_bind_config.source_address.address: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0`,
    ],
  ],
  [
    'an endpoint on port 0',
    withCluster({ load_assignment: loadAssignment([lbEndpoint('10.0.0.1', 0)]) }),
    [`error ${ENDPOINT_ADDRESS}.port_value: port 0 cannot be connected to; write the port of the endpoint`],
  ],
  [
    'an endpoint of weight 0',
    withEndpoint('10.0.0.1', { load_balancing_weight: 0 }),
    [`error ${ENDPOINT}.load_balancing_weight: must be a whole number from 1 to 4294967295, not 0`],
  ],
  [
    'an endpoint of negative weight',
    withEndpoint('10.0.0.1', { load_balancing_weight: -1 }),
    [`error ${ENDPOINT}.load_balancing_weight: must be a whole number from 1 to 4294967295, not -1`],
  ],
  [
    'one endpoint twice',
    withCluster({
      load_assignment: loadAssignment([lbEndpoint('10.0.0.1', 80), lbEndpoint('10.0.0.1', 80)]),
    }),
    [
      `error ${C}.load_assignment.endpoints[0].lb_endpoints[1]: 10.0.0.1:80 is an endpoint already; remove one of the two`,
    ],
  ],
  [
    'a locality of weight 0',
    withAssignment({ load_balancing_weight: 0 }),
    [
      `error ${C}.load_assignment.endpoints[0].load_balancing_weight: must be a whole number from 1 to 4294967295, not 0`,
    ],
  ],
  [
    'a priority beyond 128',
    withAssignment({ priority: 129 }),
    [`error ${C}.load_assignment.endpoints[0].priority: must be a whole number from 0 to 128, not 129`],
  ],
  [
    'an overprovisioning factor of 0',
    withAssignment({}, { policy: { overprovisioning_factor: 0 } }),
    [
      `error ${C}.load_assignment.policy.overprovisioning_factor: must be a whole number from 1 to 4294967295, not 0`,
    ],
  ],
  [
    'drop overloads',
    withAssignment({}, { policy: { drop_overloads: [{ category: 'x' }] } }),
    [
      `error ${C}.load_assignment.policy.drop_overloads: Policy.drop_overloads is not supported: connections are not dropped by share; remove it`,
    ],
  ],
  [
    'additional addresses in a DNS cluster',
    withCluster({
      type: 'STRICT_DNS',
      load_assignment: loadAssignment([
        lbEndpoint('a.example', 80, {}, { additional_addresses: [{ address: address('10.0.0.2', 80) }] }),
      ]),
    }),
    [
      `error ${ENDPOINT}.endpoint.additional_addresses[0]: additional_addresses are for STATIC and EDS clusters; a host name brings all of its addresses`,
    ],
  ],
  [
    'TLS towards endpoints',
    withCluster({ transport_socket: typed('transport_sockets.tls.v3.UpstreamTlsContext') }),
    [
      `error ${C}.transport_socket: transport socket x is not supported and plain text does not stand in for it; remove transport_socket`,
    ],
  ],
  [
    'transport socket matches',
    withCluster({ transport_socket_matches: [{ name: 'tls' }] }),
    [
      `error ${C}.transport_socket_matches: Cluster.transport_socket_matches is not supported: connections to endpoints are plain TCP; remove it`,
    ],
  ],
  [
    'active health checks',
    withCluster({ health_checks: [{ timeout: '1s' }] }),
    [
      `error ${C}.health_checks: Cluster.health_checks is not supported: endpoints are judged by the connections made to them; remove it, or use outlier_detection`,
    ],
  ],
  [
    'subsets',
    withCluster({ lb_subset_config: { fallback_policy: 'ANY_ENDPOINT' } }),
    [
      `error ${C}.lb_subset_config: Cluster.lb_subset_config is not supported: there are no subsets; make a cluster of the endpoints that are meant`,
    ],
  ],
  [
    'extra source addresses without the first',
    withSource({ extra_source_addresses: source('x', '::6').extra_source_addresses }),
    [
      `error ${C}.upstream_bind_config: extra_source_addresses needs source_address; write the first address there`,
    ],
  ],
  [
    'three source addresses',
    withSource(source('127.0.0.6', '::6', '::7')),
    [`error ${C}.upstream_bind_config: there are 3 source addresses; at most one per family can be used`],
  ],
  [
    'two source addresses of one family',
    withSource(source('127.0.0.6', '127.0.0.7')),
    [
      `error ${C}.upstream_bind_config.extra_source_addresses[0].address.address: the two source addresses are of one family; make one IPv6 or remove it`,
    ],
  ],
  [
    'both names of extra source addresses',
    withSource({
      ...source('127.0.0.6', '::6'),
      additional_source_addresses: [{ address: '::6', port_value: 0 }],
    }),
    [
      `error ${C}.upstream_bind_config.additional_source_addresses[0]: additional_source_addresses is the old name; move all to extra_source_addresses`,
      `error ${C}.upstream_bind_config: there are 3 source addresses; at most one per family can be used`,
    ],
  ],
  [
    'a panic threshold beyond 100',
    withCluster({ common_lb_config: { healthy_panic_threshold: { value: 101 } } }),
    [`error ${C}.common_lb_config.healthy_panic_threshold.value: must be a number from 0 to 100, not 101`],
  ],
  [
    'outlier detection by chance',
    withCluster({ outlier_detection: { enforcing_consecutive_5xx: 50 } }),
    [
      `error ${C}.outlier_detection.enforcing_consecutive_5xx: ejecting in 50 of 100 cases is not supported; write 0 or 100`,
    ],
  ],
  [
    'several mistakes at once',
    bootstrap({
      listeners: [listener({ adress: {}, name: 5 })],
      clusters: [cluster({ connect_timeout: 5 })],
    }),
    [
      `error ${C}.connect_timeout: must be a duration in seconds such as 5s or 0.25s, not 5`,
      `error ${L}.name: must be text, not 5`,
      `error ${L}.adress: Listener has no field 'adress'; check the spelling, or remove it`,
    ],
  ],
]

for (const [what, document, problems] of badInputs) {
  t.test(`refuses ${what}, with place and remedy`, (t) => {
    const { report, bootstrap: decoded } = decodeBootstrap(document)
    t.strictSame(problemsOf(report), problems)
    t.equal(decoded, undefined)
    t.end()
  })
}

t.test('rule 3: IPv4-mapped text becomes IPv4, with a warning that says what to write', (t) => {
  const { report, bootstrap: decoded } = decodeBootstrap(
    bootstrap({
      listeners: [
        listener({
          address: address('::ffff:10.0.0.9', 80, { ipv4_compat: true }),
          filter_chains: [
            filterChain('web', {
              filter_chain_match: { prefix_ranges: [{ address_prefix: '::ffff:10.0.0.0', prefix_len: 104 }] },
            }),
          ],
        }),
      ],
      clusters: [cluster({ load_assignment: loadAssignment([lbEndpoint('::ffff:10.0.0.1', 80)]) })],
    }),
  )
  t.strictSame(problemsOf(report), [
    `warning ${ENDPOINT_ADDRESS}.address: '::ffff:10.0.0.1' is IPv4 and is used as 10.0.0.1; write 10.0.0.1`,
    `warning ${SOCKET}.address: '::ffff:10.0.0.9' is IPv4 and is bound as 10.0.0.9; write 10.0.0.9 without ipv4_compat`,
    `warning ${L}.filter_chains[0].filter_chain_match.prefix_ranges[0].address_prefix: '::ffff:10.0.0.0/104' is IPv4 and is used as 10.0.0.0/8; write 10.0.0.0/8`,
  ])
  t.match(decoded, {
    listeners: [
      {
        addresses: [{ address: { ip: { text: '10.0.0.9' } } }],
        filterChains: [{ match: { destinationPrefixes: [{ base: { text: '10.0.0.0' }, prefixLength: 8 }] } }],
      },
    ],
    clusters: [{ discovery: { assignment: { endpoints: [{ id: '10.0.0.1:80' }] } } }],
  })
  t.end()
})

t.test('lets several listeners ask the kernel for a port', (t) => {
  const any = { address: address('127.0.0.1', 0) }
  const { report } = decodeBootstrap(
    bootstrap({ listeners: [listener(any), listener({ ...any, name: 'b' })] }),
  )
  t.strictSame(problemsOf(report), [])
  t.end()
})

t.test('warns of an overload manager and lists the fields that have no effect', (t) => {
  const { report, bootstrap: decoded } = decodeBootstrap(
    bootstrap(
      { listeners: [listener({ stat_prefix: 'x', enable_reuse_port: true })] },
      { overload_manager: { refresh_interval: '1s' }, layered_runtime: { layers: [] }, stats_config: {} },
    ),
  )
  t.strictSame(problemsOf(report), [
    'warning overload_manager: overload_manager has no effect: connections are limited by the open descriptors of the process',
  ])
  t.strictSame([...report.ignoredFields].sort(), [
    'Bootstrap.layered_runtime',
    'Bootstrap.stats_config',
    'Listener.enable_reuse_port',
    'Listener.stat_prefix',
  ])
  t.ok(decoded)
  t.end()
})
