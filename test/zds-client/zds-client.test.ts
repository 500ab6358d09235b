/** The life of connections to istio-cni: snapshots, answers in time, reconnecting, and what is told of it. */
import t from 'tap'

import { ZdsClient } from '../../src/zds-client/zds-client.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { FakeZdsTransport } from '../fixtures/fake-zds-transport.ts'
import { BAD_NAMESPACE, RecordingPodSink } from '../fixtures/recording-pod-sink.ts'
import { wireBytes } from '../fixtures/wire-bytes.ts'
import { encodeRequest, podOf } from '../fixtures/zds-wire.ts'

import type { Test } from 'tap'
import type { LogFields, LogLevel } from '../../src/core/logger.ts'
import type { WorkloadRequest } from '../../src/zds-client/zds-messages.ts'
import type { ZdsObserver } from '../../src/zds-client/zds-status.ts'
import type { FakeZdsChannel } from '../fixtures/fake-zds-transport.ts'

const PATH = '/var/run/ztunnel/ztunnel.sock'
const SNAPSHOT_SENT: WorkloadRequest = { kind: 'snapshot-sent' }

const addOf = (uid: string): WorkloadRequest => ({ kind: 'add', pod: podOf(uid) })
const keepOf = (uid: string): WorkloadRequest => ({ kind: 'keep', uid })
const deleteOf = (uid: string): WorkloadRequest => ({ kind: 'delete', uid })

/** Lets promises that are settled run their callbacks. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

interface Line {
  readonly level: LogLevel
  readonly message: string
  readonly fields: LogFields | undefined
}

function lab(t: Test) {
  const transport = new FakeZdsTransport()
  const sink = new RecordingPodSink(transport.ledger)
  const clock = new FakeClock()
  const random = { value: 0.5, next: (): number => random.value }
  const lines: Line[] = []
  const events: string[] = []
  const observer: ZdsObserver = {
    connectedChanged: (isConnected) => events.push(isConnected ? 'connected' : 'disconnected'),
    snapshotChanged: (hasSnapshot) => events.push(hasSnapshot ? 'snapshot' : 'no snapshot'),
    message: (kind, result) => events.push(`${kind} ${result}`),
    reconnected: () => events.push('reconnected'),
  }
  const logger = {
    isEnabled: (): boolean => true,
    log: (level: LogLevel, message: string, fields?: LogFields): void =>
      void lines.push({ level, message, fields }),
  }
  const client = new ZdsClient({ transport, sink, clock, random, logger, observer }, { path: PATH })
  t.teardown(() => {
    client.close()
    if (clock.pendingTimers > 0) throw new Error('a timer is left')
  })

  /** Lets the client connect, after its pause if it has one. */
  const accept = (): FakeZdsChannel => {
    if (transport.last.isOver) clock.advance(15_000)
    transport.last.accept()
    return transport.last
  }
  /** The same, and sends a snapshot of these messages. */
  const connect = async (...messages: readonly WorkloadRequest[]): Promise<FakeZdsChannel> => {
    const channel = accept()
    for (const message of [...messages, SNAPSHOT_SENT]) channel.request(message)
    await settled()
    return channel
  }
  return { transport, sink, clock, random, lines, events, client, accept, connect }
}

/** The lines of a level, without their fields. */
const messagesOf = (lines: readonly Line[], ...levels: readonly LogLevel[]): readonly string[] =>
  lines.filter(({ level }) => levels.includes(level)).map(({ message }) => message)

t.test('says hello, takes a snapshot in and follows what comes after it', async (t) => {
  const { transport, sink, client, connect, events } = lab(t)
  client.start()
  t.equal(transport.last.path, PATH)
  t.equal(transport.last.hello, undefined, 'nothing is sent before the connection stands')
  t.match(client.status, { isConnected: false, hasSnapshot: false, everHadSnapshot: false })
  const channel = await connect(addOf('a'), addOf('b'))
  t.equal(Buffer.from(channel.hello ?? []).toString('hex'), '0801')
  t.strictSame(channel.answers, ['', '', ''])
  t.match(client.status, { isConnected: true, hasSnapshot: true, everHadSnapshot: true, reconnects: 0 })
  channel.request(deleteOf('a'))
  channel.request(addOf('c'))
  await settled()
  t.strictSame([...sink.served.keys()], ['b', 'c'])
  t.strictSame(sink.calls, ['add a', 'add b', 'retain a b', 'remove a', 'add c'])
  t.equal(channel.answers.length, 5)
  t.equal(transport.ledger.openCount, 0)
  t.strictSame(transport.closedByClient, [], 'descriptors that were handed over are the sink’s')
  t.match(client.status.messages, {
    add: { accepted: 3 },
    delete: { accepted: 1 },
    'snapshot-sent': { accepted: 1 },
  })
  t.strictSame(events, [
    'connected',
    'add accepted',
    'add accepted',
    'snapshot-sent accepted',
    'snapshot',
    'delete accepted',
    'add accepted',
  ])
})

