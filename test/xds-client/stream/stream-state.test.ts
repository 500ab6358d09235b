/** The machine of one stream, request by request. */
import t from 'tap'

import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { finishSteps } from '../../../src/xds-client/slices.ts'
import { StreamState } from '../../../src/xds-client/stream/stream-state.ts'
import { Subscription } from '../../../src/xds-client/stream/subscription.ts'
import { decodeRequest, encodeResponse } from '../../fixtures/discovery-codec.ts'

import type { XdsMode } from '../../../src/xds-client/stream/discovery-messages.ts'
import type { Rejection, TypeUpdate } from '../../../src/xds-client/discovery.ts'
import type { Received } from '../../../src/xds-client/stream/stream-state.ts'
import type { Interest } from '../../../src/xds-client/stream/subscription.ts'
import type { SeenRequest, SentResource, SentResponse } from '../../fixtures/discovery-codec.ts'

const { address, assignment, authorization, cluster, listener, nameTable } = TYPE_URLS
const NODE = { id: 'ztunnel~10.0.0.1~a.b~b.svc.cluster.local', metadata: {} }

/** One client with its subscriptions, over any number of streams. */
class Lab {
  readonly mode: XdsMode
  readonly subscriptions: readonly Subscription[]
  stream: StreamState

  constructor(mode: XdsMode, types: readonly (readonly [string, Interest])[]) {
    this.mode = mode
    this.subscriptions = types.map(([typeUrl, interest]) => new Subscription({ typeUrl, interest }))
    this.stream = this.open()
  }

  /** Begins a new stream. */
  open(): StreamState {
    const { mode, subscriptions } = this
    this.stream = new StreamState({ mode, node: NODE, subscriptions })
    return this.stream
  }

  of(typeUrl: string): Subscription {
    const found = this.subscriptions.find((subscription) => subscription.typeUrl === typeUrl)
    if (found === undefined) throw new Error(`the lab does not subscribe to ${typeUrl}`)
    return found
  }

  sent(): readonly SeenRequest[] {
    return this.stream.takeRequests().map((bytes) => decodeRequest(this.mode, bytes))
  }

  receive(response: SentResponse): Received {
    return this.stream.receive(encodeResponse(this.mode, response))
  }

  /** Receives a response that must be an update. */
  update(response: SentResponse): TypeUpdate {
    const received = this.receive(response)
    if (received.kind !== 'update') throw new Error(`not an update: ${JSON.stringify(received)}`)
    return received.update
  }

  /** The whole life of a response: received, applied but for `rejections`, answered. */
  exchange(response: SentResponse, rejections: readonly Rejection[] = []): readonly SeenRequest[] {
    this.update(response)
    this.stream.settle(rejections)
    return this.sent()
  }
}

const named = (...names: readonly string[]): readonly SentResource[] =>
  names.map((name) => ({ name, version: '1' }))

t.test('sends the node with the first request only, one request per type in order', (t) => {
  const lab = new Lab('delta', [
    [address, 'wildcard'],
    [authorization, 'wildcard'],
  ])
  const [first, second, ...rest] = lab.sent()
  t.match(first, { typeUrl: address, nodeId: NODE.id, subscribe: [], unsubscribe: [], nonce: '' })
  t.match(second, { typeUrl: authorization, subscribe: [], nonce: '' })
  t.equal(second?.nodeId, undefined)
  t.strictSame(rest, [])
  t.strictSame(lab.sent(), [], 'nothing is sent twice')
  t.end()
})

t.test('answers a response with an ACK that holds its nonce and nothing else', (t) => {
  const lab = new Lab('delta', [[address, 'wildcard']])
  lab.sent()
  const [ack, ...rest] = lab.exchange({ typeUrl: address, nonce: 'n1', resources: named('a') })
  t.strictSame(rest, [])
  t.match(ack, { typeUrl: address, nonce: 'n1', subscribe: [], unsubscribe: [], initialVersions: {} })
  t.equal(ack?.error, undefined)
  t.equal(ack?.nodeId, undefined)
  t.end()
})

