/** What is tried to get the sockets of one pod, when, and when it is given up. */
import { setImmediate as settled } from 'node:timers/promises'

import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { FAMILIES } from '../../../src/core/family.ts'
import { MAX_EMPTY_LOOKS, PodEntry } from '../../../src/proxy/pods/pod-entry.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { FakePodSockets } from '../../fixtures/fake-pod-sockets.ts'

import type { Test } from 'tap'
import type { Random } from '../../../src/core/random.ts'
import type { BoundPodSocket } from '../../../src/proxy/pods/pod-messages.ts'
import type { PodListenerSocket } from '../../../src/proxy/pods/pod-entry.ts'
import type { FakeNamespace } from '../../fixtures/fake-pod-sockets.ts'

const POD = { uid: 'uid-1', name: 'echo', namespace: 'shop', serviceAccount: 'echo' }
/** No delay is shortened by more than a moment. */
const LONGEST: Random = { next: () => 1 - Number.EPSILON }
/** More than an hour has at the longest pause. */
const MANY_LOOKS = 130
const V4 = '10.244.0.2'
const V6 = 'fd00:10:244::2'

function wanted(host: string, port: number): PodListenerSocket {
  return {
    listener: port === 15_001 ? 'outbound' : 'inbound',
    address: { address: { ip: parseIp(host), port }, socketOptions: [] },
    reusePort: true,
    options: { backlog: 16, keepalive: {} },
  }
}

const WANTED = [
  wanted('0.0.0.0', 15_001),
  wanted('::', 15_001),
  wanted('0.0.0.0', 15_006),
  wanted('::', 15_006),
]

/** A pod in a namespace of the test, whose descriptors are closed once, all of them, when the test ends. */
function start(t: Test, facts: Partial<FakeNamespace> = {}) {
  const clock = new FakeClock()
  const opener = new FakePodSockets()
  const namespace = opener.namespace(facts)
  const fd = opener.descriptorOf(namespace)
  const changes: (readonly BoundPodSocket[])[] = []
  const givenUp: string[] = []
  const entry = new PodEntry(
    { opener, clock, random: LONGEST },
    { pod: POD, namespace: { id: 1, fd }, identity: namespace.identity, wanted: WANTED },
    {
      changed: (bound) => changes.push(bound),
      gaveUp: (problem) => givenUp.push(problem),
    },
  )
  t.teardown(async () => {
    opener.letGo(namespace)
    await entry.stop()
    entry.closeSockets()
    entry.closeSockets()
    opener.close(fd)
    opener.checkAllClosedOnce()
    if (clock.pendingTimers > 0) throw new Error(`${clock.pendingTimers} timers are left`)
  })
  const states = (): readonly string[] =>
    entry.status.listeners.map(({ listener, family, state }) => `${listener} ${family} ${state}`)
  /** Lets time pass, and what falls due then end. */
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    await settled()
  }
  /** How long until the next look, in whole seconds. */
  const secondsToNextLook = async (): Promise<number> => {
    const { length } = opener.looks
    for (let seconds = 1; seconds <= 60; seconds++) {
      await pass(1_000)
      if (opener.looks.length > length) return seconds
    }
    return Infinity
  }
  return { clock, opener, namespace, entry, changes, givenUp, states, pass, secondsToNextLook }
}

t.test(
  'rule 2: binds every listener in every family that the namespace has, and looks no more',
  async (t) => {
    const { entry, opener, changes, states, clock } = start(t)
    t.match(entry.status, { state: 'pending', problem: 'not tried yet', pod: { addresses: [] } })
    t.strictSame(await entry.open(), { ok: true })
    t.strictSame(states(), [
      'outbound ipv4 bound',
      'outbound ipv6 bound',
      'inbound ipv4 bound',
      'inbound ipv6 bound',
    ])
    t.match(entry.status, { state: 'up', problem: '' })
    t.strictSame(
      entry.pod.addresses.map(({ text }) => text),
      [V4, V6],
    )
    t.strictSame(changes, [entry.bound], 'workers are told once')
    t.strictSame(
      entry.bound.map(({ index, listener }) => `${index} ${listener}`),
      ['0 outbound', '1 outbound', '2 inbound', '3 inbound'],
    )
    t.equal(clock.pendingTimers, 0)
    t.equal(opener.looks.length, 1)
  },
)

