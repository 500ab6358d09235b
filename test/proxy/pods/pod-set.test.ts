/** Pods that come, fail and go while workers do the same. No kernel: numbers in, messages out. */
import { setImmediate as settled } from 'node:timers/promises'

import t from 'tap'

import { MAX_EMPTY_LOOKS } from '../../../src/proxy/pods/pod-entry.ts'
import { HANDOVER_MS } from '../../../src/proxy/pods/pod-set.ts'
import { RELEASE_DEADLINE_MS } from '../../../src/proxy/release.ts'
import { PodSetLab, aPod } from '../../fixtures/pod-set-lab.ts'

const OK = { ok: true } as const
const REMOVED = { ok: false, problem: 'the pod was removed meanwhile' } as const

t.test('serves a pod: every worker is told of its sockets, whose options are those asked for', async (t) => {
  const lab = PodSetLab.start(t)
  t.strictSame(await lab.add('a', lab.opener.namespace()), OK)
  t.strictSame(lab.told, ['0 pod a@1 with 4', '1 pod a@1 with 4'])
  t.match(lab.opener.looks, [{ wanted: ['0.0.0.0:15001', ':::15001', '0.0.0.0:15006', ':::15006'] }])
  t.match(lab.set.find('a'), { ...aPod('a'), addresses: [{ family: 'ipv4' }, { family: 'ipv6' }] })
  t.equal(lab.set.has('a'), true)
  t.equal(lab.set.find('b'), undefined)
  t.strictSame(lab.set.counts, { up: 1, pending: 0, started: 1, stopped: 0 })
})

t.test('an agent of one family asks for no socket of the other', async (t) => {
  const lab = PodSetLab.start(t, { families: ['ipv6'] })
  await lab.add('a', lab.opener.namespace())
  t.match(lab.opener.looks, [{ wanted: [':::15001', ':::15006'] }])
})

t.test(
  'refuses a descriptor that is of no network namespace, names what it is of, and closes it',
  async (t) => {
    const lab = PodSetLab.start(t)
    t.strictSame(await lab.set.add(aPod('a'), lab.opener.descriptorOf('other')), {
      ok: false,
      problem: 'its descriptor is of /dev/null, not of a network namespace',
    })
    t.equal(lab.opener.openCount, 0)
    t.equal(lab.set.has('a'), false)
  },
)

t.test('a pod that is told of again with the same namespace is the same, and costs nothing', async (t) => {
  const lab = PodSetLab.start(t)
  const namespace = lab.opener.namespace()
  await lab.add('a', namespace)
  const { openCount } = lab.opener
  t.strictSame(await lab.add('a', namespace), OK)
  t.equal(lab.opener.openCount, openCount, 'the new descriptor is closed')
  t.equal(lab.opener.looks.length, 1)
  t.equal(lab.told.length, 2)
  t.strictSame(lab.set.counts, { up: 1, pending: 0, started: 1, stopped: 0 })
})

t.test('a pod that fails is tried at once when it is told of again', async (t) => {
  const lab = PodSetLab.start(t)
  const namespace = lab.opener.namespace({ problem: 'setns EPERM' })
  t.strictSame(await lab.add('a', namespace), { ok: false, problem: 'setns EPERM' })
  namespace.problem = undefined
  t.strictSame(await lab.add('a', namespace), OK)
  t.equal(lab.set.counts.up, 1)
})

t.test('a pod with another namespace takes the place of the old one, which is ended first', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  lab.told.splice(0)
  t.strictSame(await lab.add('a', lab.opener.namespace()), OK)
  t.strictSame(lab.told, ['0 gone 1', '1 gone 1', '0 pod a@2 with 4', '1 pod a@2 with 4'])
  t.strictSame(lab.forgotten, [], 'the pod is still there')
  t.strictSame(lab.set.counts, { up: 1, pending: 0, started: 2, stopped: 1 })
  t.equal(lab.opener.openCount, 5)
})

