/** Where connections go by what a real istiod sends to a sidecar: recorded bytes in, routes out. */
import t from 'tap'

import { formatSocketAddress, parseIp, parseSocketAddress } from '../../../src/core/address.ts'
import { EnvoyRouter } from '../../../src/mesh/envoy-router.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { loadEnvoySchema } from '../../../src/xds-client/reading/envoy-schema.ts'
import { ORDER_TIMEOUT_MS } from '../../../src/xds-client/sinks/envoy-resources.ts'
import { EnvoySink } from '../../../src/xds-client/sinks/envoy-sink.ts'
import { envoyDecoders } from '../../../src/xds-client/sinks/wire-decoders.ts'
import { addressOf, envoyBytes, struct } from '../../fixtures/envoy-wire.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { replay } from '../../fixtures/recorded-mesh.ts'

import type { Route } from '../../../src/mesh/router.ts'
import type { EncodedResource } from '../../../src/xds-client/discovery.ts'

const DECODERS = envoyDecoders(loadEnvoySchema())
const SLEEP = ['10.244.1.2', 'fd00:10:244:1::2']
const TCP_ECHO = ['10.244.2.2', 'fd00:10:244:2::2']
const DUAL_STACK = 'outbound|9000||tcp-echo.dual-stack.svc.cluster.local'
const SLEEP_HTTP = 'outbound|80||sleep.default.svc.cluster.local'

async function start(
  file: string,
  ownAddresses: readonly string[],
  plaintextPermitted: readonly string[] = [],
) {
  const store = new MeshStore()
  const clock = new FakeClock()
  const wanted: (readonly string[])[] = []
  const sink = new EnvoySink({
    store,
    clock,
    nextTurn: () => Promise.resolve(),
    decoders: DECODERS,
    namesWanted: (_, names) => wanted.push(names),
  })
  const rejections = await replay(file, sink)
  const router = new EnvoyRouter({ store }, { ownAddresses: ownAddresses.map(parseIp), plaintextPermitted })
  const route = (listenerName: string, destination: string): Route => {
    const listener = store.snapshot.listener.get(listenerName)
    if (listener === undefined) throw new Error(`there is no listener ${listenerName}`)
    const client = parseSocketAddress(
      destination.startsWith('[') ? '[2001:db8::7]:4000' : '198.51.100.7:4000',
    )
    const [choice] = router.plan({ listener, client, destination: parseSocketAddress(destination) }).choices
    if (choice === undefined) throw new Error('a plan has a choice')
    return choice.route
  }
  return { store, clock, sink, wanted, rejections, route }
}

/** `cluster: address address`, or the reason of a rejection and what was missing. */
function outcome(route: Route): string {
  if (route.kind === 'reject') return `${route.reason}: ${route.detail}`
  const { name, endpoints } = route.upstream
  return `${name}: ${endpoints.flatMap(({ addresses }) => addresses.map(formatSocketAddress)).join(' ')}`
}

t.test('takes everything that istiod sends to a sidecar', async (t) => {
  const { store, clock, sink, wanted, rejections } = await start('sidecar-sleep-dual-stack.sotw', SLEEP)
  t.strictSame(rejections, [])
  t.equal(store.snapshot.cluster.size, 15)
  t.equal(store.snapshot.listener.size, 19)
  t.equal(wanted.length, 1, 'the names of all assignments were asked for at once')
  t.equal(wanted[0]?.length, 8)
  t.equal(store.snapshot.assignment.size, 8, 'of the 10 that came, those that clusters need')
  t.equal(store.snapshot.name.size, 6)
  t.equal(clock.pendingTimers, 0)
  t.ok(sink.ignoredFields(TYPE_URLS.listener).size > 0, 'what has no meaning here is listed')
})

