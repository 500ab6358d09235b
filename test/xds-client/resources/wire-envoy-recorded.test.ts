/** What a real istiod sends a sidecar, from its bytes to the model. */
import t from 'tap'

import { formatSocketAddress, parseIp } from '../../../src/core/address.ts'
import {
  decodeAssignmentResource,
  decodeClusterResource,
  decodeListenerResource,
} from '../../../src/xds-client/resources/wire-envoy.ts'
import { SCHEMA, chainText, valueOf } from '../../fixtures/envoy-wire.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'
import { tcpProxyOf } from '../../mesh/envoy-fixtures.ts'

import type { Cluster, LoadAssignment } from '../../../src/mesh/cluster.ts'
import type { Listener } from '../../../src/mesh/listener.ts'
import type { EnvoyResource } from '../../../src/xds-client/resources/wire-envoy.ts'
import type { Recording } from '../../fixtures/recorded-xds.ts'

const CLIENT: Recording = 'sidecar-sleep-dual-stack.sotw'
const SERVER: Recording = 'sidecar-tcp-echo-dual-stack.sotw'
const TCP_ECHO = 'outbound|9000||tcp-echo.dual-stack.svc.cluster.local'

function recordedClusters(recording: Recording): ReadonlyMap<string, Cluster> {
  const all = recordedResources(recording, 'Cluster').map(({ value }) => decodeClusterResource(value, SCHEMA))
  return new Map(all.map(valueOf).map(({ value }) => [value.name, value]))
}

function recordedAssignments(recording: Recording): ReadonlyMap<string, LoadAssignment> {
  const all = recordedResources(recording, 'ClusterLoadAssignment').map(({ value }) =>
    decodeAssignmentResource(value, SCHEMA),
  )
  return new Map(all.map(valueOf).map(({ value }) => [value.name, value]))
}

function recordedListeners(recording: Recording): ReadonlyMap<string, EnvoyResource<Listener>> {
  const all = recordedResources(recording, 'Listener').map(({ value }) =>
    decodeListenerResource(value, SCHEMA),
  )
  return new Map(all.map(valueOf).map((resource) => [resource.value.name, resource]))
}

function addressTexts(listener: Listener | undefined): readonly string[] {
  return (listener?.addresses ?? []).map(({ address }) => formatSocketAddress(address))
}

t.test('recorded service listeners hear both virtual addresses, IPv6 first, and bind none', (t) => {
  const found = recordedListeners(CLIENT).get('fd00:10:96::f9fc_9000')?.value
  t.strictSame(addressTexts(found), ['[fd00:10:96::f9fc]:9000', '10.96.106.11:9000'])
  t.match(found, { bindToPort: false, capture: 'none', direction: 'outbound' })
  t.strictSame(found?.filterChains.map(chainText), [`* * * -> ${TCP_ECHO}`])
  t.end()
})

t.test('the recorded virtualOutbound hears both families and hands connections over', (t) => {
  const found = recordedListeners(CLIENT).get('virtualOutbound')?.value
  t.strictSame(addressTexts(found), ['0.0.0.0:15001', '[::]:15001'])
  t.match(found, { bindToPort: true, capture: 'redirect', hasHandOff: true, direction: 'outbound' })
  t.strictSame(found?.filterChains.map(chainText), [
    '15001 * * -> BlackHoleCluster',
    '* * * -> PassthroughCluster',
  ])
  t.end()
})

t.test('the recorded virtualInbound hears both families, and keeps chains for mTLS apart', (t) => {
  const found = recordedListeners(SERVER).get('virtualInbound')
  t.strictSame(addressTexts(found?.value), ['0.0.0.0:15006', '[::]:15006'])
  t.match(found?.value, { bindToPort: true, capture: 'redirect', direction: 'inbound' })
  t.notOk(found?.value.hasHandOff)
  const mesh = 'istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2'
  t.strictSame(found?.value.filterChains.map(chainText), [
    '15006 * * -> BlackHoleCluster',
    '* tls istio-http/1.0,istio-http/1.1,istio-h2 -> mtls_required',
    '* raw_buffer http/1.1,h2c -> InboundPassthroughCluster',
    '* tls istio-peer-exchange,istio -> mtls_required',
    '* raw_buffer * -> InboundPassthroughCluster',
    '* tls * -> InboundPassthroughCluster',
    `9000 tls ${mesh} -> mtls_required`,
    '9000 tls * -> inbound|9000||',
    '9000 raw_buffer * -> inbound|9000||',
    `9001 tls ${mesh} -> mtls_required`,
    '9001 tls * -> inbound|9001||',
    '9001 raw_buffer * -> inbound|9001||',
  ])
  for (const ignored of [
    'Filter.envoy.tcp.metadataexchange.config.MetadataExchange',
    'HttpConnectionManager.tracing',
    'Listener.listener_filters_timeout',
  ])
    t.ok(found?.ignoredFields.includes(ignored), ignored)
  t.end()
})

