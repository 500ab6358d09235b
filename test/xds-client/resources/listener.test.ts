/** What listeners of Envoy's configuration become. Mistakes in them are in bootstrap.test.ts. */
import t from 'tap'

import { formatSocketAddress } from '../../../src/core/address.ts'
import { formatCidr } from '../../../src/core/cidr.ts'
import { DecodeReport, rootField } from '../../../src/xds-client/reading/message-reader.ts'
import { decodeListener } from '../../../src/xds-client/resources/listener.ts'
import { tcpProxyOf } from '../../mesh/envoy-fixtures.ts'
import { address, filterChain, listener, problemsOf, typed } from './envoy-documents.ts'

import type { Test } from 'tap'
import type { Listener } from '../../../src/mesh/listener.ts'
import type { Message } from './envoy-documents.ts'

/** Decodes a listener that has to be free of problems. */
function decode(t: Test, rest: Message): Listener | undefined {
  const report = new DecodeReport()
  const decoded = decodeListener(rootField(listener(rest), report))
  t.strictSame(problemsOf(report), [])
  return decoded
}

function addressTexts(decoded: Listener | undefined): readonly string[] {
  return (decoded?.addresses ?? []).map((each) => formatSocketAddress(each.address))
}

t.test('decodes a plain listener with the defaults of Envoy', (t) => {
  t.strictSame(
    { ...decode(t, {}), addresses: [] },
    {
      name: 'web',
      addresses: [],
      capture: 'none',
      direction: 'unspecified',
      bindToPort: true,
      filterChains: [
        {
          name: '',
          match: { destinationPrefixes: [], sourcePrefixes: [] },
          tcpProxy: { statPrefix: 'test', clusters: [{ name: 'web', weight: 1 }], accessLogs: [] },
        },
      ],
      accessLogs: [],
    },
  )
  t.end()
})

t.test('rule 1: has one address per socket and family, additional ones after the first', (t) => {
  const decoded = decode(t, {
    additional_addresses: [{ address: address('::', 80) }, { address: address('fd00::1', 81) }],
  })
  t.strictSame(addressTexts(decoded), ['0.0.0.0:80', '[::]:80', '[fd00::1]:81'])
  t.end()
})

t.test('rule 1: makes two addresses of :: with ipv4_compat, as the first or an additional one', (t) => {
  const wild = address('::', 80, { ipv4_compat: true })
  t.strictSame(addressTexts(decode(t, { address: wild })), ['[::]:80', '0.0.0.0:80'])
  // Envoy checks the additional address by the first one's family, and would refuse this.
  const additional = decode(t, {
    address: address('10.0.0.1', 81),
    additional_addresses: [{ address: wild }],
  })
  t.strictSame(addressTexts(additional), ['10.0.0.1:81', '[::]:80', '0.0.0.0:80'])
  t.end()
})

t.test('keeps the zone of a link-local address', (t) => {
  t.strictSame(addressTexts(decode(t, { address: address('fe80::1%eth0', 80) })), ['[fe80::1%eth0]:80'])
  t.end()
})

const ORIGINAL_DST = typed('filters.listener.original_dst.v3.OriginalDst')
const captures: readonly (readonly [string, Message, string, boolean | undefined])[] = [
  ['nothing', {}, 'none', undefined],
  ['use_original_dst', { use_original_dst: true }, 'redirect', true],
  ['the original_dst filter', { listener_filters: [ORIGINAL_DST] }, 'redirect', undefined],
  ['both', { use_original_dst: true, listener_filters: [ORIGINAL_DST] }, 'redirect', true],
  ['transparent', { transparent: true }, 'tproxy', undefined],
  ['transparent and use_original_dst', { transparent: true, use_original_dst: true }, 'tproxy', true],
  [
    'inspectors only',
    {
      listener_filters: [
        typed('filters.listener.tls_inspector.v3.TlsInspector', { enable_ja3_fingerprinting: true }),
        {
          ...typed('filters.listener.http_inspector.v3.HttpInspector'),
          filter_disabled: { any_match: true },
        },
      ],
    },
    'none',
    undefined,
  ],
]
for (const [what, rest, capture, hasHandOff] of captures) {
  t.test(`captures by ${capture} with ${what}`, (t) => {
    const decoded = decode(t, rest)
    t.equal(decoded?.capture, capture)
    t.equal(decoded?.hasHandOff, hasHandOff, 'only use_original_dst hands off')
    t.end()
  })
}