t.test(
  'initial_fetch_timeout 0: listeners do not wait for ever for assignments that do not come',
  async (t) => {
    const { store, clock, rejections, route } = await start('sidecar-sleep-dual-stack.delta', SLEEP)
    t.strictSame(rejections, [])
    t.notOk(store.snapshot.listener.has('10.96.106.12_9000'))
    clock.advance(ORDER_TIMEOUT_MS)
    t.equal(store.snapshot.listener.size, 19)
    t.notOk(store.snapshot.cluster.has(DUAL_STACK))
    t.equal(outcome(route('virtualOutbound', '10.96.106.11:9000')), `no_cluster: cluster ${DUAL_STACK}`)
  },
)

t.test('the listener of a service answers for both of its virtual addresses', async (t) => {
  const { route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP, ['*'])
  const expected = `${DUAL_STACK}: 10.244.2.2:9000 10.244.2.6:9000`
  t.equal(outcome(route('virtualOutbound', '10.96.106.11:9000')), expected)
  t.equal(outcome(route('virtualOutbound', '[fd00:10:96::f9fc]:9000')), expected)
  t.match(route('virtualOutbound', '10.96.106.11:9000').labels, {
    service: { name: 'tcp-echo', namespace: 'dual-stack' },
  })
  const ipv6 = 'outbound|9000||tcp-echo.ipv6.svc.cluster.local'
  t.equal(outcome(route('virtualOutbound', '[fd00:10:96::f9fd]:9000')), `${ipv6}: [fd00:10:244:2::4]:9000`)
})

t.test('rule 15: endpoints behind mTLS or HBONE are refused, others are not', async (t) => {
  const { route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP)
  for (const destination of ['10.96.106.11:9000', '[fd00:10:96::f9fc]:9000'])
    t.match(outcome(route('virtualOutbound', destination)), /^mtls_required: cluster outbound\|9000\|\|/)
  t.equal(
    outcome(route('virtualOutbound', '10.96.0.1:443')),
    'outbound|443||kubernetes.default.svc.cluster.local: 192.0.2.2:26443',
  )
  const { route: permitted } = await start('sidecar-sleep-dual-stack.sotw', SLEEP, ['dual-stack'])
  t.equal(permitted('virtualOutbound', '10.96.106.11:9000').kind, 'upstream')
  t.equal(permitted('virtualOutbound', '10.96.106.12:9000').kind, 'reject')
})

t.test('a wildcard listener answers for every address of its family and port', async (t) => {
  const { route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP)
  for (const destination of ['203.0.113.9:80', '[2001:db8::9]:80']) {
    const routed = route('virtualOutbound', destination)
    t.equal(outcome(routed), `PassthroughCluster: ${destination}`)
    t.equal(routed.kind, 'original-destination')
  }
})

t.test('what no listener is for passes through, and the own port of the proxy leads nowhere', async (t) => {
  const { route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP)
  for (const destination of ['203.0.113.9:9999', '[2001:db8::9]:9999'])
    t.equal(outcome(route('virtualOutbound', destination)), `PassthroughCluster: ${destination}`)
  for (const address of ['10.244.1.2', '[fd00:10:244:1::2]'])
    t.equal(outcome(route('virtualOutbound', `${address}:15001`)), 'no_endpoints: cluster BlackHoleCluster')
})

t.test('a pod of a headless service is reached by its own address', async (t) => {
  const { route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP)
  const cluster = 'outbound|9000||tcp-echo-headless.dual-stack.svc.cluster.local'
  for (const destination of ['10.244.2.2:9000', '[fd00:10:244:2::2]:9000']) {
    const routed = route('virtualOutbound', destination)
    t.equal(routed.kind, 'original-destination')
    t.equal(outcome(routed), `${cluster}: ${destination}`)
  }
})

