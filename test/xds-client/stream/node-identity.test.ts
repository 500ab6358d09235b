/** Node id and metadata as istiod reads them. */
import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { describeNode } from '../../../src/xds-client/stream/node-identity.ts'

import type { NodeIdentity } from '../../../src/xds-client/stream/node-identity.ts'

const IDENTITY: NodeIdentity = {
  type: 'ztunnel',
  podName: 'twinstack-0',
  namespace: 'istio-system',
  instanceIps: [parseIp('10.244.0.10'), parseIp('fd00:10:244::10')],
  nodeName: 'node-a',
  clusterId: 'Kubernetes',
  serviceAccount: 'ztunnel',
  clusterDomain: 'cluster.local',
  proxyMetadata: {},
  env: {},
  version: '1.2.3',
}

t.test('describes a node with the addresses of both families', (t) => {
  t.strictSame(describeNode(IDENTITY), {
    ok: true,
    value: {
      id: 'ztunnel~10.244.0.10~twinstack-0.istio-system~istio-system.svc.cluster.local',
      metadata: {
        NAME: 'twinstack-0',
        NAMESPACE: 'istio-system',
        INSTANCE_IPS: '10.244.0.10,fd00:10:244::10',
        NODE_NAME: 'node-a',
        SERVICE_ACCOUNT: 'ztunnel',
        CLUSTER_ID: 'Kubernetes',
      },
      userAgent: { name: 'twinstack', version: '1.2.3' },
    },
  })
  t.match(describeNode({ ...IDENTITY, type: 'sidecar', clusterDomain: 'mesh.test' }), {
    value: { id: 'sidecar~10.244.0.10~twinstack-0.istio-system~istio-system.svc.mesh.test' },
  })
  t.end()
})

t.test('has an address in its id even when it knows none, which istiod insists on', (t) => {
  const described = describeNode({ ...IDENTITY, instanceIps: [], nodeName: '' })
  if (!described.ok) throw new Error('refused')
  t.match(described.value.id, /^ztunnel~1\.1\.1\.1~/)
  t.notOk('INSTANCE_IPS' in described.value.metadata)
  t.notOk('NODE_NAME' in described.value.metadata)
  t.end()
})

t.test('carries the dual-stack flag where Istio puts it', (t) => {
  t.match(describeNode({ ...IDENTITY, proxyMetadata: { ISTIO_DUAL_STACK: 'true' } }), {
    value: { metadata: { PROXY_CONFIG: { proxyMetadata: { ISTIO_DUAL_STACK: 'true' } } } },
  })
  t.end()
})

t.test('takes metadata from the environment, plain and as JSON', (t) => {
  t.match(
    describeNode({
      ...IDENTITY,
      proxyMetadata: { ISTIO_META_A: 'config', ISTIO_META_B: 'config' },
      env: {
        ISTIO_META_A: 'env',
        ISTIO_META_CLUSTER_ID: 'east',
        ISTIO_META_EMPTY: '',
        ISTIO_METAJSON_ANY: '{"LABELS": {"app": "x"}, "LIST": [1, true, null]}',
        OTHER: 'x',
      },
    }),
    {
      value: {
        metadata: {
          A: 'env',
          B: 'config',
          CLUSTER_ID: 'east',
          EMPTY: undefined,
          OTHER: undefined,
          LABELS: { app: 'x' },
          LIST: [1, true, null],
        },
      },
    },
  )
  t.end()
})

t.test('says which variable is no JSON map', (t) => {
  for (const text of ['{', '[]', '"x"', 'null'])
    t.match(describeNode({ ...IDENTITY, env: { ISTIO_METAJSON_LABELS: text } }), {
      ok: false,
      problems: [
        { path: ['ISTIO_METAJSON_LABELS'], message: /^invalid env var ISTIO_METAJSON_LABELS=.+JSON map/ },
      ],
    })
  t.end()
})
