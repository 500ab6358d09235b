import t from 'tap'

import { podReaders } from '../../../src/agent/metrics/pod-metrics.ts'
import { listenersOf, podStatus, zdsStatus } from '../../fixtures/pod-statuses.ts'

import type { PodReadings } from '../../../src/agent/metrics/pod-metrics.ts'

const NONE = { accepted: 0, failed: 0, timeout: 0, refused: 0 }
const ADDS = { ...zdsStatus().messages, add: { ...NONE, accepted: 5, failed: 2 } }
const READINGS: PodReadings = {
  counts: { up: 2, pending: 1, started: 9, stopped: 6 },
  statuses: [
    podStatus('a'),
    podStatus('b', { listeners: listenersOf('bound', 'absent') }),
    podStatus('c', { state: 'pending', problem: 'x', listeners: listenersOf('failed', 'absent') }),
  ],
  zds: zdsStatus({ reconnects: 3, messages: ADDS }),
}

t.test('counts pods and messages of istio-cni', async (t) => {
  const readers = podReaders(() => READINGS)
  const values = [
    readers.podsActive,
    readers.podsPending,
    readers.podsStarted,
    readers.podsStopped,
    readers.zdsConnected,
    readers.zdsReconnects,
  ].map((read) => read())
  t.strictSame(
    values,
    [2, 1, 9, 6, 1, 3].map((value) => [{ labels: {}, value }]),
  )
  const messages = readers.zdsMessages()
  t.equal(messages.length, 20, 'every kind with every result, so that rates begin at 0')
  t.match(
    messages.filter(({ value }) => value > 0),
    [
      { labels: { type: 'add', result: 'accepted' }, value: 5 },
      { labels: { type: 'add', result: 'failed' }, value: 2 },
    ],
  )
})

t.test('sockets are counted by listener, family and state, and no series is of one pod', async (t) => {
  const samples = podReaders(() => READINGS).podListeners()
  t.strictSame(
    samples.flatMap(({ labels, value }) =>
      value > 0 ? [`${labels['family'] ?? ''} ${labels['state'] ?? ''} ${value}`] : [],
    ),
    ['ipv4 bound 2', 'ipv4 failed 1', 'ipv6 bound 1', 'ipv6 absent 2'],
  )
  t.equal(samples.length, 6)
  t.notOk(JSON.stringify(samples).includes('uid-'))
})

t.test('a connection that is lost shows', async (t) => {
  const zds = zdsStatus({ isConnected: false })
  t.strictSame(podReaders(() => ({ ...READINGS, zds })).zdsConnected(), [{ labels: {}, value: 0 }])
})

t.test('there is no series where no pods are captured', async (t) => {
  const samples = Object.values(podReaders(() => undefined)).flatMap((read) => [...read()])
  t.strictSame(samples, [])
})

t.test('no pod is no series of a listener', async (t) => {
  const counts = { up: 0, pending: 0, started: 1_000, stopped: 1_000 }
  t.strictSame(podReaders(() => ({ ...READINGS, counts, statuses: [] })).podListeners(), [])
})
