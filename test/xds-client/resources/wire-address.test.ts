/** What istio.workload.Address becomes: as a real istiod sends it, and field by field. */
import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { formatCidr } from '../../../src/core/cidr.ts'
import { formatPath } from '../../../src/core/result.ts'
import {
  decodeAddressResource,
  decodeWorkloadResource,
} from '../../../src/xds-client/resources/wire-address.ts'
import { AmbientPools } from '../../../src/xds-client/resources/wire-values.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'
import { wireBytes } from '../../fixtures/wire-bytes.ts'

import type { Test } from 'tap'
import type { Service, Workload } from '../../../src/mesh/workload.ts'
import type { AddressUpsert } from '../../../src/xds-client/resources/wire-address.ts'
import type { WireValue } from '../../fixtures/wire-bytes.ts'

type Fields = Readonly<Record<number, WireValue>>

const WORKLOAD: Fields = { 20: 'uid', 2: 'shop', 3: Uint8Array.of(10, 0, 0, 1) }
const SERVICE: Fields = { 1: 'web', 2: 'shop', 3: 'web.shop' }

/** The resource in the bytes, which have to be free of problems. */
function decode(t: Test, value: Uint8Array, pools = new AmbientPools()): AddressUpsert['upsert'] | undefined {
  const decoded = decodeAddressResource(value, pools)
  t.strictSame(decoded.ok ? [] : decoded.problems, [])
  return decoded.ok ? decoded.value.upsert : undefined
}

function workload(t: Test, fields: Fields, pools?: AmbientPools): Partial<Workload> {
  return decode(t, wireBytes({ 1: wireBytes({ ...WORKLOAD, ...fields }) }), pools) as Workload
}

function service(t: Test, fields: Fields): Partial<Service> {
  return decode(t, wireBytes({ 2: wireBytes({ ...SERVICE, ...fields }) })) as Service
}

function problems(value: Uint8Array): readonly string[] {
  const decoded = decodeAddressResource(value, new AmbientPools())
  return decoded.ok ? [] : decoded.problems.map(({ path, message }) => `${formatPath(path)}: ${message}`)
}

function recorded(t: Test): readonly AddressUpsert[] {
  const pools = new AmbientPools()
  return recordedResources('wds-dual-stack.delta', 'Address').map(({ value }) => {
    const decoded = decodeAddressResource(value, pools)
    if (!decoded.ok) throw new Error(decoded.problems.map(({ message }) => message).join())
    t.ok(decoded.ok)
    return decoded.value
  })
}

t.test(
  'a recorded dual-stack pod has both addresses in order, and the ports of both of its services',
  (t) => {
    const pod = recorded(t).find(
      ({ kind, upsert }) => kind === 'workload' && upsert.uid === 'Kubernetes//Pod/dual-stack/tcp-echo-0',
    )
    const ports = new Map([
      [9000, 9000],
      [9001, 9001],
    ])
    t.strictSame(pod?.upsert, {
      uid: 'Kubernetes//Pod/dual-stack/tcp-echo-0',
      name: 'tcp-echo-0',
      namespace: 'dual-stack',
      addresses: [parseIp('10.244.2.2'), parseIp('fd00:10:244:2::2')],
      hostname: '',
      network: '',
      protocol: 'hbone',
      trustDomain: 'cluster.local',
      serviceAccount: 'tcp-echo',
      node: 'node-b',
      clusterId: 'Kubernetes',
      canonicalName: 'tcp-echo',
      canonicalRevision: 'v1',
      workloadName: 'tcp-echo-0',
      workloadType: 'pod',
      status: 'healthy',
      isHostNetwork: false,
      isNativeTunnel: false,
      locality: { region: 'r1', zone: 'z1', subzone: '' },
      capacity: 1,
      services: new Map([
        ['dual-stack/tcp-echo-headless.dual-stack.svc.cluster.local', ports],
        ['dual-stack/tcp-echo.dual-stack.svc.cluster.local', ports],
      ]),
      authorizationPolicies: [],
    })
    t.end()
  },
)