for (const [family, address, other] of [
  ['ipv4', V4, V6],
  ['ipv6', V6, V4],
] as const) {
  t.test(
    `rule 2: a pod that has ${family} only is up, and its other family is looked for again`,
    async (t) => {
      const { entry, opener, namespace, states, secondsToNextLook, changes, clock } = start(t, {
        addresses: [address],
      })
      t.strictSame(await entry.open(), { ok: true })
      const missing = family === 'ipv4' ? 'ipv6' : 'ipv4'
      t.strictSame(
        states().filter((line) => line.endsWith('absent')),
        [`outbound ${missing} absent`, `inbound ${missing} absent`],
      )
      t.equal(entry.status.state, 'up')
      t.match(
        entry.status.listeners.find(({ state }) => state === 'absent')?.reason,
        /no address of this family/,
      )
      const pauses: number[] = []
      for (let look = 0; look < 8; look++) pauses.push(await secondsToNextLook())
      t.strictSame(pauses, [1, 2, 4, 8, 16, 30, 30, 30])
      t.equal(opener.looks.at(-1)?.wanted.length, 2, 'only what is missing is asked for')
      t.equal(changes.length, 1, 'nobody is told that nothing has changed')
      namespace.addresses = [V4, V6]
      t.equal(await secondsToNextLook(), 30)
      t.ok(states().every((line) => line.endsWith('bound')))
      t.equal(changes.at(-1)?.length, 4, 'with the sockets that were there before')
      t.ok(entry.pod.addresses.some(({ text }) => text === other))
      t.equal(clock.pendingTimers, 0)
    },
  )
}

t.test('rule 2: a family that fails is tried again with backoff while the other one serves', async (t) => {
  const { entry, opener, namespace, states, secondsToNextLook, changes, givenUp, clock } = start(t, {
    failing: ['ipv6'],
  })
  t.strictSame(await entry.open(), { ok: false, problem: 'cannot listen on ::: bind EADDRINUSE' })
  t.equal(entry.status.state, 'pending')
  t.equal(states().filter((line) => line.endsWith('failed')).length, 2)
  t.equal(changes[0]?.length, 2, 'what is bound serves')
  const pauses: number[] = []
  for (let look = 0; look < MANY_LOOKS; look++) pauses.push(await secondsToNextLook())
  t.strictSame(pauses.slice(0, 7), [1, 2, 4, 8, 16, 30, 30])
  t.strictSame(givenUp, [], 'a pod that is served is never given up for what it has not')
  t.equal(opener.looks.at(-1)?.wanted.length, 2)
  namespace.failing = []
  await secondsToNextLook()
  t.match(entry.status, { state: 'up', problem: '' })
  t.equal(clock.pendingTimers, 0)
})

t.test('gives up a namespace that stays empty: nobody tries for ever what is gone', async (t) => {
  // istio/istio#55794
  const { entry, opener, givenUp, pass, clock } = start(t, { addresses: [] })
  t.match(await entry.open(), { ok: false, problem: /has no interface/ })
  t.match(entry.status, { state: 'pending', problem: /has no interface/ })
  await pass(3_600_000)
  await pass(3_600_000)
  t.equal(opener.looks.length, MAX_EMPTY_LOOKS)
  t.match(givenUp, [/has no interface/])
  t.equal(givenUp.length, 1)
  t.equal(clock.pendingTimers, 0)
})

t.test('a namespace that gets its address late is served', async (t) => {
  const { entry, namespace, givenUp, secondsToNextLook } = start(t, { addresses: [] })
  await entry.open()
  namespace.addresses = [V6]
  t.equal(await secondsToNextLook(), 1)
  t.equal(entry.status.state, 'up')
  t.strictSame(givenUp, [])
})

for (const [what, facts, problem] of [
  ['whose link is down', { addresses: [], isLinkDown: true }, /no link is up/],
  ['that cannot be entered', { problem: 'setns EMFILE' }, /setns EMFILE/],
  ['whose ports are taken', { failing: FAMILIES }, /EADDRINUSE/],
] as const) {
  t.test(`a namespace ${what} is looked at for ever: nobody would tell of its pod again`, async (t) => {
    const { entry, namespace, givenUp, secondsToNextLook } = start(t, facts)
    t.match(await entry.open(), { ok: false, problem })
    const pauses: number[] = []
    for (let look = 0; look < MANY_LOOKS; look++) pauses.push(await secondsToNextLook())
    t.strictSame(pauses.slice(0, 7), [1, 2, 4, 8, 16, 30, 30])
    t.equal(pauses.at(-1), 30)
    t.strictSame(givenUp, [])
    Object.assign(namespace, { addresses: [V4, V6], problem: undefined, failing: [] })
    await secondsToNextLook()
    t.equal(entry.status.state, 'up')
  })
}

