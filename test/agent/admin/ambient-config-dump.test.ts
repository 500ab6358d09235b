import t from 'tap'

import { ambientConfigDump } from '../../../src/agent/admin/ambient-config-dump.ts'
import { readSettings } from '../../../src/agent/settings/settings.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { decodeLocalFile } from '../../../src/xds-client/local-file.ts'
import { connectionRecord, endpointOf, workloadLabels } from '../../fixtures/connection-records.ts'

import type { ConnectionRecord } from '../../../src/proxy/connection-record.ts'
import type { MeshSnapshot } from '../../../src/mesh/store.ts'

const WORKLOAD = {
  uid: 'uid-echo',
  name: 'echo',
  namespace: 'default',
  workloadIps: ['10.0.0.2', 'FD00:0::2'],
  protocol: 'TCP',
  network: 'net',
  node: 'node1',
  serviceAccount: 'echo-sa',
  workloadType: 'pod',
  canonicalName: 'echo',
  waypoint: { destination: 'net/10.0.0.9', hboneMtlsPort: 15008 },
  authorizationPolicies: ['default/deny'],
  services: { 'default/echo.default.svc.cluster.local': { '80': 9000 } },
}

const SERVICE = {
  name: 'echo',
  namespace: 'default',
  hostname: 'echo.default.svc.cluster.local',
  vips: ['net/10.96.0.1', 'net/fd00:96::1'],
  ports: { '80': 9000 },
  ipFamilies: 'Dual',
}

const POLICY = {
  name: 'deny',
  namespace: 'default',
  scope: 'WorkloadSelector',
  action: 'Deny',
  rules: [
    [
      [
        {
          namespaces: [{ Exact: 'a' }, { Prefix: 'b' }, { Suffix: 'c' }, { Presence: [] }],
          notSourceIps: ['10.0.0.0/8', 'fd00::/8'],
          destinationPorts: [80],
        },
      ],
    ],
  ],
}

function load(document: unknown): MeshSnapshot {
  const { report, resources } = decodeLocalFile(document)
  if (report.hasErrors) throw new Error(JSON.stringify(report.problems, undefined, 1))
  const store = new MeshStore()
  store.apply(resources)
  return store.snapshot
}

function dump(snapshot: MeshSnapshot, connections: readonly ConnectionRecord[] = []) {
  const settings = readSettings({ env: { ISTIO_DUAL_STACK: 'true' } }, { needsSource: false })
  if (!settings.ok) throw new Error('the settings are wrong')
  return ambientConfigDump({ snapshot, settings: settings.value, version: '1.2.3', connections })
}

t.test('has the keys that istioctl ztunnel-config reads', async (t) => {
  const result = dump(load({}))
  t.match(result, { workloads: [], services: [], policies: [], certificates: [], workloadState: {} })
  t.strictSame(Object.keys(result), Object.keys(result).sort(), 'sorted, as in ztunnel')
})

t.test("dumps workloads, services and policies in ztunnel's form", async (t) => {
  const result = dump(load({ workloads: [WORKLOAD], services: [SERVICE], policies: [POLICY] }))
  t.match(result, {
    workloads: [
      {
        ...WORKLOAD,
        workloadIps: ['10.0.0.2', 'fd00::2'],
        services: ['default/echo.default.svc.cluster.local'],
        status: 'Healthy',
        trustDomain: 'cluster.local',
      },
    ],
    services: [
      {
        ...SERVICE,
        endpoints: { 'uid-echo': { workloadUid: 'uid-echo', port: { '80': 9000 }, status: 'Healthy' } },
        visibility: 'Public',
      },
    ],
    policies: [{ ...POLICY, dryRun: false }],
  })
})

t.test('dumps what a local file decodes to again', async (t) => {
  const original = load({ workloads: [WORKLOAD], services: [SERVICE], policies: [POLICY] })
  const { workloads, services, policies } = JSON.parse(JSON.stringify(dump(original))) as {
    readonly workloads: readonly Readonly<Record<string, unknown>>[]
    readonly services: readonly unknown[]
    readonly policies: readonly unknown[]
  }
  // In a file a workload says its ports, in a dump its services do.
  const asInFile = workloads.map((workload) => ({ ...workload, services: WORKLOAD.services }))
  const again = load({ workloads: asInFile, services, policies })
  for (const kind of ['workload', 'service', 'policy'] as const)
    t.strictSame([...again[kind].values()], [...original[kind].values()], kind)
})

t.test('lists live connections by the workload on this node', async (t) => {
  const snapshot = load({ workloads: [WORKLOAD] })
  const outbound = connectionRecord({ labels: { source: workloadLabels('echo') } })
  const endpoint = endpointOf(workloadLabels('echo'), '10.0.0.2:9000')
  const inbound = connectionRecord({ direction: 'inbound', upstream: { name: 'in', endpoint } })
  const stranger = connectionRecord({ labels: {} })
  t.strictSame(dump(snapshot, [outbound, inbound, stranger])['workloadState'], {
    'uid-echo': {
      state: 'Up',
      connections: {
        outbound: [
          {
            src: '[fd00::1]:40000',
            actualDst: '10.0.0.2:9000',
            protocol: 'TCP',
            originalDst: '[fd00::99]:80',
          },
        ],
        inbound: [
          {
            src: '[fd00::1]:40000',
            actualDst: '[fd00::99]:80',
            protocol: 'TCP',
            originalDst: 'echo.default.svc.cluster.local',
          },
        ],
      },
      info: { name: 'echo', namespace: 'default', serviceAccount: 'echo-sa', trustDomain: 'cluster.local' },
    },
    unknown: {
      state: 'Up',
      connections: {
        outbound: [
          {
            src: '[fd00::1]:40000',
            actualDst: '10.0.0.2:9000',
            protocol: 'TCP',
            originalDst: '[fd00::99]:80',
          },
        ],
        inbound: [],
      },
      info: { name: 'unknown', namespace: '', serviceAccount: '', trustDomain: '' },
    },
  })
})

t.test('dumps the settings with the dual-stack flag in force', async (t) => {
  t.match(dump(load({}))['config'], {
    proxyMetadata: { ISTIO_DUAL_STACK: 'true' },
    dualStack: { mode: 'on', source: 'environment variable ISTIO_DUAL_STACK' },
    statsAddr: { SocketAddr: '[::]:15020' },
    selfTerminationDeadline: { secs: 5, nanos: 0 },
    socketConfig: { keepaliveEnabled: true, keepaliveTime: { secs: 180, nanos: 0 }, keepaliveRetries: 9 },
  })
})
