/** The life of streams: deadlines, backoff, back-pressure and what is told of it. */
import t from 'tap'

import { AgentError } from '../../../src/core/errors.ts'
import { AdsClient } from '../../../src/xds-client/stream/ads-client.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { FakeAdsTransport } from '../../fixtures/fake-ads-transport.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { RecordingSink } from '../../fixtures/recording-sink.ts'

import type { Test } from 'tap'
import type { LogLevel } from '../../../src/core/logger.ts'
import type { AdsClientOptions } from '../../../src/xds-client/stream/ads-client.ts'
import type { AdsObserver } from '../../../src/xds-client/stream/ads-status.ts'

const { address, assignment, authorization, cluster } = TYPE_URLS
const NODE = { id: 'node', metadata: {} }

/** Lets promises that are settled run their callbacks. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

/** A clock on which looking takes time, as work between two looks would. */
class CostlyClock extends FakeClock {
  lookCostMs = 0
  #costMs = 0

  override nowMs(): number {
    this.#costMs += this.lookCostMs
    return super.nowMs() + this.#costMs
  }
}

function lab(t: Test, options: Partial<AdsClientOptions> = {}) {
  const transport = new FakeAdsTransport()
  const clock = new CostlyClock()
  const turns = { count: 0 }
  const nextTurn = (): Promise<void> => {
    turns.count++
    return settled()
  }
  const sink = new RecordingSink()
  const lines: { level: LogLevel; message: string }[] = []
  const events: string[] = []
  const random = { value: 0.5, next: (): number => random.value }
  const observer: AdsObserver = {
    connectedChanged: (isConnected) => events.push(isConnected ? 'connected' : 'disconnected'),
    message: (typeUrl, result) => events.push(`${result} ${typeUrl.split('.').at(-1) ?? ''}`),
    reconnecting: (reason) => events.push(`reconnecting: ${reason}`),
  }
  const logger = {
    isEnabled: (): boolean => true,
    log: (level: LogLevel, message: string): void => void lines.push({ level, message }),
  }
  const client = new AdsClient(
    { transport, clock, nextTurn, sink, random, logger, observer },
    {
      mode: 'delta',
      node: NODE,
      types: [
        { typeUrl: address, interest: 'wildcard' },
        { typeUrl: authorization, interest: 'wildcard' },
      ],
      ...options,
    },
  )
  t.teardown(async () => {
    await client.close()
    if (clock.pendingTimers > 0) throw new Error('a timer is left')
  })
  return { transport, clock, sink, lines, events, random, client, turns }
}

const refused = (): AgentError =>
  new AgentError({ code: 'refused', source: 'control-plane', message: 'refused' })

t.test('hands updates over one at a time and answers each when it is applied', async (t) => {
  const { transport, sink, client, events } = lab(t)
  sink.isSlow = true
  client.start()
  const stream = transport.last
  t.equal(stream.requests.length, 2)
  stream.respond({ typeUrl: address, nonce: 'n1', version: 'v1', resources: [{ name: 'a', version: '1' }] })
  stream.respond({ typeUrl: authorization, nonce: 'n2' })
  await settled()
  t.equal(sink.updates.length, 1)
  t.equal(stream.unread, 1, 'the next response is not even read')
  t.equal(stream.requests.length, 2, 'nothing is answered yet')
  sink.finish()
  await settled()
  t.match(stream.requests[2], { typeUrl: address, nonce: 'n1' })
  t.equal(sink.updates.length, 2)
  sink.finish([{ name: 'x', problems: ['no'] }])
  await settled()
  t.match(stream.requests[3], { typeUrl: authorization, nonce: 'n2', error: { message: 'x: no' } })
  t.strictSame(events, ['connected', 'accepted Address', 'rejected Authorization'])
})

t.test('gives a control plane 15 s for its first response', async (t) => {
  const { transport, clock, client, lines, events } = lab(t)
  client.start()
  clock.advance(14_999)
  t.notOk(transport.last.isClosed)
  clock.advance(1)
  t.ok(transport.last.isClosed)
  await settled()
  t.match(lines, [{ level: 'warn', message: /istiod\.test:15010 has sent no response within 15000 ms/ }])
  t.strictSame(events, ['reconnecting: timeout'])
  t.match(client.status.lastError, { code: 'timeout' })
})

