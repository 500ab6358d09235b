/** The client against a model of istio-cni, through random histories of pods, bad messages, slow sinks and reconnects. */
import fc from 'fast-check'
import t from 'tap'

import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import { ZdsClient } from '../../src/zds-client/zds-client.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { FakeZdsTransport } from '../fixtures/fake-zds-transport.ts'
import { BAD_NAMESPACE, RecordingPodSink } from '../fixtures/recording-pod-sink.ts'
import { wireBytes } from '../fixtures/wire-bytes.ts'
import { encodeRequest, podOf } from '../fixtures/zds-wire.ts'

const UIDS = ['a', 'b', 'c', 'd'] as const
/** Messages that are never taken. Those of the first list may be about any pod. */
const UNREADABLE = ['cut', 'unknown', 'no-uid'] as const
const REFUSED = [
  'no-descriptor',
  'two-descriptors',
  'keep-with-descriptor',
  'lost-descriptor',
  'no-name',
] as const

type BadMessage = (typeof UNREADABLE)[number] | (typeof REFUSED)[number]

/** What happens at istio-cni, and is told to the client where there is one. */
type News =
  | { readonly do: 'add'; readonly uid: string; readonly namespace: string }
  | { readonly do: 'delete'; readonly uid: string }
  | { readonly do: 'bad'; readonly uid: string; readonly message: BadMessage }
  | { readonly do: 'late-snapshot'; readonly uid: string; readonly message: 'keep' | 'snapshot-sent' }

type Step =
  /** All at once, without waiting for answers. */
  | { readonly do: 'tell'; readonly news: readonly News[] }
  /** The sink takes longer than the answer may. */
  | { readonly do: 'hang'; readonly news: News }
  /** The connection ends while the sink is busy with the first of these. */
  | { readonly do: 'drop'; readonly news: readonly News[]; readonly isSlow: boolean }
  | { readonly do: 'refuse' }
  /** A new connection with its snapshot, which ends early when `length` is less than it has messages. */
  | {
      readonly do: 'connect'
      readonly kept: readonly string[]
      readonly bad: readonly (News & { readonly do: 'bad' })[]
      readonly length: number
    }

/** What the answer to a message has to be; changes the replica as the message should change the sink. */
type Expectation = (replica: Map<string, string>) => string

const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

class History {
  readonly transport = new FakeZdsTransport()
  readonly sink = new RecordingPodSink(this.transport.ledger)
  readonly clock = new FakeClock()
  readonly client: ZdsClient
  /** The pods of the node and their namespaces. */
  readonly pods = new Map<string, string>()
  #expected: Expectation[] = []
  #replica = new Map<string, string>()
  #checked = 0

  constructor() {
    const { transport, sink, clock } = this
    this.client = new ZdsClient(
      { transport, sink, clock, random: seededRandom(1), logger: silentLogger },
      { path: '/zds' },
    )
    this.client.start()
  }

  async step(step: Step): Promise<void> {
    switch (step.do) {
      case 'tell':
        for (const news of step.news) this.#happen(news)
        break
      case 'hang':
        await this.#hang(step.news)
        break
      case 'drop':
        await this.#drop(step.news, step.isSlow)
        break
      case 'refuse':
        this.#reach()
        if (!this.client.status.isConnected) this.transport.last.end('ECONNREFUSED')
        break
      case 'connect':
        await this.#connect(step)
        break
    }
    await this.#check()
  }

  /** Ends with a snapshot of which nothing fails. */
  async finish(): Promise<void> {
    for (const [uid, namespace] of this.pods) if (namespace === BAD_NAMESPACE) this.pods.set(uid, 'good')
    await this.step({ do: 'connect', kept: [], bad: [], length: Infinity })
  }

