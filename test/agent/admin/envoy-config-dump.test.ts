import t from 'tap'

import { dumpClusterStatuses } from '../../../src/agent/admin/envoy-cluster-dump.ts'
import { envoyConfigDump } from '../../../src/agent/admin/envoy-config-dump.ts'
import { readSettings } from '../../../src/agent/settings/settings.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { decodeBootstrap } from '../../../src/xds-client/resources/bootstrap.ts'

import type { Settings } from '../../../src/agent/settings/settings.ts'
import type { MeshSnapshot } from '../../../src/mesh/store.ts'
import type { EnvoyDumpInput } from '../../../src/agent/admin/envoy-config-dump.ts'
import type { StreamView } from '../../../src/agent/source/mesh-feed.ts'
import type { EnvoyBootstrap } from '../../../src/xds-client/resources/bootstrap.ts'

const TCP_PROXY = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'

function address(host: string, port: number): unknown {
  return { socket_address: { address: host, port_value: port } }
}

function tcpProxy(config: Readonly<Record<string, unknown>>): unknown {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: { '@type': TCP_PROXY, stat_prefix: 'tcp', ...config },
  }
}

const ECHO_ENDPOINTS = [
  {
    locality: { region: 'r', zone: 'z', sub_zone: 's' },
    priority: 1,
    lb_endpoints: [
      {
        endpoint: {
          address: address('10.0.0.2', 9000),
          additional_addresses: [{ address: address('fd00::2', 9000) }],
        },
        health_status: 'DEGRADED',
        load_balancing_weight: 3,
        metadata: { filter_metadata: { istio: { workload: 'echo;default;echo;v1;Kubernetes' } } },
      },
    ],
  },
  { lb_endpoints: [{ endpoint: { address: address('10.0.0.3', 9000) } }] },
]

const STATIC_RESOURCES = {
  listeners: [
    {
      name: 'web',
      address: address('0.0.0.0', 15001),
      additional_addresses: [{ address: address('::', 15001) }],
      traffic_direction: 'OUTBOUND',
      use_original_dst: true,
      filter_chains: [
        {
          name: 'narrow',
          filter_chain_match: {
            destination_port: 80,
            prefix_ranges: [{ address_prefix: 'fd00::', prefix_len: 8 }],
            source_prefix_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }],
          },
          filters: [
            tcpProxy({
              weighted_clusters: {
                clusters: [
                  { name: 'echo', weight: 1 },
                  { name: 'names', weight: 2 },
                ],
              },
              idle_timeout: '7s',
              max_connect_attempts: 2,
            }),
          ],
        },
      ],
      default_filter_chain: { filters: [tcpProxy({ cluster: 'passthrough' })] },
      access_log: [
        {
          name: 'envoy.access_loggers.file',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
            path: '/dev/stdout',
            log_format: { text_format_source: { inline_string: '%UPSTREAM_HOST%\n' } },
          },
        },
      ],
    },
  ],
  clusters: [
    {
      name: 'echo',
      type: 'STATIC',
      connect_timeout: '0.25s',
      lb_policy: 'LEAST_REQUEST',
      load_assignment: { cluster_name: 'echo', endpoints: ECHO_ENDPOINTS },
      circuit_breakers: { thresholds: [{ max_connections: 9 }] },
      upstream_bind_config: {
        source_address: { address: '127.0.0.6', port_value: 0 },
        extra_source_addresses: [{ address: { address: '::6', port_value: 0 } }],
      },
    },
    {
      name: 'names',
      type: 'STRICT_DNS',
      connect_timeout: '1s',
      dns_lookup_family: 'ALL',
      load_assignment: {
        cluster_name: 'names',
        endpoints: [{ lb_endpoints: [{ endpoint: { address: address('echo.example', 80) } }] }],
      },
    },
    { name: 'passthrough', type: 'ORIGINAL_DST', connect_timeout: '10s', lb_policy: 'CLUSTER_PROVIDED' },
  ],
}

function decode(staticResources: unknown): EnvoyBootstrap {
  const { bootstrap, report } = decodeBootstrap({
    node: {
      id: 'sidecar~10.0.0.1',
      cluster: 'echo',
      metadata: { PROXY_CONFIG: { proxyMetadata: { A: 'b' } } },
    },
    static_resources: staticResources,
  })
  if (bootstrap === undefined) throw new Error(JSON.stringify(report.problems, undefined, 1))
  return bootstrap
}

