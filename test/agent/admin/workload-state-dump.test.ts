import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import { dumpWorkloadState } from '../../../src/agent/admin/workload-state-dump.ts'
import { connectionRecord, workloadLabels } from '../../fixtures/connection-records.ts'
import { ambientStore } from '../../fixtures/ambient-mesh.ts'
import { listenersOf, podStatus } from '../../fixtures/pod-statuses.ts'

const { snapshot } = ambientStore({
  workloads: [{ uid: 'uid-sleep', name: 'sleep', namespace: 'default', workloadIps: ['10.0.0.1'] }],
})
const NO_CONNECTIONS = { inbound: [], outbound: [] }

t.test('a pod is listed by its UID, with its addresses and the state of each listener', async (t) => {
  const state = dumpWorkloadState(
    snapshot,
    [],
    [podStatus('echo', { listeners: listenersOf('bound', 'absent') })],
  )
  t.strictSame(state, {
    'uid-echo': {
      state: 'Up',
      connections: NO_CONNECTIONS,
      info: { name: 'echo', namespace: 'shop', serviceAccount: 'echo-sa' },
      addresses: ['10.244.0.2', 'fd00::2'],
      listeners: [
        { listener: 'outbound', family: 'ipv4', state: 'bound' },
        { listener: 'outbound', family: 'ipv6', state: 'absent', reason: 'it is absent' },
      ],
    },
  })
})

t.test('a pod that is not served says why', async (t) => {
  const pods = [podStatus('bad', { state: 'pending', problem: 'setns EPERM' })]
  t.match(dumpWorkloadState(snapshot, [], pods), { 'uid-bad': { state: 'Pending', problem: 'setns EPERM' } })
})

t.test('connections are under the pod that captured them, whatever their addresses say', async (t) => {
  const pods = [podStatus('echo'), podStatus('idle')]
  const pod = podStatus('echo').pod
  const records = [
    // The labels name another workload, which is on this node too.
    connectionRecord({ pod, labels: { source: workloadLabels('sleep') } }),
    connectionRecord({
      pod,
      direction: 'inbound',
      labels: {},
      destination: parseSocketAddress('192.168.7.2:80'),
    }),
  ]
  t.match(dumpWorkloadState(snapshot, records, pods), {
    'uid-echo': {
      connections: {
        inbound: [{ src: '[fd00::1]:40000', actualDst: '10.0.0.2:9000', originalDst: null, protocol: 'TCP' }],
        outbound: [{ src: '[fd00::1]:40000', actualDst: '10.0.0.2:9000', originalDst: '[fd00::99]:80' }],
      },
    },
    'uid-idle': { connections: NO_CONNECTIONS },
    'uid-sleep': undefined,
  })
})

t.test('connections of a pod that has gone meanwhile, and of none, are listed all the same', async (t) => {
  const gone = podStatus('gone').pod
  const state = dumpWorkloadState(
    snapshot,
    [
      connectionRecord({ pod: gone, labels: {} }),
      connectionRecord({ labels: { source: workloadLabels('sleep') } }),
      connectionRecord({ labels: {} }),
    ],
    [],
  )
  t.match(state, {
    'uid-gone': { info: { name: 'unknown' }, connections: { outbound: [{}] } },
    'uid-sleep': { info: { name: 'sleep', namespace: 'default' }, connections: { outbound: [{}] } },
    unknown: { info: { name: 'unknown' }, connections: { outbound: [{}] } },
  })
})