t.test('answers with a NACK that names each rejected resource and its problems', (t) => {
  const lab = new Lab('delta', [[address, 'wildcard']])
  lab.sent()
  const [nack] = lab.exchange({ typeUrl: address, nonce: 'n1', resources: named('a', 'b', 'c') }, [
    { name: 'a', problems: ['addresses[0]: must have 4 or 16 bytes', 'uid: missing'] },
    { name: 'b', problems: ['x'] },
  ])
  t.strictSame(nack?.error, {
    code: 13,
    message: 'a: addresses[0]: must have 4 or 16 bytes, uid: missing; b: x',
  })
  t.equal(nack?.nonce, 'n1')
  t.strictSame([...lab.of(address).known.keys()], ['c'], 'what is good counts')
  t.end()
})

t.test('sends the last accepted version in the state-of-the-world protocol', (t) => {
  const lab = new Lab('sotw', [[cluster, 'wildcard']])
  t.match(lab.sent(), [{ version: '', nonce: '', names: [] }])
  t.match(lab.exchange({ typeUrl: cluster, version: 'v1', nonce: 'n1', resources: named('a') }), [
    { version: 'v1', nonce: 'n1', names: [] },
  ])
  const bad = [{ name: 'b', problems: ['no'] }]
  t.match(lab.exchange({ typeUrl: cluster, version: 'v2', nonce: 'n2', resources: named('a', 'b') }, bad), [
    { version: 'v1', nonce: 'n2', error: { message: 'b: no' } },
  ])
  t.match(lab.exchange({ typeUrl: cluster, version: 'v3', nonce: 'n3', resources: named('a') }), [
    { version: 'v3', nonce: 'n3' },
  ])
  lab.open()
  t.match(lab.sent(), [{ version: 'v3', nonce: '' }], 'the version survives the stream, the nonce does not')
  t.end()
})

t.test('asks for named resources when there is a name, with the whole list each time', (t) => {
  const lab = new Lab('sotw', [
    [cluster, 'wildcard'],
    [assignment, 'named'],
  ])
  t.equal(lab.sent().length, 1, 'no name: an empty list would ask for everything')
  lab.of(assignment).setNames(['a', 'b'])
  t.match(lab.sent(), [{ typeUrl: assignment, names: ['a', 'b'], nonce: '' }])
  t.match(lab.exchange({ typeUrl: assignment, version: 'v1', nonce: 'n1', resources: named('a') }), [
    { names: ['a', 'b'], nonce: 'n1', version: 'v1' },
  ])
  lab.of(assignment).setNames(['b', 'c'])
  t.match(lab.sent(), [{ names: ['b', 'c'], nonce: 'n1', version: 'v1' }])
  lab.of(assignment).setNames([])
  t.match(lab.sent(), [{ names: [], nonce: 'n1' }])
  t.end()
})

t.test('sends changes of names without a nonce in the delta protocol', (t) => {
  const lab = new Lab('delta', [[assignment, 'named']])
  lab.of(assignment).setNames(['a', 'b'])
  t.match(lab.sent(), [{ subscribe: ['a', 'b'], unsubscribe: [], nonce: '', nodeId: NODE.id }])
  lab.exchange({ typeUrl: assignment, nonce: 'n1', resources: named('a', 'b') })
  lab.of(assignment).setNames(['b', 'c'])
  t.match(lab.sent(), [{ subscribe: ['c'], unsubscribe: ['a'], nonce: '' }])
  lab.of(assignment).subscribe(['b'])
  t.match(lab.sent(), [{ subscribe: ['b'], unsubscribe: [] }], 'asks again, which forces a resend')
  lab.of(assignment).unsubscribe(['b'])
  lab.of(assignment).subscribe(['b'])
  const [readded] = lab.sent()
  t.strictSame([readded?.subscribe, readded?.unsubscribe], [['b'], []], 'removed and added goes out as added')
  lab.of(assignment).subscribe(['d'])
  lab.of(assignment).unsubscribe(['d'])
  t.strictSame(lab.sent(), [], 'added and removed was never there')
  t.end()
})