t.test('recorded services have the virtual addresses of their families, IPv6 first where it is so', (t) => {
  const services = recorded(t).flatMap(({ kind, upsert }) => (kind === 'service' ? [upsert] : []))
  t.strictSame(
    services.map(({ namespace, name, vips, families, ports }) => [
      `${namespace}/${name}`,
      vips.map(({ network, ip }) => `${network}/${ip.text}`).join(' '),
      families,
      [...ports].map((each) => each.join('>')).join(' '),
    ]),
    [
      ['ipv6/tcp-echo', '/fd00:10:96::f9fd', 'ipv6', '9000>9000 9001>9001'],
      ['default/kubernetes', '/10.96.0.1', 'ipv4', '443>26443'],
      ['default/sleep', '/10.96.0.80', 'ipv4', '80>80'],
      ['dual-stack/tcp-echo', '/fd00:10:96::f9fc /10.96.106.11', 'dual', '9000>9000 9001>9001'],
      ['dual-stack/tcp-echo-headless', '', 'dual', '9000>9000 9001>9001'],
      ['ipv4/tcp-echo', '/10.96.106.12', 'ipv4', '9000>9000 9001>9001'],
    ],
  )
  t.end()
})

const hostname = wireBytes({ 1: 'istio-system', 2: 'gateway.istio-system' })
const networkAddress = wireBytes({ 1: 'net', 2: Uint8Array.of(10, 0, 0, 9) })

/** Field numbers, what is in them, what the workload then holds. */
const workloadFields: readonly (readonly [string, Fields, Partial<Workload>])[] = [
  ['a name', { 1: 'web-1' }, { name: 'web-1' }],
  ['a network', { 4: 'net' }, { network: 'net' }],
  ['no tunnel', { 5: 0 }, { protocol: 'tcp' }],
  ['HBONE', { 5: 1 }, { protocol: 'hbone' }],
  ['legacy mTLS as something that is not plain text', { 5: 2 }, { protocol: 'hbone' }],
  ['an unknown tunnel as something that is not plain text', { 5: 77 }, { protocol: 'hbone' }],
  ['a trust domain', { 6: 'td' }, { trustDomain: 'td' }],
  ['a service account', { 7: 'sa' }, { serviceAccount: 'sa' }],
  ['a node', { 9: 'n1' }, { node: 'n1' }],
  ['a canonical name', { 10: 'web', 11: 'v2' }, { canonicalName: 'web', canonicalRevision: 'v2' }],
  ['a workload type', { 12: 3, 13: 'web' }, { workloadType: 'job', workloadName: 'web' }],
  ['an unknown workload type', { 12: 9 }, { workloadType: 'deployment' }],
  ['a native tunnel', { 14: true }, { isNativeTunnel: true }],
  ['policies', { 16: ['a/b', 'c/d'] }, { authorizationPolicies: ['a/b', 'c/d'] }],
  ['an unhealthy status', { 17: 1 }, { status: 'unhealthy' }],
  ['an unknown status', { 17: 8 }, { status: 'healthy' }],
  ['a cluster', { 18: 'c1' }, { clusterId: 'c1' }],
  ['the network of the host', { 25: 1 }, { isHostNetwork: true }],
  ['a capacity', { 27: wireBytes({ 1: 7 }) }, { capacity: 7 }],
  [
    'a locality',
    { 24: wireBytes({ 1: 'r', 3: 's' }) },
    { locality: { region: 'r', zone: '', subzone: 's' } },
  ],
  ['a hostname', { 21: 'db.example' }, { hostname: 'db.example' }],
  [
    'a waypoint by host name, on the port of HBONE',
    { 8: wireBytes({ 1: hostname }) },
    {
      waypoint: {
        kind: 'hostname',
        namespace: 'istio-system',
        hostname: 'gateway.istio-system',
        hbonePort: 15_008,
      },
    },
  ],
  [
    'a network gateway by address',
    { 19: wireBytes({ 2: networkAddress, 3: 15_443 }) },
    {
      networkGateway: {
        kind: 'address',
        address: { network: 'net', ip: parseIp('10.0.0.9') },
        hbonePort: 15_443,
      },
    },
  ],
  [
    'a waypoint of an unknown kind, which nothing can go around',
    { 8: wireBytes({ 9: 'new' }) },
    { waypoint: { kind: 'hostname', namespace: '', hostname: '', hbonePort: 15_008 } },
  ],
  [
    'an application tunnel',
    { 23: wireBytes({ 1: 1, 2: 15_088 }) },
    { applicationTunnel: { protocol: 'proxy', port: 15_088 } },
  ],
  [
    'services with their ports',
    {
      22: wireBytes({ 1: 'a/b', 2: wireBytes({ 1: [wireBytes({ 1: 80, 2: 8080 }), wireBytes({ 1: 81 })] }) }),
    },
    {
      services: new Map([
        [
          'a/b',
          new Map([
            [80, 8080],
            [81, 0],
          ]),
        ],
      ]),
    },
  ],
  ['IPv4-mapped bytes as IPv4', { 3: mapped(10, 1, 2, 3) }, { addresses: [parseIp('10.1.2.3')] }],
  ['a field of the wrong type as one that is not known', { 5: 'text', 1: 4 }, { protocol: 'tcp', name: '' }],
  ['fields of a newer istiod', { 26: 'x', 90: 'y', 91: 1 }, { uid: 'uid' }],
]

