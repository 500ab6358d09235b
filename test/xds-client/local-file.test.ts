import t from 'tap'
import { parse } from 'yaml'

import { formatPath } from '../../src/core/result.ts'
import { MeshStore } from '../../src/mesh/store.ts'
import { LOCAL_FILE_KINDS, decodeLocalFile } from '../../src/xds-client/local-file.ts'
import { AMBIENT_MESH_YAML } from '../fixtures/ambient-mesh.ts'

import type { AuthorizationPolicy, Service, Workload } from '../../src/mesh/workload.ts'

interface Decoded {
  readonly problems: readonly string[]
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  readonly policies: readonly AuthorizationPolicy[]
}

function decode(document: unknown): Decoded {
  const { report, resources } = decodeLocalFile(document)
  return {
    problems: report.problems.map(
      ({ severity, path, message }) => `${severity} ${formatPath(path)}: ${message}`,
    ),
    workloads: resources.flatMap((resource) => (resource.kind === 'workload' ? [resource.upsert] : [])),
    services: resources.flatMap((resource) => (resource.kind === 'service' ? [resource.upsert] : [])),
    policies: resources.flatMap((resource) => (resource.kind === 'policy' ? [resource.upsert] : [])),
  }
}

const WORKLOAD = { name: 'echo', namespace: 'default', workloadIps: ['10.0.0.1'] }
const SERVICE = {
  name: 'echo',
  namespace: 'default',
  hostname: 'echo.default',
  vips: ['/10.96.0.1'],
  ports: { 80: 8080 },
}
const POLICY = { name: 'p', namespace: 'default', scope: 'Namespace', action: 'Deny', rules: [] }

t.test('a file as ztunnel reads it becomes the model', async (t) => {
  const { problems, workloads, services, policies } = decode(parse(AMBIENT_MESH_YAML))
  t.strictSame(problems, [])

  const [dual, single] = workloads
  t.match(dual, {
    uid: 'Kubernetes//Pod/shop/cart-0',
    protocol: 'tcp',
    serviceAccount: 'cart',
    trustDomain: 'cluster.local',
    clusterId: 'Kubernetes',
    workloadType: 'pod',
    status: 'healthy',
    capacity: 1,
    isHostNetwork: false,
  })
  t.strictSame(
    dual?.addresses.map(({ text }) => text),
    ['10.1.0.10', 'fd00:10:1::10'],
  )
  t.strictSame(dual?.services.get('shop/cart.shop.svc.cluster.local'), new Map([[80, 8080]]))
  t.match(single, {
    uid: 'Kubernetes//Pod/shop/cart-1',
    protocol: 'hbone',
    capacity: 3,
    authorizationPolicies: ['shop/only-web'],
  })

  const [service] = services
  t.match(service, {
    families: 'dual',
    isCanonical: true,
    visibility: 'public',
    loadBalancing: {
      mode: 'failover',
      routingPreferences: ['network', 'region'],
      healthPolicy: 'only-healthy',
    },
  })
  t.strictSame(
    service?.vips.map(({ network, ip }) => `${network}/${ip.text}`),
    ['/10.96.0.10', '/fd00:96::10'],
  )
  t.strictSame(service?.ports, new Map([[80, 8080]]))

  const [policy] = policies
  t.match(policy, { scope: 'workload-selector', action: 'allow', isDryRun: false })
  const [[[first] = [], [second] = []] = []] = policy?.rules ?? []
  t.match(first, { namespaces: [{ kind: 'exact', value: 'web' }], isUnknown: false })
  t.strictSame(
    first?.sourceIps.map(({ base, prefixLength }) => `${base.text}/${prefixLength}`),
    ['10.0.0.0/8', 'fd00::/8'],
  )
  t.match(second, { destinationPorts: [8080], notPrincipals: [{ kind: 'presence' }] })
})