t.test('decodes direction, bind_to_port, backlog and keepalive', (t) => {
  t.match(
    decode(t, {
      traffic_direction: 'OUTBOUND',
      bind_to_port: false,
      tcp_backlog_size: 128,
      tcp_keepalive: { keepalive_time: 30, keepalive_interval: 5, keepalive_probes: 3 },
    }),
    {
      direction: 'outbound',
      bindToPort: false,
      backlog: 128,
      keepalive: { idleMs: 30_000, intervalMs: 5_000, probes: 3 },
    },
  )
  t.end()
})

t.test('gives each address the socket options of its family, own ones instead of the listener', (t) => {
  const option = (name: number, rest: Message = {}) => ({ level: 6, name, int_value: 1, ...rest })
  const decoded = decode(t, {
    freebind: true,
    tcp_fast_open_queue_length: 16,
    socket_options: [
      option(1),
      option(2, { ip_version: 'SOCKET_IP_VERSION_IPV4' }),
      option(3, { ip_version: 'SOCKET_IP_VERSION_IPV6', state: 'STATE_LISTENING' }),
      option(4, { type: { datagram: {} } }),
      { level: 1, name: 5, buf_value: 'AQI=' },
    ],
    additional_addresses: [
      { address: address('::', 80) },
      { address: address('::1', 80), socket_options: { socket_options: [option(9)] } },
      { address: address('::2', 80), socket_options: {} },
    ],
  })
  const names = decoded?.addresses.map(({ socketOptions }) => socketOptions.map(({ name }) => name))
  t.strictSame(names, [
    [15, 23, 1, 2, 5],
    [78, 23, 1, 3, 5],
    [78, 23, 9],
    [78, 23],
  ])
  t.strictSame(decoded?.addresses[0]?.socketOptions.at(-1)?.value, Uint8Array.of(1, 2))
  t.end()
})

t.test('decodes the match and the tcp_proxy of filter chains and of the default chain', (t) => {
  const decoded = decode(t, {
    filter_chains: [
      filterChain('web', {
        name: 'first',
        filter_chain_match: {
          destination_port: 443,
          prefix_ranges: [{ address_prefix: '10.1.2.3', prefix_len: 8 }, { address_prefix: '::' }],
          source_prefix_ranges: [{ address_prefix: 'fd00::', prefix_len: 8 }],
        },
        transport_socket: typed('transport_sockets.raw_buffer.v3.RawBuffer'),
      }),
    ],
    default_filter_chain: filterChain(
      'web',
      {},
      {
        cluster: undefined,
        weighted_clusters: {
          clusters: [
            { name: 'a', weight: 1 },
            { name: 'b', weight: '99' },
          ],
        },
        idle_timeout: '0s',
        max_connect_attempts: 3,
        max_downstream_connection_duration: '1.5s',
        upstream_connect_mode: 'IMMEDIATE',
      },
    ),
  })
  const match = decoded?.filterChains[0]?.match
  t.equal(match?.destinationPort, 443)
  t.strictSame(match?.destinationPrefixes.map(formatCidr), ['10.0.0.0/8', '::/0'])
  t.strictSame(match?.sourcePrefixes.map(formatCidr), ['fd00::/8'])
  t.strictSame(tcpProxyOf(decoded?.defaultFilterChain), {
    statPrefix: 'test',
    clusters: [
      { name: 'a', weight: 1 },
      { name: 'b', weight: 99 },
    ],
    idleTimeoutMs: 0,
    maxConnectAttempts: 3,
    maxConnectionDurationMs: 1_500,
    accessLogs: [],
  })
  t.end()
})