t.test('holds what an update changes until its ACK is out', (t) => {
  const lab = new Lab('delta', [
    [cluster, 'wildcard'],
    [assignment, 'named'],
  ])
  lab.sent()
  lab.update({ typeUrl: cluster, nonce: 'n1', resources: named('a') })
  lab.of(assignment).setNames(['a'])
  t.strictSame(lab.sent(), [])
  lab.stream.settle([])
  t.match(lab.sent(), [
    { typeUrl: cluster, nonce: 'n1' },
    { typeUrl: assignment, subscribe: ['a'], nonce: '' },
  ])
  t.end()
})

t.test('never names anything of a wildcard type', (t) => {
  const lab = new Lab('delta', [[address, 'wildcard']])
  lab.sent()
  lab.of(address).subscribe(['/10.0.0.1'])
  lab.of(address).setNames(['a'])
  lab.of(address).unsubscribe(['a'])
  t.strictSame(lab.sent(), [])
  t.end()
})

t.test('asks for nothing while its claims are written, and then what it asks without that', (t) => {
  const lab = new Lab('delta', [[address, 'on-demand']])
  lab.sent()
  const names = Array.from({ length: 300 }, (_, n) => `pod-${n}`)
  lab.exchange({ typeUrl: address, nonce: 'n1', resources: named('', ...names) })
  const plain = lab.open().takeRequests()
  const steps = lab.open().prepareSteps()
  steps.next()
  t.strictSame(lab.sent(), [])
  t.equal(finishSteps(steps), undefined)
  t.strictSame(lab.stream.takeRequests(), plain)
  t.equal(Object.keys(decodeRequest('delta', plain[0] ?? Buffer.alloc(0)).initialVersions).length, 300)
  t.end()
})

t.test('claims nothing that was unsubscribed while the claims were written', (t) => {
  const lab = new Lab('delta', [[address, 'on-demand']])
  lab.of(address).subscribe(['a', 'b'])
  lab.sent()
  lab.exchange({ typeUrl: address, nonce: 'n1', resources: named('a', 'b') })
  finishSteps(lab.open().prepareSteps())
  lab.of(address).unsubscribe(['a'])
  t.match(lab.sent(), [{ subscribe: ['*', 'b'], initialVersions: { a: undefined, b: '1' } }])
  t.end()
})

t.test('subscribes to nothing and then by name or alias on demand', (t) => {
  const lab = new Lab('delta', [[address, 'on-demand']])
  t.match(lab.sent(), [{ subscribe: ['*'], unsubscribe: ['*'], initialVersions: {} }])
  t.match(lab.exchange({ typeUrl: address, nonce: 'n0' }), [{ nonce: 'n0' }])
  lab.of(address).subscribe(['/10.0.0.1', 'ns/host'])
  t.match(lab.sent(), [{ subscribe: ['/10.0.0.1', 'ns/host'], unsubscribe: [], nonce: '' }])
  const update = lab.update({
    typeUrl: address,
    nonce: 'n1',
    resources: [
      { name: 'pod', version: '7', aliases: ['/10.0.0.1'] },
      { name: 'workload-of-service', version: '8' },
    ],
    removed: ['ns/host'],
  })
  t.strictSame(
    update.resources.map(({ name }) => name),
    ['pod', 'workload-of-service'],
  )
  t.strictSame(update.removed, ['ns/host'], 'says that there is no such thing')
  lab.stream.settle([])
  lab.sent()
  lab.open()
  t.match(lab.sent(), [
    {
      subscribe: ['*', '/10.0.0.1', 'ns/host'],
      unsubscribe: ['*'],
      initialVersions: { pod: '7', 'workload-of-service': '8' },
    },
  ])
  lab.of(address).unsubscribe(['/10.0.0.1'])
  t.strictSame([...lab.of(address).known.keys()], ['workload-of-service'], 'forgets it by its alias')
  t.throws(() => new Lab('sotw', [[address, 'on-demand']]), TypeError)
  t.end()
})