t.test('a removed pod is let go by every worker before its descriptors are closed', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  lab.told.splice(0)
  const removed = lab.set.remove('a')
  t.equal(lab.set.has('a'), false, 'at once')
  t.equal(lab.opener.openCount, 5, 'workers have still to answer')
  t.equal(await removed, true)
  t.strictSame(lab.told, ['0 gone 1', '1 gone 1'])
  t.equal(lab.opener.openCount, 0)
  t.strictSame(lab.forgotten, ['a'])
  t.equal(await lab.set.remove('a'), false)
  t.strictSame(lab.set.counts, { up: 0, pending: 0, started: 1, stopped: 1 })
})

t.test(
  'a pod that is removed while it is being opened is not served, and nothing of it is left',
  async (t) => {
    const lab = PodSetLab.start(t)
    const namespace = lab.opener.namespace({ isHeld: true })
    const added = lab.add('a', namespace)
    const removed = lab.set.remove('a')
    await settled()
    t.equal(lab.opener.openCount, 1, 'its namespace is still looked at')
    lab.opener.letGo(namespace)
    t.strictSame(await added, REMOVED)
    t.equal(await removed, true)
    t.equal(lab.opener.openCount, 0)
    t.notOk(
      lab.told.some((line) => line.includes(' pod ')),
      'no worker heard of it',
    )
  },
)

t.test('a pod that is removed while its predecessor is being ended is never opened', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  lab.hang(1)
  const added = lab.add('a', lab.opener.namespace())
  const removed = lab.set.remove('a')
  await lab.pass(RELEASE_DEADLINE_MS)
  t.strictSame(await added, REMOVED)
  t.equal(await removed, true)
  t.equal(lab.opener.looks.length, 1)
  t.equal(
    lab.opener.openCount,
    6,
    'the namespaces, and the sockets of the predecessor, until the worker goes on',
  )
  t.ok(lab.forgotten.includes('a'))
})

t.test('a pod can come back while it is being removed', async (t) => {
  const lab = PodSetLab.start(t)
  const namespace = lab.opener.namespace()
  await lab.add('a', namespace)
  const removed = lab.set.remove('a')
  t.strictSame(await lab.add('a', namespace), OK)
  await removed
  t.strictSame(lab.held(0), ['a@2:4'])
  t.equal(lab.opener.openCount, 5)
  t.strictSame(lab.forgotten, [], 'what is known of the pod is of use again')
})

t.test('retain ends every pod that is not named', async (t) => {
  const lab = PodSetLab.start(t)
  for (const uid of ['a', 'b', 'c']) await lab.add(uid, lab.opener.namespace())
  lab.set.retain(new Set(['b', 'unknown']))
  t.strictSame(
    lab.set.statuses.map(({ pod }) => pod.uid),
    ['b'],
  )
  await settled()
  t.strictSame(lab.held(0), ['b@2:4'])
  t.equal(lab.opener.openCount, 5)
  t.strictSame([...lab.forgotten].sort(), ['a', 'c'])
})

t.test('rule 14: a pod that cannot be opened delays no other, and its failure is its own', async (t) => {
  const lab = PodSetLab.start(t)
  const slow = lab.opener.namespace({ isHeld: true })
  const slowly = lab.add('slow', slow)
  const bad = await lab.add('bad', lab.opener.namespace({ problem: 'setns EPERM' }))
  t.strictSame(bad, { ok: false, problem: 'setns EPERM' })
  t.strictSame(await lab.add('good', lab.opener.namespace()), OK)
  t.strictSame(lab.set.counts, { up: 1, pending: 2, started: 3, stopped: 0 })
  lab.opener.letGo(slow)
  t.strictSame(await slowly, OK)
})

t.test('a namespace that stays empty is given up by name, and is not served any more', async (t) => {
  // istio/istio#55794
  const lab = PodSetLab.start(t)
  t.match(await lab.add('ghost', lab.opener.namespace({ addresses: [] })), {
    ok: false,
    problem: /no interface/,
  })
  t.equal(lab.set.has('ghost'), true)
  await lab.pass(60_000)
  t.equal(lab.opener.looks.length, MAX_EMPTY_LOOKS)
  t.equal(lab.set.has('ghost'), false)
  t.equal(lab.opener.openCount, 0)
  t.match(lab.log, [/^error pod shop\/ghost is given up: .*no interface/])
  t.strictSame(lab.forgotten, ['ghost'])
})

