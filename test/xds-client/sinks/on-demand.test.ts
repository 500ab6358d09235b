/** What the control plane is asked about addresses, and for how long a connection waits for that. */
import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { AmbientRouter } from '../../../src/mesh/ambient-router.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { LocalRoutes } from '../../../src/proxy/route-source.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { ANSWER_DEADLINE_MS, ASK_AGAIN_MS, OnDemand } from '../../../src/xds-client/sinks/on-demand.ts'
import { ambientSink } from '../../fixtures/ambient-updates.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'
import { Waiter, factsOf } from '../../fixtures/plan-lab.ts'
import { update } from '../../fixtures/updates.ts'

import type { OnDemandOptions } from '../../../src/xds-client/sinks/on-demand.ts'

const CLIENT = '10.0.0.1'
const POD = 'Kubernetes//Pod/shop/echo-0'

function start(options: Partial<OnDemandOptions> = {}) {
  const clock = new FakeClock()
  const known = new Set([CLIENT])
  const asked: (readonly string[])[] = []
  const unsubscribed: (readonly string[])[] = []
  const onDemand = new OnDemand(
    {
      clock,
      subscribe: (names) => asked.push(names),
      unsubscribe: (names) => unsubscribed.push(names),
      isKnown: ({ text }) => known.has(text),
    },
    { network: '', passesUnanswered: false, ...options },
  )
  const connect = (destination: string, client = `${CLIENT}:4000`) => {
    const facts = { client: parseSocketAddress(client), destination: parseSocketAddress(destination) }
    const outcome: { calls: number; isKnown?: boolean } = { calls: 0 }
    onDemand.whenKnown(facts, (isKnown) => {
      outcome.calls++
      outcome.isKnown = isKnown
    })
    return outcome
  }
  const found = (name: string, ...aliases: readonly string[]) => {
    onDemand.answered({ found: [{ name, aliases }], missing: [] })
  }
  const missing = (...names: readonly string[]) => {
    onDemand.answered({ found: [], missing: names })
  }
  return { clock, known, asked, unsubscribed, onDemand, connect, found, missing }
}

t.test('asks nothing about addresses that the mesh knows', async (t) => {
  const { asked, connect } = start()
  t.equal(connect(`${CLIENT}:80`).calls, 1)
  t.strictSame(asked, [])
})

t.test('asks for both ends in one request, and goes on when both are answered', async (t) => {
  const { clock, known, asked, connect, found, missing } = start({ network: 'far' })
  const connection = connect('[fd00:1::1]:80', '10.0.0.9:4000')
  t.strictSame(asked, [['far/fd00:1::1', 'far/10.0.0.9']])
  t.equal(connection.calls, 0)
  known.add('fd00:1::1')
  found(POD, 'far/10.1.0.1', 'far/fd00:1::1')
  t.equal(connection.calls, 0)
  missing('far/10.0.0.9')
  t.equal(connection.calls, 1)
  t.equal(clock.pendingTimers, 0)
})

t.test('connections that wait for one address ask once', async (t) => {
  const { asked, connect, missing } = start()
  const connections = [connect('10.1.0.1:80'), connect('10.1.0.1:81'), connect('10.1.0.1:80')]
  t.strictSame(asked, [['/10.1.0.1']])
  missing('/10.1.0.1')
  t.strictSame(
    connections.map(({ calls }) => calls),
    [1, 1, 1],
  )
})

t.test('does not wait again for what there is nothing of, and asks again in the background', async (t) => {
  const { clock, asked, connect, missing } = start()
  connect('192.0.2.1:443')
  missing('/192.0.2.1')
  clock.advance(ASK_AGAIN_MS - 1)
  t.equal(connect('192.0.2.1:443').calls, 1)
  t.equal(asked.length, 1)
  clock.advance(1)
  t.equal(connect('192.0.2.1:443').calls, 1, 'nobody waits for the second answer')
  t.equal(connect('192.0.2.1:443').calls, 1)
  t.strictSame(asked, [['/192.0.2.1'], ['/192.0.2.1']])
})

t.test('rule 15: has no answer at the deadline, and asks again for the next connection', async (t) => {
  const { clock, onDemand, asked, unsubscribed, connect, found } = start()
  const early = connect('10.1.0.1:80')
  clock.advance(1_000)
  const late = connect('10.1.0.2:80')
  clock.advance(ANSWER_DEADLINE_MS - 1_000)
  t.strictSame([early, late], [{ calls: 1, isKnown: false }, { calls: 0 }])
  clock.advance(1_000)
  t.strictSame(late, { calls: 1, isKnown: false })
  t.match(onDemand.readings, { pending: 0, unknown: 0, timedOut: 2 })
  t.strictSame(unsubscribed, [['/10.1.0.1'], ['/10.1.0.2']], 'nothing is kept of what has no answer')
  const again = connect('10.1.0.1:80')
  t.strictSame(asked.at(-1), ['/10.1.0.1'])
  found(POD, '/10.1.0.1')
  t.strictSame(again, { calls: 1, isKnown: true })
  t.equal(clock.pendingTimers, 0)
})