t.test('sees to one message after the other', async (t) => {
  const { transport, sink, client, connect } = lab(t)
  client.start()
  sink.hold()
  const channel = await connect(addOf('a'), addOf('b'))
  t.strictSame(sink.calls, ['add a'])
  t.strictSame(channel.answers, [])
  t.equal(transport.ledger.openCount, 2)
  sink.release()
  await settled()
  t.strictSame(sink.calls, ['add a', 'add b', 'retain a b'])
  t.strictSame(channel.answers, ['', '', ''])
})

t.test('answers with the reason when a pod cannot be served, and logs who it is', async (t) => {
  const { sink, client, connect, lines, transport } = lab(t)
  client.start()
  const channel = await connect()
  channel.request(addOf('a'), BAD_NAMESPACE)
  await settled()
  sink.problem = ''
  channel.request(addOf('b'), BAD_NAMESPACE)
  channel.request(addOf('c'))
  await settled()
  t.equal(channel.answers[1], 'add of pod a: not a network namespace')
  t.equal(channel.answers[2], 'add of pod b: no reason is known', 'an empty error would say that all is well')
  t.equal(channel.answers[3], '')
  t.match(
    lines.find(({ level }) => level === 'warn'),
    {
      message: /add of pod a: not a network namespace/,
      fields: { uid: 'a', name: 'pod-a', namespace: 'default' },
    },
  )
  t.equal(client.status.messages.add.failed, 2)
  t.equal(transport.ledger.openCount, 0)
})

t.test('answers for a sink that takes longer than 4 s, and sees to the next message', async (t) => {
  const { sink, client, connect, lines, clock } = lab(t)
  client.start()
  const channel = await connect()
  sink.hold()
  channel.request(addOf('slow'))
  await settled()
  clock.advance(3_999)
  await settled()
  t.equal(channel.answers.length, 1)
  clock.advance(1)
  await settled()
  t.equal(channel.answers[1], 'add of pod slow: it has not been done within 4000 ms')
  channel.request(SNAPSHOT_SENT)
  await settled()
  t.match(channel.answers[2], /complete already/)
  sink.release()
  await settled()
  t.equal(channel.answers.length, 3, 'what is done late has had its answer')
  t.ok(sink.served.has('slow'))
  t.match(lines.at(-1), {
    level: 'info',
    message: /too long for its answer and is now done/,
    fields: { uid: 'slow' },
  })
  t.match(client.status.messages.add, { timeout: 1, accepted: 0 })
  t.equal(clock.pendingTimers, 0)
})

t.test('answers keep and delete of a pod that is not served with an error', async (t) => {
  const { sink, client, connect, lines } = lab(t)
  client.start()
  const channel = await connect(addOf('a'), keepOf('a'), keepOf('x'))
  channel.request(deleteOf('y'))
  await settled()
  t.strictSame(channel.answers.slice(0, 2), ['', ''])
  t.match(channel.answers[2], /^keep of pod x: it is not served here/)
  t.equal(channel.answers[4], 'delete of pod y: it is not served here')
  t.strictSame([...sink.served.keys()], ['a'])
  t.strictSame(messagesOf(lines, 'warn').length, 1, 'that a pod is gone whom nobody serves is no news')
})

t.test('goes on after what is against the protocol, and closes what came with it', async (t) => {
  const { transport, sink, client, connect } = lab(t)
  client.start()
  const channel = await connect(addOf('a'))
  const { ledger } = transport
  channel.packet({ bytes: encodeRequest(deleteOf('a')), descriptors: [ledger.open('x'), ledger.open('y')] })
  channel.packet({ bytes: wireBytes({ 9: 'new' }), descriptors: [ledger.open('x')] })
  channel.packet({ bytes: encodeRequest(addOf('b')), hasLostDescriptors: true })
  channel.request(addOf('c'))
  await settled()
  t.match(channel.answers.slice(2), [/^delete of pod a: takes no/, /field 9/, /RLIMIT_NOFILE/, /^$/])
  t.strictSame([...sink.served.keys()], ['a', 'c'])
  t.equal(transport.closedByClient.length, 3)
  t.equal(ledger.openCount, 0)
  t.match(client.status.messages, { delete: { refused: 1 }, unknown: { refused: 1 }, add: { refused: 1 } })
})