t.test('says on a new stream what it still has, wildcard or not', (t) => {
  const lab = new Lab('delta', [
    [address, 'wildcard'],
    [assignment, 'named'],
  ])
  lab.of(assignment).setNames(['x', 'y'])
  lab.sent()
  lab.exchange({
    typeUrl: address,
    nonce: 'n1',
    resources: [{ name: 'a', version: '1' }, { name: 'b' }, { name: 'c', version: '3' }, { name: 'd' }],
  })
  const bad = [
    { name: 'c', problems: ['no'] },
    { name: 'd', problems: ['no'] },
  ]
  lab.exchange(
    {
      typeUrl: address,
      nonce: 'n2',
      removed: ['a'],
      resources: [{ name: 'c', version: '4' }, { name: 'd' }],
    },
    bad,
  )
  lab.exchange({ typeUrl: address, nonce: 'n3', resources: [{ name: 'e', version: '1' }] }, [
    { name: 'e', problems: ['no'] },
  ])
  lab.exchange({ typeUrl: assignment, nonce: 'n1', resources: [{ name: 'x', version: '9' }] })
  lab.of(assignment).setNames(['y', 'z'])
  lab.open()
  t.strictSame(
    lab.sent().map(({ subscribe, initialVersions }) => ({ subscribe, initialVersions })),
    [
      // Of `c` the last good version is kept, of `e` there is none.
      { subscribe: [], initialVersions: { b: '', c: '3', d: '' } },
      { subscribe: ['y', 'z'], initialVersions: {} },
    ],
  )
  t.strictSame(lab.sent(), [], 'changes made between streams are not sent once more')
  t.end()
})

t.test('does not claim a resource that has no name', (t) => {
  // istiod sends its name table without one.
  const lab = new Lab('delta', [[nameTable, 'wildcard']])
  lab.sent()
  t.equal(lab.update({ typeUrl: nameTable, nonce: 'n1', resources: [{ version: '1' }] }).resources.length, 1)
  lab.stream.settle([])
  lab.open()
  t.match(lab.sent(), [{ initialVersions: {} }])
  t.notOk(lab.stream.mayStaySilent)
  t.end()
})

t.test('drops a response of a type that was not asked for, without an answer', (t) => {
  const lab = new Lab('delta', [
    [address, 'wildcard'],
    [assignment, 'named'],
  ])
  lab.sent()
  t.strictSame(lab.receive({ typeUrl: listener, nonce: 'n1' }), { kind: 'dropped', typeUrl: listener })
  t.strictSame(lab.receive({ typeUrl: assignment, nonce: 'n1' }), { kind: 'dropped', typeUrl: assignment })
  t.strictSame(lab.receive({ typeUrl: '', nonce: 'n1' }), { kind: 'dropped', typeUrl: '' })
  t.strictSame(lab.sent(), [])
  t.end()
})

t.test('finds messages that cannot be answered', (t) => {
  const lab = new Lab('delta', [[address, 'wildcard']])
  lab.sent()
  t.match(lab.receive({ typeUrl: address }), { kind: 'violation', problem: /without a nonce/ })
  t.match(lab.stream.receive(Buffer.from([0xff])), { kind: 'violation', problem: /not a discovery response/ })
  t.strictSame(lab.sent(), [])
  t.end()
})

