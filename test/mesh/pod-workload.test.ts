import t from 'tap'

import { parseIp } from '../../src/core/address.ts'
import { workloadOfPod } from '../../src/mesh/pod-workload.ts'
import { ambientStore } from '../fixtures/ambient-mesh.ts'

import type { CapturedPod } from '../../src/mesh/pod.ts'

const PLACE = { clusterId: 'cluster-1', network: 'net' }
const POD: CapturedPod = {
  uid: '7d1f',
  name: 'echo',
  namespace: 'shop',
  serviceAccount: 'echo',
  addresses: ['10.1.0.1', 'fd00::1'].map(parseIp),
}
const UID = 'cluster-1//Pod/shop/echo'
const WORKLOAD = { uid: UID, name: 'echo', namespace: 'shop', serviceAccount: 'echo', network: 'net' }

function uidFor(workloads: readonly object[], pod: Partial<CapturedPod> = {}): string | undefined {
  const { snapshot } = ambientStore({ workloads })
  return workloadOfPod(snapshot, { ...POD, ...pod }, PLACE)?.uid
}

t.test('finds the workload by cluster, namespace and pod, whatever its addresses', async (t) => {
  t.equal(uidFor([{ ...WORKLOAD, workloadIps: ['192.0.2.1'] }]), UID)
  t.equal(uidFor([{ ...WORKLOAD, hostname: 'echo.example' }], { addresses: [] }), UID)
})

t.test('finds it by an address of either family where its uid is another one', async (t) => {
  for (const workloadIps of [['10.1.0.1'], ['fd00::1']])
    t.equal(uidFor([{ ...WORKLOAD, uid: 'of-a-file', workloadIps }]), 'of-a-file')
})

t.test('the addresses are those of the network of the node', async (t) => {
  const elsewhere = { ...WORKLOAD, uid: 'elsewhere', network: 'far', workloadIps: ['10.1.0.1'] }
  t.equal(uidFor([elsewhere]), undefined)
})

t.test('a workload of another name, namespace or account is somebody else', async (t) => {
  for (const other of [{ name: 'web' }, { namespace: 'web' }, { serviceAccount: 'web' }]) {
    t.equal(uidFor([{ ...WORKLOAD, ...other, workloadIps: ['10.1.0.1'] }]), undefined, 'by its uid')
    t.equal(
      uidFor([{ ...WORKLOAD, ...other, uid: 'x', workloadIps: ['10.1.0.1'] }]),
      undefined,
      'by its address',
    )
  }
})

t.test('a namesake under the same uid does not hide the pod that has the address', async (t) => {
  const former = { ...WORKLOAD, serviceAccount: 'former', workloadIps: ['10.1.0.8'] }
  const own = { ...WORKLOAD, uid: 'own', workloadIps: ['fd00::1'] }
  t.equal(uidFor([former, own]), 'own')
})

t.test('a pod that the mesh does not know has none', async (t) => {
  t.equal(uidFor([]), undefined)
  t.equal(uidFor([{ ...WORKLOAD, uid: 'x', workloadIps: ['10.1.0.9'] }]), undefined)
})