t.test('only a namespace that is empty several times in a row is given up', async (t) => {
  const { entry, namespace, givenUp, secondsToNextLook } = start(t, { addresses: [] })
  await entry.open()
  for (let look = 2; look < MAX_EMPTY_LOOKS; look++) await secondsToNextLook()
  namespace.isLinkDown = true
  await secondsToNextLook()
  namespace.isLinkDown = false
  for (let look = 1; look < MAX_EMPTY_LOOKS; look++) await secondsToNextLook()
  t.strictSame(givenUp, [])
  await secondsToNextLook()
  t.equal(givenUp.length, 1)
})

t.test('a success makes the pauses start over', async (t) => {
  const { entry, namespace, givenUp, secondsToNextLook } = start(t, {
    problem: 'setns EPERM',
    addresses: [V4],
  })
  await entry.open()
  for (let look = 0; look < 9; look++) await secondsToNextLook()
  namespace.problem = undefined
  await secondsToNextLook()
  t.equal(entry.status.state, 'up')
  namespace.problem = 'setns EPERM'
  await secondsToNextLook()
  t.equal(entry.status.state, 'pending')
  t.equal(await secondsToNextLook(), 1)
  t.strictSame(givenUp, [])
})

t.test('a pod that is served is not given up when its addresses go', async (t) => {
  const { entry, namespace, givenUp, changes, secondsToNextLook } = start(t, { addresses: [V4] })
  await entry.open()
  namespace.addresses = []
  for (let look = 0; look < MANY_LOOKS; look++) await secondsToNextLook()
  t.strictSame(givenUp, [], 'its connections live on')
  t.match(entry.status, { state: 'pending', problem: /has no interface/ })
  t.equal(entry.bound.length, 2)
  namespace.addresses = [V4, V6]
  await secondsToNextLook()
  t.equal(entry.status.state, 'up')
  t.equal(changes.at(-1)?.length, 4)
})

t.test('addresses that have become others are told although nothing new is bound', async (t) => {
  const { entry, namespace, changes, secondsToNextLook } = start(t, { addresses: [V4] })
  await entry.open()
  namespace.addresses = [V4, '192.168.7.2']
  await secondsToNextLook()
  t.equal(changes.length, 2)
  t.strictSame(
    entry.pod.addresses.map(({ text }) => text),
    [V4, '192.168.7.2'],
  )
  await secondsToNextLook()
  t.equal(changes.length, 2)
})

t.test('who asks while it is being opened waits for the same answer', async (t) => {
  const { entry, opener, namespace } = start(t, { isHeld: true })
  const both = [entry.open(), entry.open()]
  opener.letGo(namespace)
  t.strictSame(await Promise.all(both), [{ ok: true }, { ok: true }])
  t.equal(opener.looks.length, 1)
})

t.test('who asks again does not wait for the timer, which is set anew', async (t) => {
  const { entry, opener, namespace, clock } = start(t, { problem: 'setns EPERM' })
  await entry.open()
  namespace.problem = undefined
  t.strictSame(await entry.open(), { ok: true })
  t.equal(opener.looks.length, 2)
  t.equal(clock.pendingTimers, 0)
})

t.test(
  'what was opened for a pod that is stopped meanwhile is closed, and nobody is told of it',
  async (t) => {
    const { entry, opener, namespace, changes, clock } = start(t, { isHeld: true })
    const opening = entry.open()
    const stopped = entry.stop()
    opener.letGo(namespace)
    t.match(await opening, { ok: false, problem: /removed meanwhile/ })
    await stopped
    t.equal(opener.openCount, 1, 'the namespace is left')
    t.strictSame(changes, [])
    t.match(await entry.open(), { ok: false, problem: /removed meanwhile/ })
    t.equal(opener.looks.length, 1)
    t.equal(clock.pendingTimers, 0)
  },
)

t.test('a stopped pod keeps its sockets until they are closed', async (t) => {
  const { entry, opener } = start(t, { addresses: [V4] })
  await entry.open()
  await entry.stop()
  t.equal(entry.bound.length, 2)
  t.equal(opener.openCount, 3)
  entry.closeSockets()
  t.equal(entry.bound.length, 0)
  t.equal(opener.openCount, 1)
})