t.test('a worker that starts is told of the listeners, and then of every pod', async (t) => {
  const lab = PodSetLab.start(t, { workers: 1 })
  await lab.add('a', lab.opener.namespace())
  await lab.add('b', lab.opener.namespace({ addresses: ['10.244.0.3'] }))
  lab.told.splice(0)
  lab.startWorker(1)
  t.strictSame(lab.told, ['1 listeners outbound,inbound', '1 pod a@1 with 4', '1 pod b@2 with 2'])
  lab.killWorker(0)
  lab.startWorker(0)
  t.strictSame(lab.held(0), ['a@1:4', 'b@2:2'])
})

t.test('a family that appears later is told to the workers', async (t) => {
  const lab = PodSetLab.start(t, { workers: 1 })
  const namespace = lab.opener.namespace({ addresses: ['10.244.0.3'] })
  await lab.add('a', namespace)
  namespace.addresses = ['10.244.0.3', 'fd00::3']
  await lab.pass(1_000)
  t.strictSame(lab.told, ['0 pod a@1 with 2', '0 pod a@1 with 4'])
})

t.test('a worker that hangs is waited for no longer than its time', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  lab.hang(0)
  const removed = lab.set.remove('a')
  await lab.pass(RELEASE_DEADLINE_MS - 1)
  t.equal(lab.opener.openCount, 5)
  t.strictSame(lab.opener.stopped, [])
  await lab.pass(1)
  t.equal(await removed, true)
  t.equal(lab.opener.stopped.length, 4, 'nothing listens there any more')
  t.strictSame(lab.forgotten, ['a'])
})

t.test(
  'what a worker holds that hangs stays open until it has let go: the number could be of another pod',
  async (t) => {
    const lab = PodSetLab.start(t)
    await lab.add('a', lab.opener.namespace())
    lab.hang(0)
    const removed = lab.set.remove('a')
    await lab.pass(10 * RELEASE_DEADLINE_MS)
    t.equal(await removed, true)
    t.equal(lab.opener.openCount, 5)
    lab.wake(0)
    await settled()
    t.equal(lab.opener.openCount, 0)
  },
)

t.test('a drain waits no longer for a worker that hangs, and what that holds listens no more', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  lab.hang(0)
  const stopped = lab.set.stopAccepting()
  await lab.handOver()
  await lab.pass(RELEASE_DEADLINE_MS)
  await stopped
  t.equal(lab.opener.stopped.length, 4)
  t.equal(lab.opener.openCount, 5)
  lab.wake(0)
  await settled()
  t.equal(lab.opener.openCount, 1, 'the namespace stays for the connections')
})

t.test('a worker that dies has let go', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  lab.hang(0)
  const removed = lab.set.remove('a')
  await settled()
  t.equal(lab.opener.openCount, 5)
  lab.killWorker(0)
  await removed
  t.equal(lab.opener.openCount, 0)
  t.equal(lab.clock.pendingTimers, 0)
})

t.test('the answer about another pod is no answer', async (t) => {
  const lab = PodSetLab.start(t, { workers: 1 })
  await lab.add('a', lab.opener.namespace())
  lab.hang(0)
  void lab.set.remove('a')
  lab.set.released(0, 7)
  lab.set.released(0, undefined)
  await settled()
  t.equal(lab.opener.openCount, 5)
  lab.set.released(0, 1)
  await settled()
  t.equal(lab.opener.openCount, 0)
})

t.test('without a worker that lives a pod is ended at once', async (t) => {
  const lab = PodSetLab.start(t, { workers: 0 })
  t.strictSame(await lab.add('a', lab.opener.namespace()), OK)
  t.equal(await lab.set.remove('a'), true)
  t.equal(lab.opener.openCount, 0)
})

