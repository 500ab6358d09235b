import t from 'tap'

import { parseSocketAddress } from '../../src/core/address.ts'
import { ABANDONED_MS, LoopGuard } from '../../src/proxy/loop-guard.ts'
import { UpstreamEnds } from '../../src/proxy/upstream-ends.ts'

import type { ConnectionEnds } from '../../src/proxy/upstream-ends.ts'

const SERVER = parseSocketAddress('[fd00::2]:9000')
const OWN: ConnectionEnds = { from: parseSocketAddress('[fd00::1]:40000'), to: SERVER }
const FOREIGN: ConnectionEnds = { from: parseSocketAddress('10.0.0.1:1'), to: SERVER }

t.test('rule 4: refuses a captured connection that comes from an upstream socket of the proxy', async (t) => {
  const guard = new LoopGuard(UpstreamEnds.allocate(0))
  guard.connected(OWN)
  t.equal(
    guard.accepted(OWN, () => undefined),
    false,
  )
  t.equal(
    guard.accepted({ ...OWN, from: parseSocketAddress('[fd00::1]:40001') }, () => undefined),
    true,
  )
})

t.test(
  'a connection of an application that shares a port with the proxy towards another server goes on',
  async (t) => {
    // The kernel gives one source address and port to connections of several destinations.
    const guard = new LoopGuard(UpstreamEnds.allocate(0))
    guard.connected(OWN)
    t.equal(
      guard.accepted({ ...OWN, to: parseSocketAddress('[fd00::2]:9001') }, () => undefined),
      true,
    )
  },
)

t.test('rule 4: tells of a loop whose upstream end is reported after its downstream end', async (t) => {
  const guard = new LoopGuard(UpstreamEnds.allocate(0))
  let loops = 0
  t.equal(
    guard.accepted(OWN, () => loops++),
    true,
  )
  guard.connected(OWN)
  t.equal(loops, 1)
})

t.test('forgets the ends of a connection that is gone, so that ports can be used again', async (t) => {
  const guard = new LoopGuard(UpstreamEnds.allocate(0))
  guard.connected(OWN)
  guard.ended(FOREIGN, OWN)
  let loops = 0
  t.equal(
    guard.accepted(OWN, () => loops++),
    true,
  )
  guard.ended(OWN, undefined)
  guard.connected(OWN)
  t.equal(loops, 0)
})

t.test('rule 4: recognises the upstream connections of the other threads', async (t) => {
  const ends = UpstreamEnds.allocate(0)
  const elsewhere = new LoopGuard(ends)
  const guard = new LoopGuard(UpstreamEnds.allocate(0), [new UpstreamEnds(ends.shared)])
  t.equal(guard.isOwn(OWN), false)
  elsewhere.connected(OWN)
  t.equal(guard.isOwn(OWN), true)
  elsewhere.ended(FOREIGN, OWN)
  t.equal(guard.isOwn(OWN), false)
})

t.test(
  'rule 4: recognises an attempt before it has connected, and no longer once it has failed',
  async (t) => {
    const guard = new LoopGuard(UpstreamEnds.allocate(0))
    guard.connecting(OWN, 0)
    t.equal(guard.isOwn(OWN), true)
    guard.settled(OWN)
    t.equal(guard.isOwn(OWN), false)
  },
)

t.test('rule 4: remembers an attempt that was given up until its other end has been accepted', async (t) => {
  const guard = new LoopGuard(UpstreamEnds.allocate(0))
  const other = { ...OWN, from: parseSocketAddress('[fd00::1]:40001') }
  guard.connecting(OWN, 0)
  guard.abandoned(OWN, 1_000)
  guard.connecting(other, 999 + ABANDONED_MS)
  t.equal(guard.isOwn(OWN), true)
  guard.connecting(other, 1_000 + ABANDONED_MS)
  t.equal(guard.isOwn(OWN), false)
  t.equal(guard.isOwn(other), true)
})

t.test('rule 4: the same ends in two network namespaces are no loop, in one they are', async (t) => {
  // A connection from pod to pod of a node: out of the one and into the other with the same addresses.
  const guard = new LoopGuard(UpstreamEnds.allocate(0))
  const loops: string[] = []
  guard.connected({ ...OWN, namespaceId: 1 })
  t.equal(
    guard.accepted({ ...OWN, namespaceId: 2 }, () => loops.push('late')),
    true,
  )
  t.equal(
    guard.accepted({ ...OWN, namespaceId: 1 }, () => undefined),
    false,
  )
  t.equal(guard.isOwn(OWN), false, "and the agent's own namespace is one more")
  guard.connected({ ...OWN, namespaceId: 3 })
  t.strictSame(loops, [])
  guard.connected({ ...OWN, namespaceId: 2 })
  t.strictSame(loops, ['late'])
})

t.test('rule 4: an attempt in a pod is recognised there only, and forgotten there only', async (t) => {
  const guard = new LoopGuard(UpstreamEnds.allocate(0))
  const inPods = [1, 2].map((namespaceId): ConnectionEnds => ({ ...OWN, namespaceId }))
  for (const ends of inPods) guard.connecting(ends, 0)
  const [first = OWN, second = OWN] = inPods
  guard.settled(first)
  t.strictSame(
    [OWN, first, second].map((ends) => guard.isOwn(ends)),
    [false, false, true],
  )
  guard.connected(second)
  guard.settled(second)
  guard.ended({ ...FOREIGN, namespaceId: 2 }, second)
  t.equal(guard.isOwn(second), false)
})