t.test('lets a control plane be silent that knows what the client has', async (t) => {
  const { transport, clock, sink, client } = lab(t, { types: [{ typeUrl: address, interest: 'wildcard' }] })
  client.start()
  transport.last.respond({ typeUrl: address, nonce: 'n1', resources: [{ name: 'a', version: '1' }] })
  await settled()
  transport.last.end()
  t.notOk(client.status.isConnected)
  clock.advance(250)
  t.match(transport.last.requests, [{ initialVersions: { a: '1' } }])
  clock.advance(15_000)
  t.notOk(transport.last.hasEnded)
  t.ok(client.status.isConnected)
  t.equal(sink.updates.length, 1)
})

t.test('doubles the pause from 500 ms to 30 s, and draws it from its whole range', async (t) => {
  const { transport, clock, client, random } = lab(t)
  client.start()
  const pauses = []
  random.value = 0.999_999
  for (let attempt = 1; attempt < 10; attempt++) {
    transport.last.end(refused())
    const before = clock.nowMs()
    while (transport.streams.length === attempt) clock.advance(50)
    pauses.push(clock.nowMs() - before)
  }
  t.strictSame(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  random.value = 0
  transport.last.end(refused())
  clock.advance(0)
  t.equal(transport.streams.length, 11)
})

t.test('starts over with short pauses when a message has come, not when a stream stands', async (t) => {
  const { transport, clock, client, random } = lab(t)
  random.value = 0.999_999
  client.start()
  for (let attempt = 0; attempt < 6; attempt++) {
    transport.last.end(refused())
    clock.advance(30_000)
  }
  transport.last.respondBytes(Buffer.from([0xff]))
  await settled()
  clock.advance(29_000)
  t.equal(transport.streams.length, 7, 'a message that cannot be read changes nothing')
  clock.advance(1_000)
  transport.last.respond({ typeUrl: address, nonce: 'n1' })
  await settled()
  transport.last.end()
  clock.advance(500)
  t.equal(transport.streams.length, 9)
})

t.test('comes back from the age limit of the server with what it has, and no complaint', async (t) => {
  const { transport, clock, sink, client, lines, events } = lab(t)
  client.start()
  transport.last.respond({ typeUrl: address, nonce: 'n1', resources: [{ name: 'a', version: '1' }] })
  await settled()
  clock.advance(30 * 60_000)
  transport.last.end(new AgentError({ code: 'reset', source: 'control-plane', message: 'dropped' }))
  t.equal(client.status.types[0]?.resourceCount, 1, 'the last good state stays')
  clock.advance(500)
  t.match(transport.last.requests[0], { typeUrl: address, nodeId: 'node', initialVersions: { a: '1' } })
  transport.last.respond({ typeUrl: address, nonce: 'm1', removed: ['a'] })
  await settled()
  t.strictSame(sink.updates[1]?.removed, ['a'], 'what went meanwhile is removed')
  t.strictSame(
    lines.map(({ level }) => level),
    ['info'],
  )
  t.strictSame(events, [
    'connected',
    'accepted Address',
    'disconnected',
    'reconnecting: reset',
    'connected',
    'accepted Address',
  ])
})

t.test('opens no stream while an update of the last one is being applied', async (t) => {
  const { transport, clock, sink, client } = lab(t)
  sink.isSlow = true
  client.start()
  transport.last.respond({ typeUrl: address, nonce: 'n1', resources: [{ name: 'a', version: '1' }] })
  await settled()
  transport.last.end()
  clock.advance(60_000)
  t.equal(transport.streams.length, 1)
  sink.finish()
  await settled()
  clock.advance(500)
  t.match(transport.last.requests, [{ initialVersions: { a: '1' } }, { typeUrl: authorization }])
  t.equal(transport.last.requests.length, 2, 'nonces of the old stream are not answered on the new one')
})

t.test('sends names as they change, batched with the ACK of the update that changes them', async (t) => {
  const { transport, client, sink } = lab(t, {
    types: [
      { typeUrl: cluster, interest: 'wildcard' },
      { typeUrl: assignment, interest: 'named' },
    ],
  })
  sink.isSlow = true
  client.start()
  const { requests } = transport.last
  transport.last.respond({ typeUrl: cluster, nonce: 'n1', resources: [{ name: 'c' }] })
  await settled()
  client.setNames(assignment, ['c'])
  t.equal(requests.length, 1)
  sink.finish()
  await settled()
  t.match(requests.slice(1), [
    { typeUrl: cluster, nonce: 'n1' },
    { typeUrl: assignment, subscribe: ['c'] },
  ])
  client.subscribe(assignment, ['d'])
  client.unsubscribe(assignment, ['c'])
  t.match(requests.slice(3), [{ subscribe: ['d'] }, { unsubscribe: ['c'] }])
  t.throws(() => {
    client.setNames(address, [])
  }, TypeError)
})

t.test('slows down a server that sends the same bad response again and again', async (t) => {
  const { transport, clock, sink, client } = lab(t)
  sink.rejections = [{ name: 'a', problems: ['bad'] }]
  client.start()
  const stream = transport.last
  for (let round = 0; round < 10; round++)
    stream.respond({ typeUrl: address, nonce: `n${round}`, resources: [{ name: 'a' }] })
  await settled()
  t.equal(sink.updates.length, 2, 'one may follow at once')
  for (let pause = 0; pause < 6; pause++) {
    clock.advance(5_000)
    await settled()
  }
  t.equal(sink.updates.length, 8)
  sink.rejections = []
  clock.advance(5_000)
  await settled()
  t.equal(sink.updates.length, 10, 'a good one ends it')
  t.equal(stream.requests.length, 12, 'each was answered')
})

t.test('ends a stream that breaks the protocol and says what was wrong', async (t) => {
  const { transport, client, lines, events } = lab(t)
  client.start()
  transport.last.respond({ typeUrl: address })
  await settled()
  t.ok(transport.last.hasEnded)
  t.match(lines, [{ level: 'error', message: /broke the protocol: .+without a nonce/ }])
  t.strictSame(events, ['malformed ', 'reconnecting: protocol_violation'])
})

t.test('drops a type that it did not ask for with a warning, and reads on', async (t) => {
  const { transport, client, sink, lines, events } = lab(t)
  client.start()
  transport.last.respond({ typeUrl: cluster, nonce: 'n1' })
  transport.last.respond({ typeUrl: address, nonce: 'n2' })
  await settled()
  t.equal(sink.updates.length, 1)
  t.match(lines, [{ level: 'warn', message: /Cluster, which was not asked for/ }])
  t.strictSame(events, ['connected', 'dropped Cluster', 'accepted Address'])
})

t.test('rejects a whole state that contradicts itself, and reads on', async (t) => {
  const { transport, client, sink } = lab(t, {
    mode: 'sotw',
    types: [{ typeUrl: cluster, interest: 'wildcard' }],
  })
  client.start()
  transport.last.respond({ typeUrl: cluster, nonce: 'n1', resources: [{ name: 'a' }, { name: 'a' }] })
  transport.last.respond({ typeUrl: cluster, nonce: 'n2', version: '2', resources: [{ name: 'a' }] })
  await settled()
  t.equal(sink.updates.length, 1)
  t.match(transport.last.requests.slice(1), [
    { nonce: 'n1', error: {} },
    { nonce: 'n2', version: '2' },
  ])
})

t.test('complains louder about what only an operator can end', async (t) => {
  const { transport, clock, client, lines } = lab(t)
  client.start()
  transport.last.end(refused())
  clock.advance(500)
  transport.last.end(new AgentError({ code: 'unauthenticated', source: 'control-plane', message: 'who?' }))
  t.match(lines, [
    { level: 'warn', message: /^refused; connecting again, the last good configuration stays$/ },
    { level: 'error', message: /^who\?/ },
  ])
})

t.test('tells its state for /config_dump', async (t) => {
  const { transport, clock, sink, client } = lab(t)
  t.match(client.status, {
    isConnected: false,
    controlPlane: '',
    mode: 'delta',
    target: 'http://istiod.test:15010',
  })
  client.start()
  clock.advance(1_000)
  transport.last.respond({
    typeUrl: address,
    nonce: 'n1',
    version: 'v1',
    controlPlane: 'istiod-1',
    resources: [{ name: 'a' }, { name: 'b' }],
  })
  await settled()
  clock.advance(1_000)
  sink.rejections = [{ name: 'b', problems: ['no'] }]
  transport.last.respond({ typeUrl: address, nonce: 'n2', version: 'v2', resources: [{ name: 'b' }] })
  await settled()
  const startMs = Date.UTC(2026, 0, 1)
  t.strictSame(client.status, {
    target: 'http://istiod.test:15010',
    mode: 'delta',
    isConnected: true,
    sinceMs: startMs + 1_000,
    controlPlane: 'istiod-1',
    types: [
      {
        typeUrl: address,
        interest: 'wildcard',
        version: 'v1',
        resourceCount: 2,
        names: [],
        updatedAtMs: startMs + 2_000,
        lastNack: { text: 'b: no', atMs: startMs + 2_000 },
      },
      { typeUrl: authorization, interest: 'wildcard', version: '', resourceCount: 0, names: [] },
    ],
  })
  t.equal(client.resourceCount(address), 2)
})

t.test('reads and settles a large response in slices, and sends nothing in between', async (t) => {
  const { transport, clock, client, sink, turns } = lab(t)
  client.start()
  const resources = Array.from({ length: 2_000 }, (_, index) => ({ name: `r${index}` }))
  // Every look at the clock costs 3 ms: a slice of 8 ms holds three steps.
  clock.lookCostMs = 3
  transport.last.respond({ typeUrl: address, nonce: 'n1', resources })
  client.subscribe(authorization, [])
  t.equal(sink.updates.length, 0)
  while (transport.last.requests.length < 3) await settled()
  clock.lookCostMs = 0
  t.equal(sink.updates[0]?.resources.length, 2_000)
  t.ok(turns.count >= 10, `${turns.count} turns`)
  t.match(transport.last.requests[2], { nonce: 'n1' })
})

t.test('closes once, when stream and sink are done', async (t) => {
  const { transport, sink, client } = lab(t)
  sink.isSlow = true
  client.start()
  transport.last.respond({ typeUrl: address, nonce: 'n1' })
  await settled()
  let isGone = false
  const closing = client.close().then(() => {
    isGone = true
  })
  t.equal(client.close(), client.close())
  await settled()
  t.ok(transport.last.hasEnded)
  t.notOk(isGone, 'the sink is still busy')
  sink.finish()
  await closing
  t.equal(transport.streams.length, 1)
  t.throws(() => {
    client.start()
  }, TypeError)
})

t.test('closes before it was started, and while it waits to connect', async (t) => {
  const { client, transport } = lab(t)
  await client.close()
  t.equal(transport.streams.length, 0)
  const second = lab(t)
  second.client.start()
  second.transport.last.end(refused())
  await second.client.close()
  second.clock.advance(60_000)
  t.equal(second.transport.streams.length, 1)
})

t.test('writes what it claims in slices, and sends it when it is complete', async (t) => {
  const { transport, clock, client, turns } = lab(t, { types: [{ typeUrl: address, interest: 'wildcard' }] })
  client.start()
  const resources = Array.from({ length: 1_000 }, (_, n) => ({ name: `pod-${n}`, version: '1' }))
  transport.last.respond({ typeUrl: address, nonce: 'n1', resources })
  await settled()
  transport.last.end()
  turns.count = 0
  clock.lookCostMs = 5
  clock.advance(250)
  t.strictSame(transport.last.requests, [], 'not within one slice')
  for (let turn = 0; turn < 20; turn++) await settled()
  clock.lookCostMs = 0
  const [request, ...others] = transport.last.requests
  t.equal(Object.keys(request?.initialVersions ?? {}).length, 1_000)
  t.strictSame(others, [])
  t.ok(turns.count > 2, `${turns.count} turns`)
})
