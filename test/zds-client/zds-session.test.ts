/** The machine of one connection, message by message. */
import t from 'tap'

import { ZdsSession } from '../../src/zds-client/zds-session.ts'
import { wireBytes } from '../fixtures/wire-bytes.ts'
import { decodeAnswer, encodeAdd, encodeRequest, podOf } from '../fixtures/zds-wire.ts'

import type { WorkloadRequest } from '../../src/zds-client/zds-messages.ts'
import type { Received, Task } from '../../src/zds-client/zds-session.ts'
import type { ZdsPacket } from '../../src/zds-client/zds-transport.ts'

const FD = 7
const SNAPSHOT_SENT: WorkloadRequest = { kind: 'snapshot-sent' }

function packet(bytes: Uint8Array, more: Partial<ZdsPacket> = {}): ZdsPacket {
  return { bytes, descriptors: [], isTruncated: false, hasLostDescriptors: false, ...more }
}

/** A packet with a request, an add with its descriptor. */
function packetOf(request: WorkloadRequest, more: Partial<ZdsPacket> = {}): ZdsPacket {
  return packet(encodeRequest(request), { descriptors: request.kind === 'add' ? [FD] : [], ...more })
}

const addOf = (uid: string): WorkloadRequest => ({ kind: 'add', pod: podOf(uid) })
const keepOf = (uid: string): WorkloadRequest => ({ kind: 'keep', uid })
const deleteOf = (uid: string): WorkloadRequest => ({ kind: 'delete', uid })

/** The whole life of a message: received, done or not, answered. */
function exchange(
  session: ZdsSession,
  message: ZdsPacket | WorkloadRequest,
  problem?: string,
): Received & { readonly answer: string } {
  const received = session.receive('bytes' in message ? message : packetOf(message))
  const refused = received.task.kind === 'refuse' ? received.task.problem : undefined
  const answer = session.settle(refused ?? problem)
  return { ...received, answer: decodeAnswer(answer.bytes) }
}

function live(...messages: readonly WorkloadRequest[]): ZdsSession {
  const session = new ZdsSession()
  for (const message of [...messages, SNAPSHOT_SENT]) exchange(session, message)
  return session
}

/** Whom the task that completes a snapshot retains; undefined when it retains everybody. */
function retained(task: Task): readonly string[] | undefined {
  if (task.kind !== 'reconcile') throw new Error(`${task.kind} does not complete a snapshot`)
  return task.isComplete ? [...task.uids].sort() : undefined
}

t.test('turns a snapshot into what the sink has to do, and then knows that it is complete', async (t) => {
  const session = new ZdsSession()
  const added = exchange(session, addOf('a'))
  t.strictSame(added.task, { kind: 'add', pod: podOf('a'), namespaceFd: FD })
  t.strictSame(added.surplus, [], 'the descriptor goes to the sink')
  t.strictSame(exchange(session, keepOf('b')).task, keepOf('b'))
  t.notOk(session.hasSnapshot)
  const { task, answer } = exchange(session, SNAPSHOT_SENT)
  t.strictSame(retained(task), ['a', 'b'])
  t.equal(answer, '')
  t.ok(session.hasSnapshot)
  t.strictSame(exchange(session, deleteOf('a')).task, deleteOf('a'))
  t.match(exchange(session, addOf('c')).task, { kind: 'add' })
})

t.test('retains everybody that a snapshot names, whatever became of the message', async (t) => {
  const session = new ZdsSession()
  t.equal(exchange(session, addOf('failed'), 'no listener').answer, 'add of pod failed: no listener')
  exchange(session, packetOf(addOf('without-descriptor'), { descriptors: [] }))
  exchange(session, packetOf(keepOf('with-descriptor'), { descriptors: [FD] }))
  exchange(session, packet(wireBytes({ 1: encodeAdd({ ...podOf('nameless'), name: '' }) })))
  exchange(session, addOf('twice'))
  exchange(session, addOf('twice'))
  t.strictSame(retained(exchange(session, SNAPSHOT_SENT).task), [
    'failed',
    'nameless',
    'twice',
    'with-descriptor',
    'without-descriptor',
  ])
})

t.test('does not retain whom a snapshot deletes again', async (t) => {
  const session = new ZdsSession()
  exchange(session, addOf('a'))
  exchange(session, keepOf('b'))
  exchange(session, deleteOf('a'), 'it takes too long')
  exchange(session, packetOf(deleteOf('c'), { descriptors: [FD] }))
  exchange(session, deleteOf(''))
  t.strictSame(retained(exchange(session, SNAPSHOT_SENT).task), ['b'], 'a bad delete names nobody either')
})