const logs: readonly (readonly [string, string, Message, unknown])[] = [
  [
    'a file',
    'file.v3.FileAccessLog',
    { path: '/var/log/x' },
    { target: { kind: 'file', path: '/var/log/x' } },
  ],
  ['/dev/stdout', 'file.v3.FileAccessLog', { path: '/dev/stdout' }, { target: { kind: 'stdout' } }],
  ['/dev/stderr', 'file.v3.FileAccessLog', { path: '/dev/stderr' }, { target: { kind: 'stderr' } }],
  ['the stdout logger', 'stream.v3.StdoutAccessLog', {}, { target: { kind: 'stdout' } }],
  [
    'the stderr logger as JSON',
    'stream.v3.StderrAccessLog',
    { log_format: { json_format: { a: '%BYTES_SENT%' } } },
    { target: { kind: 'stderr' }, format: { kind: 'json', template: { a: '%BYTES_SENT%' } } },
  ],
  [
    'text from an inline source',
    'stream.v3.StdoutAccessLog',
    { log_format: { text_format_source: { inline_string: '%DURATION%\n' }, omit_empty_values: true } },
    { target: { kind: 'stdout' }, format: { kind: 'text', template: '%DURATION%\n' } },
  ],
  [
    'the old text format',
    'file.v3.FileAccessLog',
    { path: '/dev/stdout', format: 'x' },
    { target: { kind: 'stdout' }, format: { kind: 'text', template: 'x' } },
  ],
  [
    'the old JSON format',
    'file.v3.FileAccessLog',
    { path: '/dev/stdout', typed_json_format: { a: 'b' } },
    { target: { kind: 'stdout' }, format: { kind: 'json', template: { a: 'b' } } },
  ],
]
for (const [what, logger, config, expected] of logs) {
  t.test(`decodes an access log to ${what}, of listener and tcp_proxy`, (t) => {
    const log = typed(`access_loggers.${logger}`, config)
    const decoded = decode(t, {
      access_log: [log],
      filter_chains: [filterChain('web', {}, { access_log: [log] })],
    })
    t.strictSame(decoded?.accessLogs, [expected])
    t.strictSame(tcpProxyOf(decoded?.filterChains[0])?.accessLogs, [expected])
    t.end()
  })
}

t.test('only a file has the old names of formats', (t) => {
  const report = new DecodeReport()
  const log = typed('access_loggers.stream.v3.StdoutAccessLog', { format: 'x' })
  decodeListener(rootField(listener({ access_log: [log] }), report))
  t.strictSame(problemsOf(report), [
    "error access_log[0].typed_config.format: StdoutAccessLog has no field 'format'; check the spelling, or remove it",
  ])
  t.end()
})

t.test('decodes the catch-all listener of an Istio sidecar', (t) => {
  const report = new DecodeReport()
  const decoded = decodeListener(
    rootField(
      {
        name: 'virtualOutbound',
        address: { socketAddress: { address: '0.0.0.0', portValue: 15001 } },
        additionalAddresses: [{ address: { socketAddress: { address: '::', portValue: 15001 } } }],
        useOriginalDst: true,
        trafficDirection: 'OUTBOUND',
        maxConnectionsToAcceptPerSocketEvent: 1,
        filterChains: [
          filterChain('BlackHoleCluster', {
            name: 'virtualOutbound-blackhole',
            filterChainMatch: { destinationPort: 15001 },
          }),
          filterChain('PassthroughCluster', { name: 'virtualOutbound-catchall-tcp' }),
        ],
      },
      report,
    ),
  )
  t.strictSame(problemsOf(report), [])
  t.strictSame(addressTexts(decoded), ['0.0.0.0:15001', '[::]:15001'])
  t.match(decoded, { capture: 'redirect', hasHandOff: true, direction: 'outbound' })
  t.strictSame(
    decoded?.filterChains.map((chain) => [chain.match.destinationPort, tcpProxyOf(chain)?.clusters[0]?.name]),
    [
      [15_001, 'BlackHoleCluster'],
      [undefined, 'PassthroughCluster'],
    ],
  )
  t.end()
})

t.test('rule 9: original_src preserves the source, absent it does not', (t) => {
  const filter = (config: Message) => typed('filters.listener.original_src.v3.OriginalSrc', config)
  t.equal(decode(t, { listener_filters: [filter({ mark: 0 })] })?.preservesSource, true)
  t.notOk(decode(t, {})?.preservesSource)
  t.end()
})