t.test(
  'inbound: the port chooses the cluster, whose sources mark it, and the twin address is behind',
  async (t) => {
    const { route, rejections } = await start('sidecar-tcp-echo-dual-stack.sotw', TCP_ECHO)
    t.strictSame(rejections, [])
    const cases = [
      ['10.244.2.2:9000', 'inbound|9000||: 10.244.2.2:9000 [fd00:10:244:2::2]:9000'],
      ['[fd00:10:244:2::2]:9001', 'inbound|9001||: [fd00:10:244:2::2]:9001 10.244.2.2:9001'],
      ['10.244.2.2:9002', 'InboundPassthroughCluster: 10.244.2.2:9002 [fd00:10:244:2::2]:9002'],
      ['[fd00:10:244:2::2]:9002', 'InboundPassthroughCluster: [fd00:10:244:2::2]:9002 10.244.2.2:9002'],
    ] as const
    for (const [destination, expected] of cases) {
      const routed = route('virtualInbound', destination)
      t.equal(outcome(routed), expected)
      if (routed.kind === 'reject') continue
      t.strictSame(
        routed.upstream.sourceAddresses.map(({ ip }) => ip.text),
        ['127.0.0.6', '::6'],
        'one source per family',
      )
    }
    t.equal(outcome(route('virtualInbound', '10.244.2.2:15006')), 'no_endpoints: cluster BlackHoleCluster')
    t.equal(
      outcome(route('virtualInbound', '[fd00:10:244:2::2]:15006')),
      'no_endpoints: cluster BlackHoleCluster',
    )
  },
)

/** An assignment of one pod of both families, whose labels the transport is chosen by; recorded `sleep` has no pods. */
function assignmentOf(name: string, labels: Readonly<Record<string, string>>): EncodedResource {
  const typeUrl = TYPE_URLS.assignment
  const value = envoyBytes('envoy.config.endpoint.v3.ClusterLoadAssignment', {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: [
          {
            endpoint: {
              address: addressOf('10.244.1.3', 80),
              additional_addresses: [{ address: addressOf('fd00:10:244:1::3', 80) }],
            },
            metadata: {
              filter_metadata: { 'envoy.transport_socket_match': struct(labels) },
            },
          },
        ],
      },
    ],
  })
  return { name, version: '', aliases: [], typeUrl, value }
}

t.test('rule 15: HTTP goes to the service of its destination, and never in plain text to mTLS', async (t) => {
  const lab = async (labels: Readonly<Record<string, string>>, permitted: readonly string[] = []) => {
    const { sink, route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP, permitted)
    const resources = [assignmentOf(SLEEP_HTTP, labels)]
    const typeUrl = TYPE_URLS.assignment
    t.strictSame(await sink.apply({ typeUrl, version: '2', resources, removed: [], isWholeState: false }), [])
    return (destination: string): string => outcome(route('virtualOutbound', destination))
  }
  const pod = `${SLEEP_HTTP}: 10.244.1.3:80 [fd00:10:244:1::3]:80`
  for (const labels of [{ tlsMode: 'istio' }, { tunnel: 'http' }]) {
    const refusing = await lab(labels)
    t.match(refusing('10.96.0.80:80'), `mtls_required: cluster ${SLEEP_HTTP}`)
    for (const other of ['203.0.113.9:80', '[2001:db8::9]:80', '10.96.106.11:80', '[fd00:10:96::f9fd]:80'])
      t.equal(refusing(other), `PassthroughCluster: ${other}`, 'no service is meant, or it has no such port')
    t.equal((await lab(labels, ['default/sleep.default.svc.cluster.local']))('10.96.0.80:80'), pod)
  }
  t.equal((await lab({}))('10.96.0.80:80'), pod, 'endpoints that do not ask for mTLS are reached')
})

t.test('HTTP to a service without pods is refused, as Envoy answers it', async (t) => {
  const { route } = await start('sidecar-sleep-dual-stack.sotw', SLEEP)
  t.equal(outcome(route('virtualOutbound', '10.96.0.80:80')), `no_endpoints: cluster ${SLEEP_HTTP}`)
})