t.test('ends the pods that a new snapshot does not name, and leaves the others alone', async (t) => {
  const { transport, sink, client, connect, events } = lab(t)
  client.start()
  const first = await connect(addOf('a'), addOf('b'), addOf('gone'))
  first.end('the server closed it')
  t.match(client.status, { isConnected: false, hasSnapshot: false, everHadSnapshot: true })
  t.equal(sink.served.size, 3, 'pods are served while istio-cni is away')
  const second = await connect(addOf('a'), keepOf('b'))
  t.strictSame(second.answers, ['', '', ''])
  t.strictSame([...sink.served.keys()], ['a', 'b'])
  t.match(client.status, { hasSnapshot: true, reconnects: 1 })
  t.ok(events.join().includes('no snapshot,disconnected,connected,reconnected'), events.join())
  t.equal(transport.ledger.openCount, 0)
})

t.test('keeps a pod that the snapshot names when it cannot be added anew', async (t) => {
  const { sink, client, accept, connect } = lab(t)
  client.start()
  const first = await connect(addOf('a'))
  first.end('the server closed it')
  const second = accept()
  second.request(addOf('a'), BAD_NAMESPACE)
  second.request(SNAPSHOT_SENT)
  await settled()
  t.match(second.answers, [/^add of pod a/, /^$/])
  t.equal(sink.served.get('a'), 'ns-a')
})

t.test('keeps everybody when a message of the snapshot cannot be used', async (t) => {
  const { sink, client, accept, connect, lines } = lab(t)
  client.start()
  const first = await connect(addOf('a'))
  first.end('the server closed it')
  const second = accept()
  second.packet({ bytes: encodeRequest(addOf('a')).subarray(0, 5), isTruncated: true })
  second.request(addOf('b'))
  second.request(SNAPSHOT_SENT)
  await settled()
  t.strictSame([...sink.served.keys()], ['a', 'b'])
  t.ok(client.status.hasSnapshot)
  t.match(messagesOf(lines, 'warn').at(-1), /pods that were not named stay/)
})

t.test('retains everybody when istio-cni closes in mid-snapshot', async (t) => {
  const { sink, client, accept, connect, lines, transport } = lab(t)
  client.start()
  const first = await connect(addOf('a'), addOf('b'))
  first.end('the server closed it')
  const second = accept()
  second.request(addOf('a'))
  await settled()
  second.end('the server closed it')
  t.strictSame([...sink.served.keys()], ['a', 'b'])
  t.match(lines.at(-1), {
    level: 'warn',
    message: /is lost in the middle of a snapshot: the server closed it/,
  })
  t.notOk(client.status.hasSnapshot)
  await connect(addOf('b'))
  t.strictSame([...sink.served.keys()], ['b'])
  t.equal(transport.ledger.openCount, 0)
})

t.test('leaves what it has not looked at when the connection goes, and closes its descriptors', async (t) => {
  const { transport, sink, client, connect, accept, clock } = lab(t)
  client.start()
  const first = await connect()
  sink.hold()
  for (const uid of ['a', 'b', 'c']) first.request(addOf(uid))
  await settled()
  first.end('the server closed it')
  t.equal(transport.ledger.openCount, 1, 'the one that was handed over')
  clock.advance(3_000)
  t.equal(transport.channels.length, 1, 'it does not connect before the sink is done')
  sink.release()
  await settled()
  t.strictSame(sink.calls, ['retain', 'add a'])
  t.equal(first.answers.length, 1)
  accept()
  t.equal(transport.channels.length, 2)
  t.equal(transport.ledger.openCount, 0)
})

t.test('connects again when the sink has been given up on', async (t) => {
  const { transport, sink, client, connect, clock } = lab(t)
  client.start()
  const first = await connect()
  sink.hold()
  first.request(addOf('a'))
  await settled()
  first.end('the server closed it')
  clock.advance(4_000)
  await settled()
  const second = await connect()
  t.equal(transport.channels.length, 2)
  t.strictSame(second.answers, [''])
  sink.release()
  await settled()
  t.strictSame([...sink.served.keys()], [], 'it is not in the snapshot that came meanwhile')
})

