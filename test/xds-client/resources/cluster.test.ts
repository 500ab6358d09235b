/** What clusters and load assignments of Envoy's configuration become. Mistakes in them are in bootstrap.test.ts. */
import t from 'tap'

import { formatSocketAddress } from '../../../src/core/address.ts'
import { DEFAULT_UPSTREAM_SETTINGS } from '../../../src/mesh/upstream.ts'
import { DecodeReport, rootField } from '../../../src/xds-client/reading/message-reader.ts'
import { decodeCluster } from '../../../src/xds-client/resources/cluster.ts'
import { decodeLoadAssignment } from '../../../src/xds-client/resources/load-assignment.ts'
import { address, cluster, istioMetadata, lbEndpoint, loadAssignment, problemsOf } from './envoy-documents.ts'

import type { Test } from 'tap'
import type { Cluster, EndpointTemplate, LoadAssignment } from '../../../src/mesh/cluster.ts'
import type { UpstreamSettings } from '../../../src/mesh/upstream.ts'
import type { Message } from './envoy-documents.ts'

function decode(t: Test, rest: Message): Cluster | undefined {
  const report = new DecodeReport()
  const decoded = decodeCluster(rootField(cluster(rest), report))
  t.strictSame(problemsOf(report), [])
  return decoded
}

function decodeAssignment(t: Test, message: Message): LoadAssignment | undefined {
  const report = new DecodeReport()
  const decoded = decodeLoadAssignment(rootField(message, report))
  t.strictSame(problemsOf(report), [])
  return decoded
}

/** The endpoints of one locality with the given LbEndpoints, each as its addresses. */
function hostTexts(t: Test, endpoints: readonly Message[]): readonly (readonly string[])[] {
  return (decodeAssignment(t, loadAssignment(endpoints))?.endpoints ?? []).map(textsOf)
}

function textsOf(endpoint: EndpointTemplate): readonly string[] {
  return endpoint.hosts.map((host) =>
    host.kind === 'ip' ? formatSocketAddress(host.address) : `${host.hostname}:${host.port}`,
  )
}

t.test('decodes a STATIC cluster with the defaults of Envoy, and no limit of connections', (t) => {
  const decoded = decode(t, {})
  t.strictSame(decoded?.settings, {
    loadBalancing: 'round-robin',
    connectTimeoutMs: 5_000,
    sourceAddresses: [],
    overprovisioningFactor: 140,
    panicThresholdPercent: 50,
    localityWeighted: false,
  })
  t.match(decoded?.discovery, {
    kind: 'static',
    assignment: { name: 'web', endpoints: [{ id: '10.0.0.1:80' }] },
  })
  t.end()
})

const settings: readonly (readonly [string, Message, Partial<UpstreamSettings>])[] = [
  ['LEAST_REQUEST', { lb_policy: 'LEAST_REQUEST' }, { loadBalancing: 'least-request' }],
  ['RANDOM', { lb_policy: 'RANDOM' }, { loadBalancing: 'random' }],
  ['RANDOM by number', { lb_policy: 3 }, { loadBalancing: 'random' }],
  ['connect_timeout', { connect_timeout: '0.25s' }, { connectTimeoutMs: 250 }],
  [
    'the threshold of the DEFAULT priority',
    {
      circuit_breakers: {
        thresholds: [
          { priority: 'HIGH', max_connections: 1 },
          { max_connections: 7, max_retries: 1 },
        ],
      },
    },
    { maxConnections: 7 },
  ],
  [
    'a threshold that is no limit',
    { circuit_breakers: { thresholds: [{ max_connections: 4_294_967_295 }] } },
    {},
  ],
  [
    'happy_eyeballs_config V6',
    {
      upstream_connection_options: {
        happy_eyeballs_config: { first_address_family_version: 'V6', first_address_family_count: 2 },
      },
    },
    { familyPolicy: 'ipv6-first', firstFamilyCount: 2 },
  ],
  [
    'happy_eyeballs_config V4 and keepalive',
    {
      upstream_connection_options: {
        happy_eyeballs_config: { first_address_family_version: 'V4' },
        tcp_keepalive: { keepalive_time: 10 },
      },
    },
    { familyPolicy: 'ipv4-first', keepalive: { idleMs: 10_000 } },
  ],
  [
    'happy_eyeballs_config DEFAULT',
    { upstream_connection_options: { happy_eyeballs_config: { first_address_family_count: 1 } } },
    { firstFamilyCount: 1 },
  ],
  [
    'common_lb_config',
    { common_lb_config: { healthy_panic_threshold: { value: 12.5 }, locality_weighted_lb_config: {} } },
    { panicThresholdPercent: 12.5, localityWeighted: true },
  ],
  [
    'an empty panic threshold',
    { common_lb_config: { healthy_panic_threshold: {} } },
    { panicThresholdPercent: 0 },
  ],
  [
    'outlier detection by default',
    { outlier_detection: {} },
    {
      outlierDetection: {
        consecutiveConnectFailures: 5,
        baseEjectionMs: 30_000,
        maxEjectionMs: 300_000,
        maxEjectionPercent: 10,
        canAlwaysEjectOne: false,
      },
    },
  ],
  [
    'outlier detection of local origin',
    {
      outlier_detection: {
        split_external_local_origin_errors: true,
        consecutive_5xx: 9,
        consecutive_local_origin_failure: 2,
        base_ejection_time: '400s',
        max_ejection_percent: 50,
        always_eject_one_host: true,
      },
    },
    {
      outlierDetection: {
        consecutiveConnectFailures: 2,
        baseEjectionMs: 400_000,
        maxEjectionMs: 400_000,
        maxEjectionPercent: 50,
        canAlwaysEjectOne: true,
      },
    },
  ],
  ['outlier detection that is not enforced', { outlier_detection: { enforcing_consecutive_5xx: 0 } }, {}],
  ['outlier detection of 0 failures', { outlier_detection: { consecutive_5xx: 0 } }, {}],
]
for (const [what, rest, expected] of settings) {
  t.test(`decodes ${what}`, (t) => {
    t.strictSame(decode(t, rest)?.settings, { ...DEFAULT_UPSTREAM_SETTINGS, ...expected })
    t.end()
  })
}