for (const [what, fields, expected] of workloadFields) {
  t.test(`reads a workload with ${what}`, (t) => {
    const decoded = workload(t, fields)
    for (const [name, value] of Object.entries(expected))
      t.strictSame(decoded[name as keyof Workload], value, name)
    t.end()
  })
}

const vip = wireBytes({ 2: Uint8Array.of(10, 0, 0, 1) })

const serviceFields: readonly (readonly [string, Fields, Partial<Service>])[] = [
  ['ports', { 5: [wireBytes({ 1: 80, 2: 8080, 3: 1 })] }, { ports: new Map([[80, 8080]]) }],
  ['alternative names', { 6: ['a', 'b'] }, { subjectAltNames: ['a', 'b'] }],
  ['a virtual address', { 4: vip }, { vips: [{ network: '', ip: parseIp('10.0.0.1') }], cidrVips: [] }],
  [
    'a range of one address as an address',
    { 4: wireBytes({ 1: 'n', 2: Uint8Array.of(10, 0, 0, 1), 3: 32 }) },
    { vips: [{ network: 'n', ip: parseIp('10.0.0.1') }], cidrVips: [] },
  ],
  [
    'load balancing',
    { 8: wireBytes({ 1: Uint8Array.of(6, 1, 2), 2: 2, 3: 1 }) },
    {
      loadBalancing: {
        routingPreferences: ['network', 'region', 'zone'],
        mode: 'failover',
        healthPolicy: 'allow-all',
      },
    },
  ],
  [
    'load balancing in unknown words',
    { 8: wireBytes({ 1: [4, 99], 2: 9, 3: 9 }) },
    { loadBalancing: { routingPreferences: ['node'], mode: 'standard', healthPolicy: 'only-healthy' } },
  ],
  ['one family', { 9: 2 }, { families: 'ipv6' }],
  ['unknown families', { 9: 7 }, { families: 'automatic' }],
  ['a canonical mark', { 11: true, 12: true }, { isCanonical: true }],
  ['a visibility', { 14: 1 }, { visibility: 'namespace' }],
  ['an unknown visibility', { 14: 5 }, { visibility: 'public' }],
  [
    'weighted waypoints, which go before the only one',
    {
      7: wireBytes({ 2: networkAddress }),
      13: wireBytes({ 1: wireBytes({ 1: hostname }), 2: 3 }),
    },
    {
      waypoint: {
        kind: 'hostname',
        namespace: 'istio-system',
        hostname: 'gateway.istio-system',
        hbonePort: 15_008,
      },
    },
  ],
]

for (const [what, fields, expected] of serviceFields) {
  t.test(`reads a service with ${what}`, (t) => {
    const decoded = service(t, fields)
    for (const [name, value] of Object.entries(expected))
      t.strictSame(decoded[name as keyof Service], value, name)
    t.end()
  })
}

t.test('a range of virtual addresses has its host bits cleared', (t) => {
  const range = wireBytes({ 2: Uint8Array.of(10, 1, 2, 3), 3: 8 })
  t.strictSame(
    service(t, { 4: range }).cidrVips?.map(({ cidr }) => formatCidr(cidr)),
    ['10.0.0.0/8'],
  )
  t.end()
})

t.test('replicas share their namespace, locality, services and policies', (t) => {
  const pools = new AmbientPools()
  const fields = {
    16: ['a/b'],
    22: wireBytes({ 1: 'a/b', 2: wireBytes({ 1: wireBytes({ 1: 80, 2: 8080 }) }) }),
    24: wireBytes({ 1: 'r' }),
  }
  const first = workload(t, { ...fields, 20: 'one' }, pools)
  const second = workload(t, { ...fields, 20: 'two' }, pools)
  t.equal(first.services, second.services)
  t.equal(first.locality, second.locality)
  t.equal(first.authorizationPolicies, second.authorizationPolicies)
  t.end()
})

t.test('a problem with what replicas share is told for each of them', (t) => {
  const pools = new AmbientPools()
  const bad = wireBytes({ 1: wireBytes({ ...WORKLOAD, 16: 'p', 22: wireBytes({ 1: 'x' }) }) })
  for (const decoded of [decodeAddressResource(bad, pools), decodeAddressResource(bad, pools)])
    t.equal(decoded.ok ? 0 : decoded.problems.length, 2)
  t.end()
})