t.test('doubles the pause from 20 ms to 15 s, and starts over after a snapshot', async (t) => {
  const { transport, clock, client, random, connect, accept } = lab(t)
  client.start()
  random.value = 0.999_999
  const pauseAfter = (end: () => void): number => {
    const count = transport.channels.length
    end()
    const beforeMs = clock.nowMs()
    while (transport.channels.length === count) clock.advance(10)
    return clock.nowMs() - beforeMs
  }
  const pauses = Array.from({ length: 12 }, () =>
    pauseAfter(() => {
      transport.last.end('ENOENT')
    }),
  )
  t.strictSame(pauses, [20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 15_000, 15_000])
  accept().request(addOf('a'))
  await settled()
  t.equal(
    pauseAfter(() => {
      transport.last.end('the server closed it')
    }),
    15_000,
    'a server that does not get through its snapshot is not asked without a pause',
  )
  const channel = await connect()
  t.equal(
    pauseAfter(() => {
      channel.end('the server closed it')
    }),
    20,
  )
})

t.test('logs changes, not attempts', async (t) => {
  const { transport, clock, client, lines, connect } = lab(t)
  client.start()
  const fail = (reason: string): void => {
    transport.last.end(reason)
    clock.advance(15_000)
  }
  for (const reason of ['ENOENT', 'ENOENT', 'ENOENT', 'ECONNREFUSED', 'ECONNREFUSED']) fail(reason)
  t.match(messagesOf(lines, 'warn'), [
    /^cannot connect to istio-cni at \/var\/run\/ztunnel\/ztunnel\.sock: ENOENT; connecting again/,
    /: ECONNREFUSED;/,
  ])
  t.equal(lines.length, 2)
  t.match(client.status.lastError, { text: /ECONNREFUSED$/, atMs: clock.wallTimeMs() - 15_000 })
  await connect(addOf('a'))
  t.match(messagesOf(lines.splice(0), 'info'), [/^connected to istio-cni at/, /every pod of the node: 1$/])
  fail('the server closed it')
  for (const reason of ['ECONNREFUSED', 'ECONNREFUSED']) fail(reason)
  t.match(lines, [
    {
      level: 'info',
      message: /^the connection to istio-cni .* is lost: the server closed it; connecting again/,
    },
    { level: 'warn', message: /ECONNREFUSED/ },
  ])
  t.equal(lines.length, 2)
})

t.test('says once that a server may not know the version, when it closes after the hello', async (t) => {
  const { accept, client, lines } = lab(t)
  client.start()
  for (let attempt = 0; attempt < 3; attempt++) accept().end('the server closed it')
  t.equal(lines.length, 1)
  t.match(lines[0], {
    level: 'warn',
    message: /\(the server closed it\): it may not know version 1 of the protocol/,
  })
  t.match(client.status, { reconnects: 2, lastError: { text: /version 1/ } })
})

t.test('closes once, whatever it is doing', async (t) => {
  const { transport, sink, clock, client, connect, events } = lab(t)
  client.start()
  const channel = await connect()
  sink.hold()
  channel.request(addOf('a'))
  channel.request(addOf('b'))
  await settled()
  client.close()
  client.close()
  t.ok(channel.isClosedByClient)
  t.equal(transport.ledger.openCount, 1, 'the sink has the other one')
  t.equal(clock.pendingTimers, 0)
  t.match(client.status, { isConnected: false, hasSnapshot: false })
  t.strictSame(events.slice(-2), ['no snapshot', 'disconnected'])
  sink.release()
  await settled()
  t.strictSame(sink.calls, ['retain', 'add a'])
  t.equal(channel.answers.length, 1)
  t.equal(clock.pendingTimers, 0)
  t.throws(() => client.start(), /started or closed before/)
})

t.test('closes while it waits to connect, and before it has started', async (t) => {
  const waiting = lab(t)
  waiting.client.start()
  waiting.transport.last.end('ENOENT')
  t.equal(waiting.clock.pendingTimers, 1)
  waiting.client.close()
  t.equal(waiting.clock.pendingTimers, 0)
  const connecting = lab(t)
  connecting.client.start()
  connecting.client.close()
  t.ok(connecting.transport.last.isClosedByClient)
  t.strictSame(connecting.events, [])
  lab(t).client.close()
})