t.test('the decoded file is one batch of the store', async (t) => {
  const store = new MeshStore()
  store.replace(LOCAL_FILE_KINDS, decodeLocalFile(parse(AMBIENT_MESH_YAML)).resources)
  t.equal(store.snapshot.workload.size, 2)
  const change = store.replace(LOCAL_FILE_KINDS, decodeLocalFile({}).resources)
  t.strictSame([...change.keys()].sort(), ['policy', 'service', 'workload'])
})

t.test('every list is optional', async (t) => {
  for (const document of [undefined, null, {}, { workloads: [] }, { services: null }]) {
    t.strictSame(decode(document), { problems: [], workloads: [], services: [], policies: [] })
  }
})

t.test('a workload takes what ztunnel dumps of it', async (t) => {
  const { problems, workloads } = decode({
    workloads: [
      {
        ...WORKLOAD,
        uid: 'c//Pod/default/echo',
        networkMode: 'HostNetwork',
        workloadType: 'deployment',
        workloadName: 'echo',
        nativeTunnel: true,
        applicationTunnel: { protocol: 'PROXY', port: 15088 },
        status: 'Unhealthy',
        locality: { region: 'r', zone: 'z', subzone: 's' },
        waypoint: { destination: 'default/waypoint.default.svc.cluster.local', hboneMtlsPort: 15008 },
        networkGateway: { destination: 'remote/fd00::9', hboneMtlsPort: 15009 },
      },
    ],
  })
  t.strictSame(problems, [])
  t.match(workloads[0], {
    isHostNetwork: true,
    isNativeTunnel: true,
    workloadType: 'deployment',
    status: 'unhealthy',
    applicationTunnel: { protocol: 'proxy', port: 15088 },
    locality: { region: 'r', zone: 'z', subzone: 's' },
    waypoint: { kind: 'hostname', namespace: 'default', hostname: 'waypoint.default.svc.cluster.local' },
    networkGateway: {
      kind: 'address',
      address: { network: 'remote', ip: { text: 'fd00::9' } },
      hbonePort: 15009,
    },
  })
})

t.test('a service takes what ztunnel dumps of it', async (t) => {
  const { problems, services } = decode({
    services: [
      {
        ...SERVICE,
        vips: ['net/10.0.0.1', '10.0.0.2', '/fd00::1', '/fd00::1'],
        cidrVips: [
          { network: '', cidr: '10.9.0.0/16' },
          { network: '', cidr: '10.0.0.3/32' },
        ],
        endpoints: { uid: { workloadUid: 'uid', port: {}, status: 'Healthy' } },
        visibility: 'namespace',
        ipFamilies: 'IPv6',
        loadBalancer: { routingPreferences: ['Node'], mode: 'STRICT', healthPolicy: 'AllowAll' },
        weightedWaypoints: [{ destination: { destination: '/10.0.0.9', hboneMtlsPort: 15008 }, weight: 1 }],
      },
    ],
  })
  t.strictSame(problems, [])
  const [service] = services
  t.strictSame(
    service?.vips.map(({ network, ip }) => `${network}/${ip.text}`),
    ['net/10.0.0.1', '/10.0.0.2', '/fd00::1', '/10.0.0.3'],
    'one address written as a range is an address, and none is there twice',
  )
  t.equal(service?.cidrVips.length, 1)
  t.match(service, {
    visibility: 'namespace',
    families: 'ipv6',
    loadBalancing: { mode: 'strict', routingPreferences: ['node'], healthPolicy: 'allow-all' },
    waypoint: { kind: 'address' },
  })
})