  #happen(news: News): void {
    if (news.do === 'add') this.pods.set(news.uid, news.namespace)
    else if (news.do === 'delete') this.pods.delete(news.uid)
    if (this.client.status.isConnected) this.#send(news)
  }

  #send(news: News): void {
    const channel = this.transport.last
    const { uid } = news
    switch (news.do) {
      case 'add':
        channel.request({ kind: 'add', pod: podOf(uid) }, news.namespace)
        this.#expected.push((replica) => {
          if (news.namespace === BAD_NAMESPACE) return `add of pod ${uid}: not a network`
          replica.set(uid, news.namespace)
          return ''
        })
        break
      case 'delete':
        channel.request({ kind: 'delete', uid })
        this.#expected.push((replica) =>
          replica.delete(uid) ? '' : `delete of pod ${uid}: it is not served`,
        )
        break
      case 'bad':
        channel.packet(this.#badPacket(news.message, uid))
        this.#expected.push(() => BAD_ANSWERS[news.message](uid))
        break
      case 'late-snapshot': {
        const isKeep = news.message === 'keep'
        channel.request(isKeep ? { kind: 'keep', uid } : { kind: 'snapshot-sent' })
        // Before its snapshot is complete a connection is told nothing else here.
        this.#expected.push(() =>
          isKeep ? `keep of pod ${uid}: belongs to` : 'snapshot-sent: the snapshot of',
        )
        break
      }
    }
  }

  #badPacket(message: BadMessage, uid: string) {
    const { ledger } = this.transport
    const add = encodeRequest({ kind: 'add', pod: podOf(uid) })
    const one = [ledger.open('stray')]
    switch (message) {
      case 'cut':
        return { bytes: add.subarray(0, 4), isTruncated: true, descriptors: one }
      case 'unknown':
        return { bytes: wireBytes({ 9: 'new' }), descriptors: one }
      case 'no-uid':
        return { bytes: encodeRequest({ kind: 'add', pod: podOf('') }), descriptors: one }
      case 'no-name':
        return { bytes: wireBytes({ 1: wireBytes({ 1: uid, 2: '' }) }), descriptors: one }
      case 'two-descriptors':
        return { bytes: add, descriptors: [...one, ledger.open('stray')] }
      case 'keep-with-descriptor':
        return { bytes: encodeRequest({ kind: 'keep', uid }), descriptors: one }
      case 'lost-descriptor':
        return { bytes: add, hasLostDescriptors: true, descriptors: one }
      case 'no-descriptor':
        for (const fd of one) ledger.close(fd)
        return { bytes: add }
    }
  }

  async #hang(news: News): Promise<void> {
    await this.#check()
    const isHeld = this.client.status.isConnected && (news.do === 'add' || news.do === 'delete')
    if (isHeld) this.sink.hold()
    this.#happen(news)
    if (!isHeld) return
    const late = this.#expected.pop()
    this.#expected.push((replica) => {
      late?.(replica)
      return `${news.do} of pod ${news.uid}: it has not been done`
    })
    await settled()
    this.clock.advance(4_000)
    await settled()
    this.sink.release()
  }

  async #drop(news: readonly News[], isSlow: boolean): Promise<void> {
    if (!this.client.status.isConnected) return
    await this.#check()
    this.sink.hold()
    for (const each of news) this.#happen(each)
    await settled()
    await this.#check()
    this.transport.last.end('the server closed it')
    if (isSlow) this.clock.advance(4_000)
    await settled()
    this.sink.release()
    await settled()
  }

  /** Lets the pause before the next attempt pass, if there is one. */
  #reach(): void {
    if (this.transport.last.isOver) this.clock.advance(15_000)
  }

  async #connect(step: Step & { readonly do: 'connect' }): Promise<void> {
    if (this.client.status.isConnected) await this.#drop([], false)
    this.#reach()
    const channel = this.transport.last
    const before = new Map(this.sink.served)
    this.#replica = new Map(before)
    this.#expected = []
    this.#checked = 0
    channel.accept()
    const messages = [
      ...[...this.pods].map(([uid, namespace]) => (): void => {
        if (step.kept.includes(uid)) this.#keep(uid)
        else this.#send({ do: 'add', uid, namespace })
      }),
      ...step.bad.map((bad) => (): void => {
        this.#send(bad)
      }),
    ]
    for (const send of messages.slice(0, step.length)) send()
    if (step.length < messages.length) {
      await this.#drop([], false)
      for (const uid of before.keys()) if (!this.sink.served.has(uid)) throw new Error(`${uid} was lost`)
      return
    }
    const isComplete = step.bad.every(({ message }) => !isOneOf(UNREADABLE, message))
    const named = new Set([...this.pods.keys(), ...step.bad.map(({ uid }) => uid)])
    channel.request({ kind: 'snapshot-sent' })
    this.#expected.push((replica) => {
      for (const uid of replica.keys()) if (isComplete && !named.has(uid)) replica.delete(uid)
      return ''
    })
  }

  #keep(uid: string): void {
    this.transport.last.request({ kind: 'keep', uid })
    this.#expected.push((replica) => (replica.has(uid) ? '' : `keep of pod ${uid}: it is not served`))
  }

  /** Every answer so far is the expected one, and the sink has what follows from it. */
  async #check(): Promise<void> {
    await settled()
    if (!this.client.status.isConnected) return
    const { answers, sentCount } = this.transport.last
    for (; this.#checked < answers.length; this.#checked++) {
      const expected = this.#expected[this.#checked]?.(this.#replica)
      const answer = answers[this.#checked] ?? ''
      if (expected === undefined || (expected === '' ? answer !== '' : !answer.startsWith(expected)))
        throw new Error(`message ${this.#checked} was answered with ${answer}, not ${String(expected)}`)
    }
    if (answers.length < sentCount) return
    const has = JSON.stringify([...this.sink.served].sort())
    const should = JSON.stringify([...this.#replica].sort())
    if (has !== should) throw new Error(`the sink has ${has}, not ${should}`)
  }
}

const BAD_ANSWERS: Readonly<Record<BadMessage, (uid: string) => string>> = {
  cut: () => 'add: longer than',
  unknown: () => 'a message: holds no message',
  'no-uid': () => 'add: add.uid',
  'no-name': (uid) => `add of pod ${uid}: add.workload_info.name`,
  'no-descriptor': (uid) => `add of pod ${uid}: needs one descriptor`,
  'two-descriptors': (uid) => `add of pod ${uid}: needs one descriptor`,
  'keep-with-descriptor': (uid) => `keep of pod ${uid}: takes no descriptor`,
  'lost-descriptor': (uid) => `add of pod ${uid}: its descriptor is lost`,
}

function isOneOf(list: readonly string[], value: string): boolean {
  return list.includes(value)
}

const uid = fc.constantFrom(...UIDS)
const bad = fc.record({
  do: fc.constant('bad' as const),
  uid,
  message: fc.constantFrom(...UNREADABLE, ...REFUSED),
})
const news: fc.Arbitrary<News> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      uid,
      namespace: fc.constantFrom('x', 'y', BAD_NAMESPACE),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), uid }) },
  bad,
  fc.record({
    do: fc.constant('late-snapshot' as const),
    uid,
    message: fc.constantFrom('keep' as const, 'snapshot-sent' as const),
  }),
)
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('tell' as const),
        news: fc.array(news, { maxLength: 5, size: 'max' }),
      }),
    },
    fc.record({ do: fc.constant('hang' as const), news }),
    fc.record({
      do: fc.constant('drop' as const),
      news: fc.array(news, { maxLength: 3, size: 'max' }),
      isSlow: fc.boolean(),
    }),
    fc.record({ do: fc.constant('refuse' as const) }),
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('connect' as const),
        kept: fc.subarray([...UIDS]),
        bad: fc.array(bad, { maxLength: 2 }),
        length: fc.oneof(fc.nat({ max: 4 }), fc.constant(100)),
      }),
    },
  ),
  { maxLength: 30, size: 'max' },
)

t.test('ends with the pods of the server through any history, every message answered in order', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const lab = new History()
      for (const step of history) await lab.step(step)
      await lab.finish()
      const { client, clock, sink, pods, transport } = lab
      const has = JSON.stringify([...sink.served].sort())
      const should = JSON.stringify([...pods].sort())
      if (has !== should) throw new Error(`the sink has ${has}, the server ${should}`)
      const { answers, sentCount } = transport.last
      if (answers.length !== sentCount)
        throw new Error(`${sentCount - answers.length} messages have no answer`)
      if (transport.ledger.openCount > 0)
        throw new Error(`${transport.ledger.openCount} descriptors are open`)
      client.close()
      if (clock.pendingTimers > 0) throw new Error('a timer is left')
    }),
    { numRuns: 500 },
  )
})
