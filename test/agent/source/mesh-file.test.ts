/** Mistakes in mesh files: each is named at its line and column, with what to write instead. */
import t from 'tap'

import { loadInlineMesh, loadMeshFile } from '../../../src/agent/source/mesh-file.ts'
import { fileSystem } from '../../../src/agent/source/mesh-file-source.ts'
import { AMBIENT_MESH_YAML } from '../../fixtures/ambient-mesh.ts'

import type { MeshFileOutcome } from '../../../src/agent/source/mesh-file.ts'
import type { TransportCapabilities } from '../../../src/proxy/transport.ts'

const UNAVAILABLE = { isAvailable: false, reason: 'not in this engine' } as const
const CAPABILITIES: TransportCapabilities = {
  originalDestination: UNAVAILABLE,
  transparentSource: UNAVAILABLE,
  packetMark: UNAVAILABLE,
  socketOptions: UNAVAILABLE,
  userTimeout: UNAVAILABLE,
  splice: UNAVAILABLE,
  networkNamespaces: UNAVAILABLE,
}

/** Reads `mesh.yaml` of a file system that holds just `files`. */
function load(files: Readonly<Record<string, string>>): Promise<MeshFileOutcome> {
  const readFile = (name: string): Promise<string> => {
    const text = files[name]
    if (text !== undefined) return Promise.resolve(text)
    return Promise.reject(Object.assign(new Error(`ENOENT: ${name}`), { code: 'ENOENT' }))
  }
  return loadMeshFile({ readFile, capabilities: CAPABILITIES }, 'mesh.yaml')
}

/** A bootstrap whose lines a test replaces: each part is a whole line of the file. */
const GOOD = [
  /*  1 */ 'static_resources:',
  /*  2 */ '  listeners:',
  /*  3 */ '    - name: web',
  /*  4 */ '      address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }',
  /*  5 */ '      filter_chains:',
  /*  6 */ '        - filters:',
  /*  7 */ '            - name: tcp',
  /*  8 */ '              typed_config:',
  /*  9 */ "                '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
  /* 10 */ '                stat_prefix: web',
  /* 11 */ '                cluster: web',
  /* 12 */ '  clusters:',
  /* 13 */ '    - name: web',
  /* 14 */ '      load_assignment:',
  /* 15 */ '        cluster_name: web',
  /* 16 */ '        endpoints:',
  /* 17 */ '          - lb_endpoints:',
  /* 18 */ '              - endpoint:',
  /* 19 */ '                  address: { socket_address: { address: 10.0.0.1, port_value: 80 } }',
] as const

/** Lines of one more listener on 0.0.0.0. */
function secondListener(name: string, port: number): readonly string[] {
  return [
    `    - name: ${name}`,
    `      address: { socket_address: { address: 0.0.0.0, port_value: ${port} } }`,
    '      filter_chains:',
    '        - filters:',
    '            - name: tcp',
    '              typed_config:',
    "                '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    '                stat_prefix: x',
    '                cluster: web',
  ]
}

/** The good file with line `number` (from 1) replaced by `lines`. */
function withLine(number: number, ...lines: readonly string[]): string {
  return [...GOOD.slice(0, number - 1), ...lines, ...GOOD.slice(number)].join('\n')
}

/** The first `count` lines of a text. */
function firstLines(text: string, count: number): string {
  return text.split('\n').slice(0, count).join('\n')
}

const LISTENER = 'static_resources.listeners[0]'
const CLUSTER = 'static_resources.clusters[0]'
const ENDPOINT = `${CLUSTER}.load_assignment.endpoints[0].lb_endpoints[0]`
const HOST = `${ENDPOINT}.endpoint.address.socket_address`
const TCP_PROXY = `${LISTENER}.filter_chains[0].filters[0].typed_config`

function listenerAt(socketAddress: string): string {
  return withLine(4, `      address: { socket_address: { ${socketAddress} } }`)
}

function endpointAt(socketAddress: string): string {
  return withLine(19, `                  address: { socket_address: { ${socketAddress} } }`)
}