t.test('rule 3: addresses are canonical once, and an IPv4-mapped one is told', async (t) => {
  const { problems, workloads, services, policies } = decode({
    workloads: [{ ...WORKLOAD, workloadIps: ['::ffff:10.0.0.1', '10.0.0.1', 'FD00:0::1', 'fe80::1%eth0'] }],
    services: [{ ...SERVICE, vips: ['/::ffff:10.96.0.1'] }],
    policies: [{ ...POLICY, rules: [[[{ sourceIps: ['::ffff:10.0.0.0/104'] }]]] }],
  })
  t.strictSame(
    workloads[0]?.addresses.map(({ text }) => text),
    ['10.0.0.1', 'fd00::1', 'fe80::1%eth0'],
  )
  t.equal(services[0]?.vips[0]?.ip.text, '10.96.0.1')
  t.equal(policies[0]?.rules[0]?.[0]?.[0]?.sourceIps[0]?.base.text, '10.0.0.0')
  t.strictSame(problems, [
    "warning workloads[0].workloadIps[0]: '::ffff:10.0.0.1' is IPv4 and is used as 10.0.0.1; write 10.0.0.1",
    "warning services[0].vips[0]: '::ffff:10.96.0.1' is IPv4 and is used as 10.96.0.1; write 10.96.0.1",
    "warning policies[0].rules[0][0][0].sourceIps[0]: '::ffff:10.0.0.0/104' is IPv4 and is used as 10.0.0.0/8; write 10.0.0.0/8",
  ])
})