t.test(
  'rule 13: at a drain new connections yield, those under way are accepted, then sockets are closed',
  async (t) => {
    const lab = PodSetLab.start(t)
    await lab.add('a', lab.opener.namespace())
    await lab.add('b', lab.opener.namespace({ addresses: ['fd00::3'] }))
    lab.told.splice(0)
    const stopped = lab.set.stopAccepting()
    await settled()
    t.equal(new Set(lab.opener.yielded).size, 6, 'each socket yields')
    t.strictSame(lab.told, [])
    await lab.pass(HANDOVER_MS / 2)
    t.equal(lab.opener.yielded.length, 12, 'again, should another agent have begun to listen')
    await lab.pass(HANDOVER_MS / 2 - 1)
    t.strictSame(lab.told, [], 'workers go on accepting')
    await lab.pass(1)
    await stopped
    t.strictSame(lab.told, ['0 unlisten', '1 unlisten'])
    t.equal(lab.opener.openCount, 2, 'the namespaces stay for the connections')
    t.equal(lab.set.has('a'), true)
    await lab.set.stopAccepting()
    t.equal(lab.opener.yielded.length, 12, 'not a second time')
    t.strictSame(await lab.set.remove('a'), true)
    t.equal(lab.opener.openCount, 1)
  },
)

t.test('whoever drains a second time waits for the first', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  const ended: string[] = []
  const first = lab.set.stopAccepting().then(() => ended.push('first'))
  await lab.pass(HANDOVER_MS / 2)
  const second = lab.set.stopAccepting().then(() => ended.push('second'))
  await lab.pass(HANDOVER_MS / 2 - 1)
  t.strictSame(ended, [])
  await lab.pass(1)
  await Promise.all([first, second])
})

t.test('while it drains no pod is taken in, and a new worker gets none to accept on', async (t) => {
  const lab = PodSetLab.start(t)
  const namespace = lab.opener.namespace()
  await lab.add('a', namespace)
  const stopped = lab.set.stopAccepting()
  const refusal = { ok: false, problem: 'this agent is draining' }
  t.strictSame(await lab.add('b', lab.opener.namespace()), refusal)
  t.strictSame(await lab.add('a', namespace), refusal)
  lab.startWorker(2)
  t.strictSame(lab.held(2), ['a@1:0'], 'it connects from there all the same')
  await lab.handOver()
  await stopped
})

t.test('a drain waits for a pod that is being opened, and leaves no timer of one that fails', async (t) => {
  const lab = PodSetLab.start(t)
  const slow = lab.opener.namespace({ isHeld: true })
  const added = lab.add('slow', slow)
  await lab.add('bad', lab.opener.namespace({ problem: 'setns EPERM' }))
  const stopped = lab.set.stopAccepting()
  await lab.pass(10 * HANDOVER_MS)
  lab.opener.letGo(slow)
  t.strictSame(await added, REMOVED)
  await lab.handOver()
  await stopped
  t.equal(lab.clock.pendingTimers, 0)
  t.equal(lab.opener.openCount, 2)
})

t.test('a pod that is removed while the handover lasts is closed once', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.add('a', lab.opener.namespace())
  await lab.add('b', lab.opener.namespace())
  const stopped = lab.set.stopAccepting()
  await lab.pass(HANDOVER_MS / 2)
  t.equal(await lab.set.remove('a'), true)
  await lab.handOver()
  await stopped
  t.equal(lab.opener.openCount, 1)
})

t.test('a drain without pods waits for nothing', async (t) => {
  const lab = PodSetLab.start(t)
  await lab.set.stopAccepting()
  t.strictSame(lab.told, [])
})

t.test('close ends every pod, also one that is being opened', async (t) => {
  const lab = PodSetLab.start(t)
  const slow = lab.opener.namespace({ isHeld: true })
  await lab.add('a', lab.opener.namespace())
  const added = lab.add('slow', slow)
  const closed = lab.set.close()
  lab.opener.letGo(slow)
  await closed
  t.strictSame(await added, REMOVED)
  t.equal(lab.opener.openCount, 0)
  t.strictSame(lab.set.counts, { up: 0, pending: 0, started: 2, stopped: 2 })
})