/** Each file with what is said of it, line and column first. */
const MISTAKES: readonly (readonly [what: string, text: string, ...errors: readonly string[]])[] = [
  ['an empty file', '', '1:1: error: the file is empty; write a configuration, or start without -c'],
  [
    'text that is no YAML',
    'static_resources: [',
    '1:20: error: bad indentation: flow sequence in block collection must be sufficiently indented and end with a ]',
  ],
  [
    'a file that is one word',
    'listeners',
    "1:1: error: must be a Bootstrap message (a map), not 'listeners'",
  ],
  ['a list', '- a\n- b\n', '1:1: error: must be a Bootstrap message (a map), not a list'],
  [
    'a tab as indentation',
    firstLines(withLine(2, '\tlisteners:'), 2),
    '2:1: error: a tab cannot indent YAML; use spaces',
  ],
  [
    'a second document',
    `${GOOD.join('\n')}\n---\nadmin: {}\n`,
    '21:1: error: the file holds more than one YAML document; keep one and remove the --- between them',
  ],
  [
    'a key that is there twice',
    withLine(13, '    - name: web', '      name: web'),
    '14:7: error: this key is in the map already; remove one of the two',
  ],
  [
    'an alias without an anchor',
    withLine(11, '                cluster: *web'),
    "11:26: error: there is no anchor '&web' before this alias",
  ],
  [
    'a word where a port belongs',
    listenerAt('address: 0.0.0.0, port_value: http'),
    `4:66: error: ${LISTENER}.address.socket_address.port_value: must be a whole number from 0 to 65535, not 'http'`,
  ],
  [
    'a port beyond the last one',
    listenerAt('address: 0.0.0.0, port_value: 65536'),
    `4:66: error: ${LISTENER}.address.socket_address.port_value: must be a whole number from 0 to 65535, not 65536`,
  ],
  [
    'a number where a name belongs',
    withLine(3, '    - name: 7'),
    `3:13: error: ${LISTENER}.name: must be text, not 7`,
  ],
  [
    'a map where a list belongs',
    'static_resources:\n  listeners: {}\n',
    '2:14: error: static_resources.listeners: must be a list, not a map',
  ],
  [
    'a duration without its unit',
    withLine(14, '      connect_timeout: 5', '      load_assignment:'),
    `14:24: error: ${CLUSTER}.connect_timeout: must be a duration in seconds such as 5s or 0.25s, not 5`,
  ],
  [
    'two listeners of one name',
    withLine(12, ...secondListener('web', 8081), '  clusters:'),
    "12:13: error: static_resources.listeners[1].name: there is a listener 'web' already; give each its own name",
  ],
  [
    'two listeners on one port',
    withLine(12, ...secondListener('other', 8080), '  clusters:'),
    "13:45: error: static_resources.listeners[1].address.socket_address.address: 0.0.0.0:8080 is an address of listener 'web' already; give each listener its own",
  ],
  [
    'a listener without filter chains',
    GOOD.filter((_, index) => index < 4 || index > 10).join('\n'),
    `3:7: error: ${LISTENER}: the listener has no filter_chains; add one with a tcp_proxy filter`,
  ],
  [
    'a cluster that is not there',
    withLine(11, '                cluster: wbe'),
    `11:26: error: ${TCP_PROXY}.cluster: there is no cluster 'wbe'; define it under static_resources.clusters`,
  ],
  [
    'an IPv4-mapped address of a listener',
    listenerAt("address: '::ffff:127.0.0.1', port_value: 8080"),
    `4:45: error: ${LISTENER}.address.socket_address.address: '::ffff:127.0.0.1' is IPv4 and an IPv6-only socket cannot be bound to it; write 127.0.0.1`,
  ],
  [
    'a link-local endpoint without its zone',
    endpointAt("address: 'fe80::1', port_value: 80"),
    `19:57: error: ${HOST}.address: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0`,
  ],
  [
    'an address that is none',
    endpointAt('address: 10.0.0.256, port_value: 80'),
    `19:57: error: ${HOST}.address: '10.0.0.256' is not an IP address; write it as 10.0.0.1 or fd00::1`,
  ],
  [
    'a host name in a STATIC cluster',
    endpointAt('address: web.example, port_value: 80'),
    `19:57: error: ${HOST}.address: 'web.example' is a host name and a STATIC cluster has IP addresses; write the address, or set type: STRICT_DNS`,
  ],
  [
    'an endpoint on port 0',
    endpointAt('address: 10.0.0.1, port_value: 0'),
    `19:79: error: ${HOST}.port_value: port 0 cannot be connected to; write the port of the endpoint`,
  ],
  [
    'a negative weight',
    withLine(18, '              - load_balancing_weight: -1', '                endpoint:'),
    `18:40: error: ${ENDPOINT}.load_balancing_weight: must be a whole number from 1 to 4294967295, not -1`,
  ],
  [
    'a cluster with an empty list of endpoints',
    firstLines(withLine(17, '          - lb_endpoints: []'), 17),
    `15:9: error: ${CLUSTER}.load_assignment: load_assignment has no endpoints; add one under endpoints[].lb_endpoints`,
  ],
  [
    'a field that is misspelt',
    withLine(14, '      conect_timeout: 5s', '      load_assignment:'),
    `14:7: error: ${CLUSTER}.conect_timeout: Cluster has no field 'conect_timeout'; check the spelling, or remove it`,
  ],
  [
    'a control plane that nothing leads to',
    withLine(1, 'dynamic_resources: { lds_config: { ads: {} } }', 'static_resources:'),
    '1:20: error: dynamic_resources: DynamicResources needs ads_config',
  ],
  [
    'what the engine cannot do',
    withLine(3, '    - name: web', '      transparent: true', '      freebind: true'),
    `4:20: error: ${LISTENER}.transparent: listener web is transparent, which this engine cannot do (not in this engine); remove transparent and redirect with REDIRECT`,
    `3:7: error: ${LISTENER}.socket_options: listener web has socket options, which this engine cannot set (not in this engine); remove them`,
  ],
  [
    'every mistake of a file at once',
    withLine(11, '                cluster: wbe')
      .replace('10.0.0.1', 'fe80::1')
      .replace('stat_prefix', 'prefix'),
    `19:57: error: ${HOST}.address: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0`,
    `9:17: error: ${TCP_PROXY}: TcpProxy needs stat_prefix`,
    `11:26: error: ${TCP_PROXY}.cluster: there is no cluster 'wbe'; define it under static_resources.clusters`,
    `10:17: error: ${TCP_PROXY}.prefix: TcpProxy has no field 'prefix'; check the spelling, or remove it`,
  ],
  [
    'an ambient file, each resource of it',
    [
      'workloads:',
      '- name: a',
      '  namespace: x',
      '  workloadIps: ["fe80::1", "10.0.0.1"]',
      '  protocl: TCP',
      '  capacity: -1',
      '- name: a',
      '  namespace: x',
      '  workloadIps: [10.0.0.2]',
      'policies:',
      '- name: p',
      '  namespace: x',
      '  scope: Namespace',
      '  action: Maybe',
    ].join('\n'),
    '4:17: error: workloads[0].workloadIps[0]: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0',
    "5:3: error: workloads[0].protocl: Workload has no field 'protocl'; check the spelling, or remove it",
    '6:13: error: workloads[0].capacity: capacity is a whole number from 1 to 4294967295, not -1',
    '7:3: error: workloads[1]: uid Kubernetes//Pod/x/a is there already; remove one of the two, or rename it',
    "14:11: error: policies[0].action: must be one of Allow, Deny, not 'Maybe'",
  ],
]