t.test('each mistake is told with its place and the remedy', async (t) => {
  const workload = (fields: object): object => ({ workloads: [{ ...WORKLOAD, ...fields }] })
  const service = (fields: object): object => ({ services: [{ ...SERVICE, ...fields }] })
  const policy = (fields: object): object => ({ policies: [{ ...POLICY, ...fields }] })
  const match = (fields: object): object => policy({ rules: [[[fields]]] })
  const cases: readonly (readonly [unknown, string])[] = [
    ['text', ": must be a local file message (a map), not 'text'"],
    [{ workload: [] }, "workload: local file has no field 'workload'; check the spelling, or remove it"],
    [{ workloads: {} }, 'workloads: must be a list, not a map'],
    [{ workloads: ['x'] }, "workloads[0]: must be a Workload message (a map), not 'x'"],
    [
      workload({ workloadIp: '10.0.0.1' }),
      "workloads[0].workloadIp: Workload has no field 'workloadIp'; check the spelling, or remove it",
    ],
    [workload({ namespace: undefined }), 'workloads[0]: Workload needs namespace'],
    [workload({ name: '' }), 'workloads[0]: a workload needs a uid, or a name to derive it from'],
    [
      workload({ workloadIps: ['10.0.0'] }),
      "workloads[0].workloadIps[0]: '10.0.0' is not an IP address; write it as 10.0.0.1 or fd00::1",
    ],
    [
      workload({ workloadIps: ['fe80::1'] }),
      'workloads[0].workloadIps[0]: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0',
    ],
    [
      workload({ workloadIps: [] }),
      'workloads[0]: a workload needs an address, a hostname or a networkGateway, else nothing reaches it',
    ],
    [workload({ protocol: 'LEGACY' }), "workloads[0].protocol: must be one of TCP, HBONE, not 'LEGACY'"],
    [
      workload({ capacity: 0 }),
      'workloads[0].capacity: capacity is a whole number from 1 to 4294967295, not 0',
    ],
    [workload({ services: ['default/echo'] }), 'workloads[0].services: must be a map, not a list'],
    [
      workload({ services: { echo: { 80: 80 } } }),
      "workloads[0].services.echo: 'echo' must have the form namespace/hostname",
    ],
    [
      workload({ services: { 'a/b': { 0: 80 } } }),
      'workloads[0].services.a/b.0: a service port is a whole number from 1 to 65535',
    ],
    [
      workload({ services: { 'a/b': { http: 80 } } }),
      'workloads[0].services.a/b.http: a service port is a whole number from 1 to 65535',
    ],
    [
      workload({ services: { 'a/b': { 80: 65_536 } } }),
      'workloads[0].services.a/b.80: must be a whole number from 0 to 65535, not 65536',
    ],
    [
      workload({ authorizationPolicies: ['p'] }),
      "workloads[0].authorizationPolicies[0]: 'p' must have the form namespace/name",
    ],
    [workload({ waypoint: { hboneMtlsPort: 1 } }), 'workloads[0].waypoint: GatewayAddress needs destination'],
    [
      workload({ waypoint: { destination: 'net/10.0.0.256' } }),
      "workloads[0].waypoint.destination: '10.0.0.256' is not an IP address; write it as 10.0.0.1 or fd00::1",
    ],
    [
      { workloads: [WORKLOAD, WORKLOAD] },
      'workloads[1]: uid Kubernetes//Pod/default/echo is there already; remove one of the two, or rename it',
    ],
    [service({ hostname: undefined }), 'services[0]: Service needs hostname'],
    [service({ hostname: 'a/b' }), "services[0]: hostname 'a/b' must not contain '/'"],
    [
      service({ vips: ['10.0.0.0/24'] }),
      "services[0].vips[0]: '10.0.0.0/24' is a range; write one address as network/ip, and a range in cidrVips",
    ],
    [
      service({ vips: ['/echo'] }),
      "services[0].vips[0]: 'echo' is not an IP address; write it as 10.0.0.1 or fd00::1",
    ],
    [
      service({ cidrVips: [{ network: '', cidr: '10.0.0.0/33' }] }),
      'services[0].cidrVips[0].cidr: a prefix of 10.0.0.0 has 0 to 32 bits, not 33',
    ],
    [
      service({ ports: { 70000: 80 } }),
      'services[0].ports.70000: a service port is a whole number from 1 to 65535',
    ],
    [service({ ipFamilies: 'both' }), "services[0].ipFamilies: must be one of IPv4, IPv6, Dual, not 'both'"],
    [
      service({ loadBalancer: { mode: 'Random' } }),
      "services[0].loadBalancer.mode: must be one of Standard, Strict, Failover, Passthrough, not 'Random'",
    ],
    [
      { services: [SERVICE, SERVICE] },
      'services[1]: service default/echo.default is there already; remove one of the two, or rename it',
    ],
    [policy({ scope: undefined }), 'policies[0]: Authorization needs scope'],
    [policy({ action: 'Audit' }), "policies[0].action: must be one of Allow, Deny, not 'Audit'"],
    [policy({ rules: [[{ namespaces: [] }]] }), 'policies[0].rules[0][0]: must be a list, not a map'],
    [
      match({ paths: ['/'] }),
      "policies[0].rules[0][0][0].paths: Match has no field 'paths'; check the spelling, or remove it",
    ],
    [match({ namespaces: ['web'] }), "policies[0].rules[0][0][0].namespaces[0]: must be a map, not 'web'"],
    [
      match({ namespaces: [{ Regex: 'a' }] }),
      "policies[0].rules[0][0][0].namespaces[0].Regex: must be one of Exact, Prefix, Suffix, Presence, not 'Regex'",
    ],
    [
      match({ namespaces: [{ Exact: 'a', Prefix: 'b' }] }),
      'policies[0].rules[0][0][0].namespaces[0]: a text match has exactly one of Exact, Prefix, Suffix, Presence',
    ],
    [
      match({ sourceIps: ['::ffff:0:0/90'] }),
      "policies[0].rules[0][0][0].sourceIps[0]: '::ffff:0:0/90' covers addresses of both families; write the IPv4 and the IPv6 prefix apart",
    ],
    [
      match({ destinationPorts: [0] }),
      'policies[0].rules[0][0][0].destinationPorts[0]: must be a whole number from 1 to 65535, not 0',
    ],
    [
      { policies: [POLICY, POLICY] },
      'policies[1]: policy default/p is there already; remove one of the two, or rename it',
    ],
  ]
  for (const [document, expected] of cases) {
    const errors = decode(document).problems.filter((problem) => problem.startsWith('error'))
    t.ok(errors.includes(`error ${expected}`), expected, { errors })
  }
})