t.test('rejects what contradicts itself in a delta and applies the rest', (t) => {
  const lab = new Lab('delta', [[address, 'wildcard']])
  lab.sent()
  lab.exchange({ typeUrl: address, nonce: 'n0', resources: named('gone') })
  const update = lab.update({
    typeUrl: address,
    nonce: 'n1',
    resources: [...named('twice', 'good', 'twice', 'both'), { name: 'other', typeUrl: listener }],
    removed: ['both', 'gone'],
  })
  t.strictSame(
    update.resources.map(({ name }) => name),
    ['good'],
  )
  t.strictSame(update.removed, ['gone'])
  lab.stream.settle([{ name: 'good', problems: ['not so good'] }])
  const [nack] = lab.sent()
  t.equal(
    nack?.error?.message,
    [
      'twice: it is in the response twice',
      `other: it is a ${listener} in a response of ${address}`,
      'both: it is both in the response and removed',
      'good: not so good',
    ].join('; '),
  )
  t.strictSame([...lab.of(address).known.keys()], [])
  t.end()
})

t.test('rejects a whole state that contradicts itself as a whole', (t) => {
  const lab = new Lab('sotw', [[cluster, 'wildcard']])
  lab.sent()
  lab.exchange({ typeUrl: cluster, version: 'v1', nonce: 'n1', resources: named('a') })
  const received = lab.receive({ typeUrl: cluster, version: 'v2', nonce: 'n2', resources: named('b', 'b') })
  const nack = 'b: it is in the response twice'
  t.strictSame(received, { kind: 'rejected', typeUrl: cluster, nack })
  t.match(lab.sent(), [{ version: 'v1', nonce: 'n2', error: { code: 13, message: nack } }])
  t.strictSame([...lab.of(cluster).known.keys()], ['a'])
  t.end()
})

t.test('ignores resources that nobody asked for by name', (t) => {
  for (const mode of ['sotw', 'delta'] as const) {
    const lab = new Lab(mode, [[assignment, 'named']])
    lab.of(assignment).setNames(['a'])
    lab.sent()
    const update = lab.update({
      typeUrl: assignment,
      nonce: 'n1',
      resources: [...named('a', 'x'), { name: 'y', aliases: mode === 'delta' ? ['a'] : [] }],
      removed: ['z', 'a2'],
    })
    t.equal(update.resources.length, mode === 'delta' ? 2 : 1)
    t.strictSame(update.removed, [])
    lab.stream.settle([])
    t.equal(lab.sent()[0]?.error, undefined)
  }
  t.end()
})

t.test('forgets by absence in a whole state of a wildcard type only', (t) => {
  const lab = new Lab('sotw', [
    [cluster, 'wildcard'],
    [assignment, 'named'],
  ])
  lab.of(assignment).setNames(['a', 'b'])
  lab.sent()
  for (const typeUrl of [cluster, assignment])
    lab.exchange({ typeUrl, version: 'v1', nonce: 'n1', resources: named('a', 'b') })
  const update = lab.update({ typeUrl: cluster, version: 'v2', nonce: 'n2', resources: named('b') })
  t.ok(update.isWholeState)
  lab.stream.settle([])
  lab.exchange({ typeUrl: assignment, version: 'v2', nonce: 'n2', resources: named('b') })
  t.strictSame([...lab.of(cluster).known.keys()], ['b'])
  t.strictSame([...lab.of(assignment).known.keys()], ['a', 'b'])
  t.end()
})

t.test('knows when a silent control plane may be right', (t) => {
  const lab = new Lab('delta', [
    [address, 'wildcard'],
    [assignment, 'named'],
  ])
  t.ok(lab.stream.mayStaySilent, 'nothing was asked')
  lab.sent()
  t.notOk(lab.stream.mayStaySilent)
  lab.exchange({ typeUrl: address, nonce: 'n1', resources: named('a') })
  lab.open()
  lab.sent()
  t.ok(lab.stream.mayStaySilent, 'all that was asked is known')
  t.end()
})

t.test('explains calls out of order', (t) => {
  const lab = new Lab('delta', [[address, 'wildcard']])
  lab.sent()
  t.throws(() => lab.stream.settle([]), { message: 'there is no update to settle' })
  lab.update({ typeUrl: address, nonce: 'n1' })
  t.throws(() => lab.receive({ typeUrl: address, nonce: 'n2' }), { message: /not settled/ })
  t.end()
})
