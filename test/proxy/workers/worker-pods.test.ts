/** A worker's side of captured pods: what it accepts on, and where a connection comes from. */
import t from 'tap'

import { parseIp, parseSocketAddress } from '../../../src/core/address.ts'
import { WorkerPods } from '../../../src/proxy/workers/worker-pods.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'

import type { CapturedPod } from '../../../src/mesh/pod.ts'
import type { BoundPodSocket } from '../../../src/proxy/pods/pod-messages.ts'
import type { ListenEvents, TransportSocket } from '../../../src/proxy/transport.ts'

const OUTBOUND = aListener(
  'outbound',
  [
    ['0.0.0.0', 15_001],
    ['::', 15_001],
  ],
  '',
)
const INBOUND = aListener('inbound', [['0.0.0.0', 15_006]], '', { direction: 'inbound' })
const POD: CapturedPod = {
  uid: 'uid-1',
  name: 'echo',
  namespace: 'shop',
  serviceAccount: 'echo',
  addresses: [parseIp('10.244.0.2')],
}
const SOCKETS: readonly BoundPodSocket[] = [
  { index: 0, fd: 10, listener: 'outbound' },
  { index: 2, fd: 12, listener: 'inbound' },
]
const NAMESPACE = { id: 1, fd: 9 }
const SOCKET: TransportSocket = {
  remote: parseSocketAddress('10.0.0.1:1'),
  local: parseSocketAddress('10.0.0.2:1'),
  originalDestination: () => undefined,
  onGone: () => undefined,
  reset: () => undefined,
}

function start() {
  /** `begin FD`, `accept FD`, `leave FD`, in order. */
  const calls: string[] = []
  const events = new Map<number, ListenEvents>()
  const accepted: string[] = []
  const failures: string[] = []
  const pods = new WorkerPods({
    acceptOn: (fd, eventsOfSocket, { isShared }) => {
      calls.push(`begin ${fd}${isShared ? '' : ' alone'}`)
      events.set(fd, eventsOfSocket)
      return { stop: (how = 'accept') => void calls.push(`${how} ${fd}`) }
    },
    accept: (_, listener, { pod, namespace }) =>
      accepted.push(
        `${listener.name} ${pod.uid}@${namespace.id} ${pod.addresses.map(({ text }) => text).join()}`,
      ),
    acceptFailed: (code) => failures.push(code),
  })
  pods.setListeners([OUTBOUND, INBOUND])
  return { pods, calls: () => calls.splice(0), events, accepted, failures }
}

t.test('accepts on every socket of a pod, beside the other workers, and says where', async (t) => {
  const { pods, calls, events, accepted, failures } = start()
  pods.update({ kind: 'pod', pod: POD, namespace: NAMESPACE, sockets: SOCKETS })
  t.strictSame(calls(), ['begin 10', 'begin 12'])
  events.get(12)?.accepted(SOCKET)
  events.get(10)?.accepted(SOCKET)
  t.strictSame(accepted, ['inbound uid-1@1 10.244.0.2', 'outbound uid-1@1 10.244.0.2'])
  events.get(10)?.acceptFailed('descriptors_exhausted')
  t.strictSame(failures, ['descriptors_exhausted'])
})

t.test(
  'a pod that is told of again keeps its sockets, gets the new ones, and has its new addresses',
  async (t) => {
    const { pods, calls, events, accepted } = start()
    pods.update({ kind: 'pod', pod: POD, namespace: NAMESPACE, sockets: SOCKETS })
    calls()
    const moved = { ...POD, addresses: [parseIp('fd00::2')] }
    const added = { index: 1, fd: 11, listener: 'outbound' }
    pods.update({ kind: 'pod', pod: moved, namespace: NAMESPACE, sockets: [...SOCKETS, added] })
    t.strictSame(calls(), ['begin 11'])
    events.get(10)?.accepted(SOCKET)
    t.strictSame(accepted, ['outbound uid-1@1 fd00::2'], 'on the old sockets too')
  },
)

t.test('a pod that is gone is left at once, with what its sockets have queued', async (t) => {
  const { pods, calls } = start()
  pods.update({ kind: 'pod', pod: POD, namespace: NAMESPACE, sockets: SOCKETS })
  pods.update({ kind: 'pod', pod: { ...POD, uid: 'uid-2' }, namespace: { id: 2, fd: 20 }, sockets: [] })
  calls()
  pods.remove(1)
  t.strictSame(calls(), ['leave 10', 'leave 12'])
  pods.remove(1)
  pods.remove(2)
  pods.remove(3)
  t.strictSame(calls(), [])
})

t.test('a pod that came back in another namespace is another pod', async (t) => {
  const { pods, calls } = start()
  pods.update({ kind: 'pod', pod: POD, namespace: NAMESPACE, sockets: SOCKETS })
  const [, inbound] = SOCKETS
  pods.update({
    kind: 'pod',
    pod: POD,
    namespace: { id: 2, fd: 20 },
    sockets: inbound ? [{ ...inbound, fd: 22 }] : [],
  })
  calls()
  pods.remove(1)
  t.strictSame(calls(), ['leave 10', 'leave 12'])
})

t.test('at a drain what is queued is accepted, and a removal later finds nothing to leave', async (t) => {
  const { pods, calls } = start()
  pods.update({ kind: 'pod', pod: POD, namespace: NAMESPACE, sockets: SOCKETS })
  calls()
  pods.stopAccepting()
  t.strictSame(calls(), ['accept 10', 'accept 12'])
  pods.stopAccepting()
  pods.remove(1)
  t.strictSame(calls(), [])
})

t.test('rule 4: the ports of the listeners on addresses of the pod are its own', async (t) => {
  const { pods } = start()
  for (const port of [15_001, 15_006]) {
    t.ok(pods.isOwnAddress(parseSocketAddress(`10.244.0.2:${port}`), POD))
    t.ok(pods.isOwnAddress(parseSocketAddress(`[::1]:${port}`), POD))
    t.notOk(pods.isOwnAddress(parseSocketAddress(`10.244.0.3:${port}`), POD), 'that is another pod')
  }
  t.notOk(pods.isOwnAddress(parseSocketAddress('10.244.0.2:80'), POD))
})

t.test('a socket of a listener that it was never sent is a defect', async (t) => {
  const { pods } = start()
  t.throws(() => {
    pods.update({
      kind: 'pod',
      pod: POD,
      namespace: NAMESPACE,
      sockets: [{ index: 0, fd: 10, listener: 'hbone' }],
    })
  }, TypeError)
})