t.test('goes on without an answer where plain text is permitted to all', async (t) => {
  const { clock, onDemand, connect, found } = start({ passesUnanswered: true })
  const early = connect('10.1.0.1:80')
  clock.advance(1_000)
  const late = connect('10.1.0.2:80')
  clock.advance(ANSWER_DEADLINE_MS - 1_001)
  t.equal(early.calls, 0)
  clock.advance(1)
  t.strictSame([early.calls, late.calls], [1, 0])
  clock.advance(1_000)
  t.strictSame(
    [early, late],
    [
      { calls: 1, isKnown: true },
      { calls: 1, isKnown: true },
    ],
  )
  t.match(onDemand.readings, { pending: 0, unknown: 2, timedOut: 2 })
  t.equal(connect('10.1.0.1:80').calls, 1, 'the next one does not wait again')
  found(POD, '/10.1.0.1')
  t.match(onDemand.readings, { unknown: 1 }, 'a late answer counts')
  t.equal(clock.pendingTimers, 0)
})

t.test('does not wait again for what is there and not found by its address', async (t) => {
  const { asked, unsubscribed, connect, found, missing } = start()
  connect('10.1.0.1:80')
  found('shop/private.shop', '/10.1.0.1')
  t.equal(connect('10.1.0.1:80').calls, 1)
  t.equal(asked.length, 1)
  missing('shop/private.shop')
  t.strictSame(unsubscribed, [['/10.1.0.1']])
  t.equal(connect('10.1.0.1:80').calls, 0)
  t.equal(asked.length, 2)
})

t.test('gives up its names with the resource, and asks anew for the address after that', async (t) => {
  const { known, asked, unsubscribed, connect, found, missing } = start()
  connect('10.1.0.1:80')
  connect('[fd00:1::1]:80')
  known.add('10.1.0.1').add('fd00:1::1')
  found(POD, '/10.1.0.1', '/fd00:1::1')
  t.strictSame(unsubscribed, [])
  known.clear()
  missing(POD)
  t.strictSame(unsubscribed, [['/10.1.0.1', '/fd00:1::1']])
  t.equal(connect('10.1.0.1:80', '10.1.0.1:1').calls, 0)
  t.equal(asked.length, 3)
})

t.test('an address that goes from one pod to the next stays subscribed', async (t) => {
  const { known, unsubscribed, connect, onDemand, missing } = start()
  connect('10.1.0.1:80')
  known.add('10.1.0.1')
  onDemand.answered({ found: [{ name: POD, aliases: ['/10.1.0.1'] }], missing: [] })
  onDemand.answered({ found: [{ name: 'next', aliases: ['/10.1.0.1'] }], missing: [POD] })
  t.strictSame(unsubscribed, [])
  missing('next')
  t.strictSame(unsubscribed, [['/10.1.0.1']])
})

t.test('remembers a bounded number of unknown addresses, those that are used', async (t) => {
  const { onDemand, unsubscribed, connect, missing } = start({ maxUnknown: 2 })
  for (const n of [1, 2]) {
    connect(`192.0.2.${n}:80`)
    missing(`/192.0.2.${n}`)
  }
  connect('192.0.2.1:80')
  connect('192.0.2.3:80')
  missing('/192.0.2.3')
  t.strictSame(unsubscribed, [['/192.0.2.2']])
  t.equal(onDemand.readings.unknown, 2)
  t.equal(connect('192.0.2.1:80').calls, 1)
})

t.test('waits for a bounded number of addresses; what is over it has no answer', async (t) => {
  const { onDemand, asked, connect } = start({ maxPending: 1 })
  connect('192.0.2.1:80')
  t.strictSame(connect('192.0.2.2:80'), { calls: 1, isKnown: false })
  t.strictSame(asked, [['/192.0.2.1']])
  t.match(onDemand.readings, { pending: 1, overflowed: 1 })
  onDemand.close()
})

t.test('keeps nobody waiting when it is closed', async (t) => {
  const { clock, onDemand, connect } = start()
  const connection = connect('192.0.2.1:80')
  onDemand.close()
  onDemand.close()
  t.equal(connection.calls, 1)
  t.equal(clock.pendingTimers, 0)
})

t.test(
  'a connection to a pod that was not known goes to it and its twin when the answer is in force',
  async (t) => {
    const store = new MeshStore()
    const onDemand = new OnDemand(
      {
        clock: new FakeClock(),
        subscribe: () => undefined,
        unsubscribe: () => undefined,
        isKnown: (ip) => store.snapshot.workloadIndex.at({ network: '', ip }) !== undefined,
      },
      { network: '', passesUnanswered: false },
    )
    const sink = ambientSink(store, {
      answered: (answer) => {
        onDemand.answered(answer)
      },
    })
    const router = new AmbientRouter({ store }, { network: '', plaintextPermitted: [] })
    const routes = new LocalRoutes({ router, random: seededRandom(1), discovery: onDemand })
    const outbound = aListener('outbound', [['0.0.0.0', 15001]], '', {
      capture: 'redirect',
      filterChains: [],
    })
    const waiter = new Waiter()
    routes.route(factsOf(outbound, '10.0.0.9:4000', '10.1.0.1:80'), waiter)
    const pod = { name: 'echo-0', namespace: 'shop', workloadIps: ['10.1.0.1', 'fd00:1::1'] }
    const aliases = { [POD]: ['/10.1.0.1', '/fd00:1::1'] }
    await sink.apply(update(TYPE_URLS.address, { [POD]: { workload: pod } }, { aliases }))
    t.equal(waiter.routes.length, 0, 'the client is not known yet')
    await sink.apply(update(TYPE_URLS.address, {}, { removed: ['/10.0.0.9'] }))
    t.match(waiter.routes, [
      {
        upstream: {
          endpoints: [{ addresses: [{ ip: { text: '10.1.0.1' } }, { ip: { text: 'fd00:1::1' } }] }],
        },
      },
    ])
  },
)