t.test('a good file gives its resources and no problem', async (t) => {
  const { errors, warnings, mesh } = await load({ 'mesh.yaml': GOOD.join('\n') })
  t.strictSame({ errors, warnings }, { errors: [], warnings: [] })
  t.equal(mesh?.dialect, 'envoy')
  t.strictSame(
    mesh?.resources.map(({ kind }) => kind),
    ['listener', 'cluster'],
  )
})

for (const [what, text, ...errors] of MISTAKES) {
  t.test(`refuses ${what}, at its place and with a remedy`, async (t) => {
    const outcome = await load({ 'mesh.yaml': text })
    t.strictSame(
      outcome.errors,
      errors.map((line) => `mesh.yaml:${line}`),
    )
    t.equal(outcome.mesh, undefined)
  })
}

t.test('refuses a transport socket, which would be plain text where TLS was asked for', async (t) => {
  const tls = 'x/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
  const { errors, mesh } = await load({
    'mesh.yaml': withLine(
      14,
      `      transport_socket: { name: tls, typed_config: { '@type': ${tls} } }`,
      '      load_assignment:',
    ),
  })
  t.equal(mesh, undefined)
  t.equal(errors.length, 1)
  t.match(errors[0], /^mesh\.yaml:14:\d+: error: static_resources\.clusters\[0\]\.transport_socket/)
})