t.test('decodes a Workload that stands by itself', (t) => {
  const decoded = decodeWorkloadResource(wireBytes(WORKLOAD), new AmbientPools())
  t.match(decoded, { ok: true, value: { kind: 'workload', upsert: { uid: 'uid', namespace: 'shop' } } })
  t.end()
})

const badInputs: readonly (readonly [string, Uint8Array, readonly string[]])[] = [
  ['no bytes', new Uint8Array(), [': an Address needs a workload or a service']],
  ['a type that is not known', wireBytes({ 3: 'x' }), [': an Address needs a workload or a service']],
  [
    'a workload without address, name and uid',
    wireBytes({ 1: new Uint8Array() }),
    [
      'workload: a workload needs an address, a hostname or a networkGateway, else nothing reaches it',
      'workload: a workload needs a uid, or a name to derive it from',
    ],
  ],
  [
    'an address of five bytes',
    wireBytes({ 1: wireBytes({ ...WORKLOAD, 3: [Uint8Array.of(1, 2, 3, 4), new Uint8Array(5)] }) }),
    ['workload.addresses: an IP address has 4 or 16 bytes, not 5'],
  ],
  [
    'a link-local address',
    wireBytes({
      1: wireBytes({ ...WORKLOAD, 3: Uint8Array.from([0xfe, 0x80, ...Array<number>(13).fill(0), 1]) }),
    }),
    [
      'workload.addresses: fe80::1 is link-local and names no host without its interface; append it, as fe80::1%eth0',
      'workload: a workload needs an address, a hostname or a networkGateway, else nothing reaches it',
    ],
  ],
  [
    'a capacity of 0',
    wireBytes({ 1: wireBytes({ ...WORKLOAD, 27: new Uint8Array() }) }),
    ['workload.capacity: capacity is a whole number from 1 to 4294967295, not 0'],
  ],
  [
    'keys without a namespace',
    wireBytes({ 1: wireBytes({ ...WORKLOAD, 16: 'p', 22: wireBytes({ 1: 'svc' }) }) }),
    [
      "workload.services.svc: 'svc' must have the form namespace/hostname",
      "workload.authorization_policies[0]: 'p' must have the form namespace/name",
    ],
  ],
  [
    'ports out of range',
    wireBytes({
      1: wireBytes({
        ...WORKLOAD,
        22: wireBytes({
          1: 'a/b',
          2: wireBytes({ 1: [wireBytes({ 2: 1 }), wireBytes({ 1: 80, 2: 70_000 })] }),
        }),
      }),
    }),
    [
      'workload.services.a/b.0: a service port is a whole number from 1 to 65535',
      'workload.services.a/b.80: a target port is a whole number from 0 to 65535',
    ],
  ],
  [
    'a gateway port out of range',
    wireBytes({ 1: wireBytes({ ...WORKLOAD, 8: wireBytes({ 1: hostname, 3: 70_000 }) }) }),
    ['workload.waypoint.hbone_mtls_port: a port is at most 65535, not 70000'],
  ],
  [
    'a gateway without an address in its address',
    wireBytes({ 1: wireBytes({ ...WORKLOAD, 19: wireBytes({ 2: wireBytes({ 1: 'n' }) }) }) }),
    ['workload.network_gateway.address: a NetworkAddress needs an address'],
  ],
  [
    'a service without names',
    wireBytes({ 2: wireBytes({}) }),
    [
      'service.name: a service needs a name that is not empty',
      'service.namespace: a service needs a namespace that is not empty',
      'service.hostname: a service needs a hostname that is not empty',
    ],
  ],
  [
    'a service port that is given twice',
    wireBytes({ 2: wireBytes({ ...SERVICE, 5: [wireBytes({ 1: 80 }), wireBytes({ 1: 80 })] }) }),
    ['service.ports.80: service port 80 is given twice'],
  ],
  [
    'a range that is longer than its address',
    wireBytes({ 2: wireBytes({ ...SERVICE, 4: wireBytes({ 2: Uint8Array.of(10, 0, 0, 1), 3: 33 }) }) }),
    ['service.addresses[0].length: a prefix of 10.0.0.1 has 0 to 32 bits, not 33'],
  ],
  [
    'bytes that end too early',
    wireBytes({ 1: wireBytes(WORKLOAD) }).subarray(0, 9),
    [': the bytes are no message of the type: a message of 18 bytes does not fit into the one around it'],
  ],
]

for (const [what, value, expected] of badInputs) {
  t.test(`refuses ${what}, with place`, (t) => {
    t.strictSame(problems(value), expected)
    t.end()
  })
}

function mapped(...ipv4: readonly number[]): Uint8Array {
  return Uint8Array.from([...Array<number>(10).fill(0), 255, 255, ...ipv4])
}