t.test('recorded HTTP without an inline route goes to the original destination', (t) => {
  const found = recordedListeners(CLIENT).get('0.0.0.0_80')?.value
  t.strictSame(addressTexts(found), ['0.0.0.0:80', '[::]:80'])
  t.strictSame(found?.filterChains.map(chainText), ['* raw_buffer http/1.1,h2c -> PassthroughCluster'])
  t.strictSame(tcpProxyOf(found?.defaultFilterChain)?.clusters, [{ name: 'PassthroughCluster', weight: 1 }])
  t.end()
})

t.test('the recorded listener inside the proxy, for HBONE, hears nothing and refuses', (t) => {
  const found = recordedListeners(CLIENT).get('connect_originate')?.value
  t.strictSame(addressTexts(found), [])
  t.equal(found?.bindToPort, false)
  t.strictSame(found?.filterChains.map(chainText), ['* * * -> mtls_required'])
  t.end()
})

t.test('recorded inbound clusters connect from 127.0.0.6 or ::6', (t) => {
  for (const name of ['inbound|9000||', 'InboundPassthroughCluster']) {
    const found = recordedClusters(SERVER).get(name)
    t.strictSame(found?.discovery, { kind: 'original-destination' }, name)
    t.strictSame(found?.settings.sourceAddresses.map(formatSocketAddress), ['127.0.0.6:0', '[::6]:0'], name)
    t.equal(found?.transport, undefined, name)
  }
  t.end()
})

t.test('a recorded service cluster says which endpoints are reached over mTLS', (t) => {
  t.strictSame(recordedClusters(CLIENT).get(TCP_ECHO), {
    name: TCP_ECHO,
    discovery: { kind: 'eds', assignmentName: TCP_ECHO },
    settings: {
      loadBalancing: 'least-request',
      connectTimeoutMs: 10_000,
      sourceAddresses: [],
      overprovisioningFactor: 140,
      panicThresholdPercent: 0,
      localityWeighted: false,
    },
    transport: {
      matches: [
        { criteria: { tunnel: 'http' }, isEncrypted: true },
        { criteria: { tlsMode: 'istio' }, isEncrypted: true },
        { criteria: {}, isEncrypted: false },
      ],
      isEncrypted: false,
    },
  })
  t.end()
})

t.test('a recorded black hole has no endpoints', (t) => {
  const assignment = { name: 'BlackHoleCluster', endpoints: [] }
  t.strictSame(recordedClusters(CLIENT).get('BlackHoleCluster')?.discovery, { kind: 'static', assignment })
  t.end()
})

t.test('recorded endpoints behind HBONE have the address of the pod, and ask for mTLS', (t) => {
  const [first, second, ...others] = recordedAssignments(CLIENT).get(TCP_ECHO)?.endpoints ?? []
  const locality = { region: 'r1', zone: 'z1', subzone: '' }
  t.strictSame(first, {
    id: '10.244.2.2:9000',
    hosts: [{ kind: 'ip', address: { ip: parseIp('10.244.2.2'), port: 9000 } }],
    weight: 1,
    locality,
    localityWeight: 2,
    priority: 0,
    health: 'healthy',
    protocol: 'hbone',
    transportLabels: { tunnel: 'http' },
    workload: {
      uid: '',
      name: 'tcp-echo-0',
      namespace: 'dual-stack',
      canonicalName: 'tcp-echo',
      canonicalRevision: 'v1',
      cluster: 'Kubernetes',
      locality,
    },
  })
  t.equal(second?.id, '10.244.2.6:9000')
  t.strictSame(others, [])
  t.strictSame(recordedAssignments(CLIENT).get('outbound|80||sleep.default.svc.cluster.local')?.endpoints, [])
  t.end()
})
