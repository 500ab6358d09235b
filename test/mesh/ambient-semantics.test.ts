/** What the ambient dialect means where istiod's settings meet: modes with mTLS, families with pods, headless services. */
import t from 'tap'

import { formatSocketAddress } from '../../src/core/address.ts'
import { AmbientRouter } from '../../src/mesh/ambient-router.ts'
import { ambientStore } from '../fixtures/ambient-mesh.ts'
import { aListener } from '../fixtures/mesh-builder.ts'
import { factsOf } from '../fixtures/plan-lab.ts'

const OUTBOUND = aListener('outbound', [['0.0.0.0', 15001]], '', { capture: 'redirect', filterChains: [] })
const CLIENT = { name: 'client', namespace: 'web', workloadIps: ['10.0.0.1'], node: 'node-a' }
const KEY = 'shop/echo.shop'

function pod(n: number, fields: object = {}): object {
  return {
    name: `echo-${n}`,
    namespace: 'shop',
    workloadIps: [`10.1.0.${n}`, `fd00:1::${n}`],
    services: { [KEY]: { 80: 8080 } },
    ...fields,
  }
}

function service(fields: object = {}): object {
  return {
    name: 'echo',
    namespace: 'shop',
    hostname: 'echo.shop',
    vips: ['/10.96.0.1', '/fd00:96::1'],
    ports: { 80: 8080 },
    ...fields,
  }
}

/** The endpoints' addresses, an endpoint an item, or the reason of a rejection. */
function outcome(mesh: object, destination: string): readonly string[] {
  const router = new AmbientRouter({ store: ambientStore(mesh) }, { network: '', plaintextPermitted: [] })
  return router
    .plan(factsOf(OUTBOUND, '10.0.0.1:4000', destination))
    .choices.flatMap(({ route }) =>
      route.kind === 'reject'
        ? [route.reason]
        : route.upstream.endpoints.map(({ addresses }) => addresses.map(formatSocketAddress).join(' ')),
    )
}

const mode = (name: string, ...routingPreferences: readonly string[]): object => ({
  loadBalancer: { mode: name, routingPreferences, healthPolicy: 'OnlyHealthy' },
})

t.test('internalTrafficPolicy Local does not leave the node, not even past mTLS', async (t) => {
  const local = pod(1, { node: 'node-a', protocol: 'HBONE' })
  const mesh = {
    workloads: [CLIENT, local, pod(2, { node: 'node-b' })],
    services: [service(mode('Strict', 'Node'))],
  }
  t.strictSame(outcome(mesh, '10.96.0.1:80'), ['mtls_required'])
  const failover = { ...mesh, services: [service(mode('Failover', 'Node'))] }
  t.strictSame(outcome(failover, '10.96.0.1:80'), ['10.1.0.2:8080 [fd00:1::2]:8080'])
})

t.test('endpoints that are not healthy are no reason to ask for mTLS', async (t) => {
  const mesh = {
    workloads: [CLIENT, pod(1, { protocol: 'HBONE', status: 'Unhealthy' })],
    services: [service()],
  }
  t.strictSame(outcome(mesh, '10.96.0.1:80'), ['no_endpoints'])
})

t.test('a pod that is not ready is reached by its own address, as headless services have it', async (t) => {
  const mesh = { workloads: [CLIENT, pod(1, { status: 'Unhealthy' })], services: [service({ vips: [] })] }
  t.strictSame(outcome(mesh, '10.1.0.1:9999'), ['10.1.0.1:9999 [fd00:1::1]:9999'])
  t.strictSame(outcome(mesh, '[fd00:1::1]:8080'), ['[fd00:1::1]:8080 10.1.0.1:8080'])
})

t.test('a service of one family has the endpoints that have it, over that family', async (t) => {
  const workloads = [CLIENT, pod(1), pod(2, { workloadIps: ['10.1.0.2'] })]
  const of = (ipFamilies: string) => ({ workloads, services: [service({ ipFamilies })] })
  t.strictSame(outcome(of('IPv6'), '[fd00:96::1]:80'), ['[fd00:1::1]:8080'])
  t.strictSame(outcome(of('IPv4'), '10.96.0.1:80'), ['10.1.0.1:8080', '10.1.0.2:8080'])
  t.strictSame(outcome(of('Dual'), '[fd00:96::1]:80'), ['10.1.0.1:8080 [fd00:1::1]:8080', '10.1.0.2:8080'])
  const none = {
    workloads: [CLIENT, pod(2, { workloadIps: ['10.1.0.2'] })],
    services: [service({ ipFamilies: 'IPv6' })],
  }
  t.strictSame(outcome(none, '[fd00:96::1]:80'), ['no_endpoints'])
})

t.test('a workload of another network is out of reach without a gateway', async (t) => {
  const mesh = { workloads: [CLIENT, pod(1, { network: 'far' })], services: [service()] }
  t.strictSame(outcome(mesh, '10.96.0.1:80'), ['no_endpoints'])
})

t.test('rule 15: a waypoint is not bypassed, however it is named', async (t) => {
  const waypoints = [
    { waypoint: { destination: '/10.96.0.9', hboneMtlsPort: 15008 } },
    { waypoint: { destination: 'shop/waypoint.shop', hboneMtlsPort: 15008 } },
  ]
  for (const waypoint of waypoints) {
    const throughService = { workloads: [CLIENT, pod(1)], services: [service(waypoint)] }
    t.strictSame(outcome(throughService, '[fd00:96::1]:80'), ['mtls_required'])
    const throughWorkload = { workloads: [CLIENT, pod(1, waypoint)] }
    t.strictSame(outcome(throughWorkload, '10.1.0.1:80'), ['mtls_required'])
  }
})

t.test(
  'ServiceEntry: the longest range that holds an address, of either family, has its endpoints',
  async (t) => {
    const range = (name: string, ...cidrs: readonly string[]): object =>
      service({
        name,
        hostname: `${name}.example`,
        vips: [],
        cidrVips: cidrs.map((cidr) => ({ network: '', cidr })),
      })
    const behind = (n: number, name: string) =>
      pod(n, { services: { [`shop/${name}.example`]: { 80: 8080 } } })
    const mesh = {
      workloads: [CLIENT, behind(1, 'wide'), behind(2, 'narrow')],
      services: [
        range('wide', '192.0.2.0/24', '2001:db8::/32'),
        range('narrow', '192.0.2.8/29', '2001:db8:1::/48'),
      ],
    }
    const wide = ['10.1.0.1:8080 [fd00:1::1]:8080']
    const narrow = ['10.1.0.2:8080 [fd00:1::2]:8080']
    t.strictSame(outcome(mesh, '192.0.2.1:80'), wide)
    t.strictSame(outcome(mesh, '192.0.2.9:80'), narrow)
    t.strictSame(outcome(mesh, '[2001:db8:2::1]:80'), wide)
    t.strictSame(outcome(mesh, '[2001:db8:1::1]:80'), narrow)
    t.strictSame(outcome(mesh, '198.51.100.1:80'), ['198.51.100.1:80'])
  },
)