t.test('rule 9: takes a source address of each family, under the present and the old name', (t) => {
  const bound = (rest: Message) =>
    decode(t, {
      upstream_bind_config: { source_address: { address: '127.0.0.6', port_value: 0 }, ...rest },
    })?.settings.sourceAddresses.map(formatSocketAddress)
  const second = { address: '::6', port_value: 0 }
  t.strictSame(bound({}), ['127.0.0.6:0'])
  t.strictSame(bound({ extra_source_addresses: [{ address: second }] }), ['127.0.0.6:0', '[::6]:0'])
  t.strictSame(bound({ additional_source_addresses: [second] }), ['127.0.0.6:0', '[::6]:0'])
  t.end()
})

const discoveries: readonly (readonly [string, Message, unknown])[] = [
  [
    'STRICT_DNS',
    {
      type: 'STRICT_DNS',
      dns_lookup_family: 'ALL',
      dns_refresh_rate: '30s',
      load_assignment: loadAssignment([lbEndpoint('DB.example', 80), lbEndpoint('10.0.0.1', 80)]),
    },
    {
      kind: 'strict-dns',
      lookupFamily: 'all',
      refreshMs: 30_000,
      assignment: {
        endpoints: [
          { id: 'db.example:80', hosts: [{ kind: 'hostname', hostname: 'db.example', port: 80 }] },
          { id: '10.0.0.1:80', hosts: [{ kind: 'ip' }] },
        ],
      },
    },
  ],
  [
    'LOGICAL_DNS',
    { type: 'LOGICAL_DNS', load_assignment: loadAssignment([lbEndpoint('db.example', 80)]) },
    { kind: 'logical-dns', lookupFamily: 'auto', refreshMs: 5_000 },
  ],
  [
    'ORIGINAL_DST',
    {
      type: 'ORIGINAL_DST',
      lb_policy: 'CLUSTER_PROVIDED',
      load_assignment: undefined,
      original_dst_lb_config: { upstream_port_override: 8080 },
    },
    { kind: 'original-destination', portOverride: 8080 },
  ],
  [
    'EDS',
    {
      type: 'EDS',
      load_assignment: undefined,
      eds_cluster_config: { eds_config: { path_config_source: { path: 'x.yaml' } }, service_name: 'other' },
    },
    { kind: 'eds', assignmentName: 'other' },
  ],
]
for (const [type, rest, expected] of discoveries) {
  t.test(`decodes the discovery of a cluster of type ${type}`, (t) => {
    t.match(decode(t, rest)?.discovery, expected)
    t.end()
  })
}

t.test('keeps all addresses of an endpoint in order and without repetition', (t) => {
  const additional = (...texts: readonly string[]) => ({
    additional_addresses: texts.map((text) => ({ address: address(text, 80) })),
  })
  t.strictSame(
    hostTexts(t, [lbEndpoint('10.0.0.1', 80, {}, additional('fd00::1', '10.0.0.1', 'FD00:0::1'))]),
    [['10.0.0.1:80', '[fd00::1]:80']],
  )
  t.end()
})