t.test('takes nobody for gone when a message of the snapshot may have been about anybody', async (t) => {
  const unreadable = [
    packetOf(addOf('a'), { isTruncated: true, bytes: encodeRequest(addOf('a')).subarray(0, 4) }),
    packet(wireBytes({ 9: 'x' })),
    packet(wireBytes({})),
    packetOf(addOf('')),
    packetOf(keepOf('')),
  ]
  for (const message of unreadable) {
    const session = new ZdsSession()
    exchange(session, addOf('b'))
    t.not(exchange(session, message).answer, '')
    const { task, answer } = exchange(session, SNAPSHOT_SENT)
    t.equal(retained(task), undefined)
    t.equal(answer, '')
    t.ok(session.hasSnapshot)
  }
})

t.test('refuses what is against the protocol, names it, closes what came with it, and goes on', async (t) => {
  const complete = (): ZdsSession => live(addOf('a'))
  const fresh = (): ZdsSession => new ZdsSession()
  const tables: readonly (readonly [string, () => ZdsSession, ZdsPacket, RegExp])[] = [
    ['keep after the snapshot', complete, packetOf(keepOf('a')), /^keep of pod a: belongs to a snapshot/],
    ['a second snapshot-sent', complete, packetOf(SNAPSHOT_SENT), /^snapshot-sent: .* complete already/],
    [
      'a descriptor with delete',
      complete,
      packetOf(deleteOf('a'), { descriptors: [FD] }),
      /^delete of pod a: takes no descriptor and came with 1/,
    ],
    [
      'a descriptor with keep',
      fresh,
      packetOf(keepOf('a'), { descriptors: [FD] }),
      /^keep of pod a: takes no descriptor and came with 1/,
    ],
    [
      'descriptors with snapshot-sent',
      fresh,
      packetOf(SNAPSHOT_SENT, { descriptors: [FD, 8] }),
      /^snapshot-sent: takes no descriptor and came with 2/,
    ],
    [
      'an add without a descriptor',
      fresh,
      packetOf(addOf('a'), { descriptors: [] }),
      /^add of pod a: needs one descriptor, .* came with 0/,
    ],
    [
      'an add with two',
      fresh,
      packetOf(addOf('a'), { descriptors: [FD, 8] }),
      /^add of pod a: needs one descriptor, .* came with 2/,
    ],
    [
      'a packet that was cut',
      fresh,
      packet(encodeRequest(addOf('a')).subarray(0, 9), { isTruncated: true, descriptors: [FD] }),
      /^add: longer than the 9 bytes that are taken/,
    ],
    [
      'a packet that was cut where a field ends',
      fresh,
      packetOf(addOf('a'), { isTruncated: true }),
      /^add of pod a: longer than/,
    ],
    [
      'a lost descriptor',
      fresh,
      packetOf(addOf('a'), { hasLostDescriptors: true, descriptors: [] }),
      /^add of pod a: .* limit of open descriptors \(RLIMIT_NOFILE\)/,
    ],
    [
      'some of several descriptors lost',
      fresh,
      packetOf(addOf('a'), { hasLostDescriptors: true }),
      /limit of open descriptors/,
    ],
    [
      'bytes that are no message',
      complete,
      packet(Uint8Array.of(0xff), { descriptors: [FD] }),
      /^a message: cannot be read: .* in 1 bytes/,
    ],
    ['a newer message', complete, packet(wireBytes({ 9: 'x' })), /^a message: .* only field 9/],
    [
      'a field without a value',
      complete,
      packet(wireBytes({ 1: encodeAdd({ ...podOf('a'), namespace: '' }) }), { descriptors: [FD] }),
      /^add of pod a: add\.workload_info\.namespace must not be empty/,
    ],
  ]
  for (const [name, begin, message, expected] of tables) {
    const session = begin()
    const hadSnapshot = session.hasSnapshot
    const { task, answer, surplus } = exchange(session, message)
    t.equal(task.kind, 'refuse', name)
    t.match(answer, expected, name)
    t.strictSame(surplus, message.descriptors, `${name}: every descriptor is closed`)
    t.equal(session.hasSnapshot, hadSnapshot, name)
    t.match(exchange(session, addOf('z')).task, { kind: 'add' }, `${name}: the connection goes on`)
  }
})

t.test('completes a snapshot with a good snapshot-sent after a bad one', async (t) => {
  const session = new ZdsSession()
  exchange(session, packetOf(SNAPSHOT_SENT, { descriptors: [FD] }))
  exchange(session, addOf('a'))
  t.strictSame(retained(exchange(session, SNAPSHOT_SENT).task), ['a'])
})

t.test('has one answer to each message, and one message at a time', async (t) => {
  const session = new ZdsSession()
  t.throws(() => session.settle(), /no message to settle/)
  session.receive(packetOf(addOf('a')))
  t.throws(() => session.receive(packetOf(addOf('b'))), /not settled yet/)
  session.settle()
  t.throws(() => session.settle(), /no message to settle/)
})