function snapshotOf(bootstrap: EnvoyBootstrap): MeshSnapshot {
  const store = new MeshStore()
  store.apply([
    ...bootstrap.listeners.map((upsert) => ({ kind: 'listener', upsert }) as const),
    ...bootstrap.clusters.map((upsert) => ({ kind: 'cluster', upsert }) as const),
  ])
  return store.snapshot
}

function settingsOf(env: Readonly<Record<string, string>> = {}): Settings {
  const result = readSettings({ env }, { needsSource: false })
  if (!result.ok) throw new Error(JSON.stringify(result.problems))
  return result.value
}

/** The configs of a dump by the name of their message. */
function sectionsOf(dump: unknown): Readonly<Record<string, unknown>> {
  const { configs } = dump as { readonly configs: readonly Readonly<Record<string, unknown>>[] }
  const entries = configs.map((config): [string, unknown] => [
    String(config['@type']).split('.').at(-1) ?? '',
    config,
  ])
  return Object.fromEntries(entries)
}

function wholeDump(
  env: Readonly<Record<string, string>> = {},
  more: Partial<EnvoyDumpInput> = {},
): Readonly<Record<string, unknown>> {
  const bootstrap = decode(STATIC_RESOURCES)
  return envoyConfigDump({
    snapshot: snapshotOf(bootstrap),
    settings: settingsOf(env),
    version: '1.2.3',
    node: bootstrap.node,
    startedAtMs: 0,
    isStatic: () => true,
    ...more,
  })
}

function dump(env: Readonly<Record<string, string>> = {}): Readonly<Record<string, unknown>> {
  return sectionsOf(wholeDump(env))
}

/** A stream that has delivered clusters, and a listener that was refused. */
const STREAM: StreamView = {
  status: {
    target: 'http://istiod:15010',
    mode: 'sotw',
    isConnected: true,
    sinceMs: 1_000,
    controlPlane: 'istiod',
    lastError: { text: 'gone', code: 'unreachable', atMs: 500 },
    types: [
      {
        typeUrl: TYPE_URLS.cluster,
        interest: 'wildcard',
        version: 'v7',
        resourceCount: 3,
        names: [],
        updatedAtMs: 2_000,
      },
      { typeUrl: TYPE_URLS.assignment, interest: 'named', version: '', resourceCount: 0, names: ['echo'] },
      {
        typeUrl: TYPE_URLS.listener,
        interest: 'wildcard',
        version: 'v6',
        resourceCount: 1,
        names: [],
        updatedAtMs: 3_000,
        lastNack: { text: 'bad: address: no IP', atMs: 4_000 },
      },
    ],
  },
  ignoredFields: (typeUrl) =>
    new Map(typeUrl === TYPE_URLS.listener ? [['front', ['Listener.stat_prefix']]] : []),
}

t.test('dumps listeners and clusters that decode to what is in force', async (t) => {
  const { ListenersConfigDump, ClustersConfigDump } = dump()
  const { static_listeners } = ListenersConfigDump as {
    readonly static_listeners: readonly { readonly listener: Readonly<Record<string, unknown>> }[]
  }
  const { static_clusters } = ClustersConfigDump as {
    readonly static_clusters: readonly { readonly cluster: Readonly<Record<string, unknown>> }[]
  }
  const withoutType = ({ '@type': type, ...rest }: Readonly<Record<string, unknown>>) => {
    t.match(type, /^type\.googleapis\.com\/envoy\.config\.(listener|cluster)\.v3\./)
    return rest
  }
  const again = decode({
    listeners: static_listeners.map(({ listener }) => withoutType(listener)),
    clusters: static_clusters.map(({ cluster }) => withoutType(cluster)),
  })
  const original = decode(STATIC_RESOURCES)
  t.strictSame(again.listeners, original.listeners)
  t.strictSame(again.clusters, original.clusters)
})