t.test('decodes health, weight, priority, locality and policy', (t) => {
  const decoded = decodeAssignment(
    t,
    loadAssignment(
      [
        lbEndpoint('10.0.0.1', 80, { health_status: 'DRAINING', load_balancing_weight: 3 }),
        lbEndpoint('10.0.0.2', 80, { health_status: 5 }),
        lbEndpoint('10.0.0.3', 80),
      ],
      { locality: { region: 'r', zone: 'z', sub_zone: 's' }, load_balancing_weight: 7, priority: 2 },
      { policy: { overprovisioning_factor: 200 } },
    ),
  )
  const common = { priority: 2, locality: { region: 'r', zone: 'z', subzone: 's' }, localityWeight: 7 }
  t.equal(decoded?.overprovisioningFactor, 200)
  t.match(decoded?.endpoints, [
    { ...common, health: 'unhealthy', weight: 3 },
    { ...common, health: 'degraded', weight: 1 },
    { ...common, health: 'healthy', weight: 1 },
  ])
  t.end()
})

t.test('takes the labels of the workload from the metadata that Istio sends', (t) => {
  const decoded = decodeAssignment(
    t,
    loadAssignment([
      lbEndpoint('10.0.0.1', 80, istioMetadata('tcp-echo-0;dual-stack;tcp-echo;v1;Kubernetes')),
    ]),
  )
  t.match(decoded?.endpoints[0]?.workload, {
    name: 'tcp-echo-0',
    namespace: 'dual-stack',
    canonicalName: 'tcp-echo',
    canonicalRevision: 'v1',
    cluster: 'Kubernetes',
  })
  t.equal(decoded?.endpoints[0]?.id, '10.0.0.1:80')
  t.end()
})

const echo = istioMetadata('echo;default;echo;v1;Kubernetes')
const other = istioMetadata('other;default;other;v1;Kubernetes')

t.test('joins the two families of one workload that come as two endpoints', (t) => {
  const decoded = decodeAssignment(
    t,
    loadAssignment([
      lbEndpoint('10.0.0.1', 80, { ...echo, health_status: 'UNHEALTHY' }),
      lbEndpoint('10.0.0.2', 80, other),
      lbEndpoint('fd00::1', 80, { ...echo, load_balancing_weight: 2 }),
    ]),
  )
  t.strictSame(decoded?.endpoints.map(textsOf), [['10.0.0.1:80', '[fd00::1]:80'], ['10.0.0.2:80']])
  t.match(decoded?.endpoints[0], { id: '10.0.0.1:80', weight: 2, health: 'healthy' })
  t.end()
})

const apart: readonly (readonly [string, readonly Message[]])[] = [
  ['of one family', [lbEndpoint('10.0.0.1', 80, echo), lbEndpoint('10.0.0.2', 80, echo)]],
  ['of two ports', [lbEndpoint('10.0.0.1', 80, echo), lbEndpoint('fd00::1', 81, echo)]],
  ['of two workloads', [lbEndpoint('10.0.0.1', 80, echo), lbEndpoint('fd00::1', 80, other)]],
  ['without metadata', [lbEndpoint('10.0.0.1', 80), lbEndpoint('fd00::1', 80)]],
  // Istio names the deployment: with several pods nothing says which IPv6 address belongs to which IPv4 address.
  [
    'of a workload with several instances, listed in turn',
    [
      lbEndpoint('10.0.0.1', 80, echo),
      lbEndpoint('fd00::1', 80, echo),
      lbEndpoint('10.0.0.2', 80, echo),
      lbEndpoint('fd00::2', 80, echo),
    ],
  ],
  [
    'of a workload with several instances',
    [
      lbEndpoint('10.0.0.1', 80, echo),
      lbEndpoint('10.0.0.2', 80, echo),
      lbEndpoint('fd00::1', 80, echo),
      lbEndpoint('fd00::2', 80, echo),
    ],
  ],
]
for (const [what, endpoints] of apart) {
  t.test(`keeps endpoints ${what} apart`, (t) => {
    const texts = hostTexts(t, endpoints)
    t.equal(texts.length, endpoints.length)
    t.ok(texts.every((hosts) => hosts.length === 1))
    t.end()
  })
}

t.test('keeps endpoints of two priorities apart', (t) => {
  const decoded = decodeAssignment(t, {
    cluster_name: 'web',
    endpoints: [
      { lb_endpoints: [lbEndpoint('10.0.0.1', 80, echo)] },
      { lb_endpoints: [lbEndpoint('fd00::1', 80, echo)], priority: 1 },
    ],
  })
  t.equal(decoded?.endpoints.length, 2)
  t.end()
})