t.test('rule 3: an IPv4-mapped endpoint is used as IPv4, with a warning at its place', async (t) => {
  const { errors, warnings, mesh } = await load({
    'mesh.yaml': endpointAt("address: '::ffff:10.0.0.1', port_value: 80"),
  })
  t.strictSame(errors, [])
  t.strictSame(warnings, [
    `mesh.yaml:19:57: warning: ${HOST}.address: '::ffff:10.0.0.1' is IPv4 and is used as 10.0.0.1; write 10.0.0.1`,
  ])
  t.match(mesh?.resources[1], {
    kind: 'cluster',
    upsert: { discovery: { assignment: { endpoints: [{ id: '10.0.0.1:80' }] } } },
  })
})

t.test('an IPv4-mapped listener with ipv4_compat is bound as IPv4, with a warning', async (t) => {
  const { warnings, mesh } = await load({
    'mesh.yaml': listenerAt("address: '::ffff:127.0.0.1', port_value: 8080, ipv4_compat: true"),
  })
  t.match(warnings, [/^mesh\.yaml:4:45: warning: .* is bound as 127\.0\.0\.1/])
  t.match(mesh?.resources[0], { upsert: { addresses: [{ address: { ip: { text: '127.0.0.1' } } }] } })
})

t.test('a file that cannot be read says why', async (t) => {
  const folder = t.testdir()
  for (const [path, why] of [
    [`${folder}/missing.yaml`, 'there is no such file; check the path'],
    [folder, 'it is a directory; name the file in it'],
  ] as const) {
    const { errors, mesh } = await loadMeshFile({ ...fileSystem, capabilities: CAPABILITIES }, path)
    t.strictSame(errors, [`${path}: error: cannot be read: ${why}`])
    t.equal(mesh, undefined)
  }
})

const EDS = firstLines(
  withLine(
    14,
    '      type: EDS',
    '      eds_cluster_config: { eds_config: { path_config_source: { path: eds.yaml } } }',
  ),
  15,
)
const ASSIGNMENT = [
  'resources:',
  "- '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
  '  cluster_name: web',
  '  endpoints:',
  '  - lb_endpoints:',
  '    - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 80 } } }',
].join('\n')

t.test('endpoints come from the file that an EDS cluster names', async (t) => {
  const { errors, files, mesh } = await load({ 'mesh.yaml': EDS, 'eds.yaml': ASSIGNMENT })
  t.strictSame(errors, [])
  t.strictSame(files, ['mesh.yaml', 'eds.yaml'])
  t.strictSame(
    mesh?.resources.map(({ kind }) => kind),
    ['listener', 'cluster', 'assignment'],
  )
})

t.test('a mistake of the EDS file is reported in that file', async (t) => {
  for (const [text, error] of [
    [undefined, 'eds.yaml: error: cannot be read: there is no such file; check the path'],
    [
      ASSIGNMENT.replace('port_value: 80', 'port_value: -1'),
      'eds.yaml:6:79: error: resources[0].endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: must be a whole number from 0 to 65535, not -1',
    ],
    [
      ASSIGNMENT.replace('cluster_name: web', 'cluster_name: wbe'),
      "eds.yaml:2:1: error: resources: there is no ClusterLoadAssignment of cluster_name 'web', which a cluster reads from this file; add one, without endpoints if it has none",
    ],
  ] as const) {
    const { errors, files, mesh } = await load({
      'mesh.yaml': EDS,
      ...(text !== undefined && { 'eds.yaml': text }),
    })
    t.strictSame(errors, [error])
    t.equal(mesh, undefined)
    t.strictSame(files, ['mesh.yaml', 'eds.yaml'], 'the file is worth another look')
  }
})

t.test('the dialect is that of the top of the file', async (t) => {
  for (const [text, dialect] of [
    [GOOD.join('\n'), 'envoy'],
    ['{}', 'envoy'],
    [AMBIENT_MESH_YAML, 'ambient'],
    ['policies: []', 'ambient'],
  ] as const) {
    const { errors, mesh } = await load({ 'mesh.yaml': text })
    t.strictSame(errors, [])
    t.equal(mesh?.dialect, dialect)
  }
})

t.test('a mesh in a variable is read, and its mistakes named after the variable', async (t) => {
  const good = loadInlineMesh('LOCAL_XDS', AMBIENT_MESH_YAML)
  t.strictSame(good.errors, [])
  t.equal(good.mesh?.resources.length, 4)
  const bad = loadInlineMesh('LOCAL_XDS', 'workloads:\n- name: a\n  namespace: 1\n')
  t.match(bad.errors[0], /^LOCAL_XDS:3:14: error: workloads\[0\]\.namespace: must be text, not 1/)
  t.equal(bad.mesh, undefined)
})