t.test('dumps the endpoints of a cluster with both families in one record', async (t) => {
  const { EndpointsConfigDump } = dump()
  t.match(EndpointsConfigDump, {
    static_endpoint_configs: [
      { endpoint_config: { cluster_name: 'echo', endpoints: ECHO_ENDPOINTS } },
      { endpoint_config: { cluster_name: 'names', endpoints: [] } },
    ],
  })
})

t.test('dumps the dual-stack flag in force in the node metadata', async (t) => {
  t.match(dump({ ISTIO_AGENT_DUAL_STACK: 'true' })['BootstrapConfigDump'], {
    bootstrap: {
      node: {
        id: 'sidecar~10.0.0.1',
        metadata: { PROXY_CONFIG: { proxyMetadata: { A: 'b', ISTIO_DUAL_STACK: 'true' } } },
      },
    },
  })
})

t.test('dumps what a control plane has sent apart from the bootstrap, with version and time', async (t) => {
  const whole = wholeDump({}, { stream: STREAM, isStatic: (_, name) => name === 'passthrough' })
  const { ClustersConfigDump, ListenersConfigDump, EndpointsConfigDump } = sectionsOf(whole)
  const delivered = { version_info: 'v7', last_updated: '1970-01-01T00:00:02.000Z' }
  t.match(ClustersConfigDump, {
    version_info: 'v7',
    static_clusters: [{ cluster: { name: 'passthrough' } }],
    dynamic_active_clusters: [
      { ...delivered, cluster: { name: 'echo' } },
      { ...delivered, cluster: { name: 'names' } },
    ],
  })
  const { dynamic_listeners } = ListenersConfigDump as { readonly dynamic_listeners: readonly unknown[] }
  t.match(dynamic_listeners[0], {
    active_state: { version_info: 'v6', last_updated: '1970-01-01T00:00:03.000Z', listener: {} },
  })
  t.match(EndpointsConfigDump, {
    dynamic_endpoint_configs: [{ endpoint_config: { cluster_name: 'echo' } }, {}],
  })
  t.match(whole['xds'], {
    target: 'http://istiod:15010',
    mode: 'sotw',
    connected: true,
    since: '1970-01-01T00:00:01.000Z',
    controlPlane: 'istiod',
    lastError: { time: '1970-01-01T00:00:00.500Z', code: 'unreachable', detail: 'gone' },
    types: [
      { typeUrl: TYPE_URLS.cluster, version: 'v7', resources: 3 },
      { typeUrl: TYPE_URLS.assignment, interest: 'named', names: ['echo'] },
      {
        lastNack: { time: '1970-01-01T00:00:04.000Z', detail: 'bad: address: no IP' },
        ignoredFields: { front: ['Listener.stat_prefix'] },
      },
    ],
  })
})

t.test('shows that plain text is permitted', async (t) => {
  t.match(dump({ TWINSTACK_ALLOW_PLAINTEXT: 'true' })['BootstrapConfigDump'], {
    bootstrap: { node: { metadata: { TWINSTACK_ALLOW_PLAINTEXT: '*' } } },
  })
})

t.test('tells the health of each endpoint by family', async (t) => {
  const statuses = dumpClusterStatuses(snapshotOf(decode(STATIC_RESOURCES)), {
    isFamilyHealthy: (_, family) => family === 'ipv4',
    isEjected: (_, endpointId) => endpointId.includes('10.0.0.3'),
    activeConnections: () => 4,
  })
  t.match(statuses, {
    cluster_statuses: [
      {
        name: 'echo',
        host_statuses: [
          {
            address: address('10.0.0.2', 9000),
            stats: [
              { name: 'cx_active', type: 'GAUGE', value: '4' },
              { name: 'ipv4_healthy', type: 'GAUGE', value: '1' },
              { name: 'ipv6_healthy', type: 'GAUGE', value: '0' },
            ],
            health_status: { eds_health_status: 'DEGRADED' },
            weight: 3,
            priority: 1,
            locality: { region: 'r', zone: 'z', sub_zone: 's' },
          },
          {
            address: address('10.0.0.3', 9000),
            stats: [{ name: 'cx_active' }, { name: 'ipv4_healthy' }],
            health_status: { eds_health_status: 'HEALTHY', failed_outlier_check: true },
          },
        ],
      },
      { name: 'names', host_statuses: [] },
      { name: 'passthrough', host_statuses: [] },
    ],
  })
})
