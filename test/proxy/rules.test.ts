/** The rules of a connection that show on real sockets; product rules are cited by number. */
import { once } from 'node:events'

import t from 'tap'

import { formatSocketAddress } from '../../src/core/address.ts'
import { systemClock } from '../../src/core/clock.ts'
import { EnvoyRouter } from '../../src/mesh/envoy-router.ts'
import { DescriptorBudget } from '../../src/proxy/descriptor-budget.ts'
import { NodeTransport } from '../../src/proxy/node/node-transport.ts'
import { eventually } from '../fixtures/eventually.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { freePort, skipUnlessDualStack } from '../fixtures/loopback.ts'
import { aCluster, aListener, dualStackMesh } from '../fixtures/mesh-builder.ts'
import { startProxy } from '../fixtures/proxy-lab.ts'
import { connectTcp, echo, exchange, greet, holdOpen, listenTcp } from '../fixtures/tcp-servers.ts'
import { testConnectionRules } from './connection-rules.ts'

import type { AuthorizationPolicy } from '../../src/mesh/workload.ts'
import type { Router } from '../../src/mesh/router.ts'
import type { MeshStore, MeshUpsert } from '../../src/mesh/store.ts'
import type { ConnectAttempt } from '../../src/proxy/transport.ts'

const skip = await skipUnlessDualStack()

const ANY_POLICY: AuthorizationPolicy = {
  name: 'any',
  namespace: 'shop',
  scope: 'global',
  action: 'deny',
  rules: [],
  isDryRun: false,
}

/** Listens on real sockets, and nobody whom it connects to ever answers. */
class SilentTransport extends NodeTransport {
  constructor() {
    super({
      clock: systemClock,
      originalDestination: { isAvailable: false, reason: 'not part of this test' },
    })
  }

  override connect(): ConnectAttempt {
    return { abort: () => undefined }
  }
}

t.test('every rule that needs no clock', async (t) => {
  testConnectionRules(t, { start: startProxy, skip })
})

t.test('rule 7: one success clears a failure', { skip }, async (t) => {
  const port = await freePort()
  const clock = new FakeClock()
  const first = await listenTcp('127.0.0.1', greet('hello'), port)
  t.teardown(() => first.close())
  const lab = await startProxy(t, dualStackMesh(port), { clock })
  const target = { host: '::1', port: lab.portOf('front', 'ipv6') }
  await exchange(target, 'one')
  const second = await listenTcp('::1', greet('native'), port)
  t.teardown(() => second.close())
  t.equal((await exchange(target, 'two')).received, 'hello two', 'the failure is remembered')
  clock.advance(10_000)
  t.equal((await exchange(target, 'three')).received, 'native three', 'after 10 s the family is tried again')
  t.strictSame(lab.proxy.unhealthyEndpoints(), { ipv4: 0, ipv6: 0 })
})

t.test(
  'rule 2: a taken port is a state that is tried again, and the other family serves',
  { skip },
  async (t) => {
    const port = await freePort()
    const server = await listenTcp('127.0.0.1', echo)
    t.teardown(() => server.close())
    const thief = await listenTcp('::1', echo, port)
    const clock = new FakeClock()
    const lab = await startProxy(
      t,
      [
        { kind: 'cluster', upsert: aCluster('echo', [[`127.0.0.1:${server.port}`]]) },
        {
          kind: 'listener',
          upsert: aListener(
            'front',
            [
              ['127.0.0.1', port],
              ['::1', port],
            ],
            'echo',
          ),
        },
      ],
      { clock },
    )
    t.match(lab.totals.listeners.counts.get('front'), { ipv4: { state: 'bound' }, ipv6: { state: 'failed' } })
    t.equal((await exchange({ host: '127.0.0.1', port }, 'x')).received, 'x')
    await thief.close()
    clock.advance(1_000)
    await eventually('IPv6 is bound', () => lab.totals.listeners.counts.get('front')?.ipv6.state === 'bound')
    t.equal((await exchange({ host: '::1', port }, 'y')).received, 'y')
  },
)

t.test('rule 2: an address that the machine has not is absent and probed every 30 s', async (t) => {
  const clock = new FakeClock()
  const lab = await startProxy(
    t,
    [{ kind: 'listener', upsert: aListener('front', [['2001:db8::1', 0]], 'none') }],
    { clock },
  )
  t.match(lab.proxy.listeners, [{ state: 'absent', reason: /EADDRNOTAVAIL|EAFNOSUPPORT/ }])
  t.equal(clock.pendingTimers, 2, 'the probe and the sweep are set')
})

t.test('rule 11: time limits end connections, each for its reason', { skip }, async (t) => {
  const server = await listenTcp('127.0.0.1', holdOpen)
  t.teardown(() => server.close())
  const clock = new FakeClock()
  const resources: MeshUpsert[] = [
    { kind: 'cluster', upsert: aCluster('echo', [[`127.0.0.1:${server.port}`]]) },
  ]
  const listener = aListener('front', [['127.0.0.1', 0]], 'echo')
  resources.push({ kind: 'listener', upsert: listener })
  const lab = await startProxy(t, resources, { clock, idleTimeoutMs: 60_000, halfClosedTimeoutMs: 10_000 })
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const idle = await connectTcp(target)
  const halfClosed = await connectTcp(target)
  halfClosed.end('x')
  await eventually('both are relayed', () => server.sockets.size === 2)
  await eventually('the FIN has passed', () => [...server.sockets].some((socket) => socket.readableEnded))
  idle.resume()
  halfClosed.resume()
  clock.advance(11_000)
  await once(halfClosed, 'end')
  t.equal(server.sockets.size, 2)
  clock.advance(50_000)
  await once(idle, 'end')
  idle.end()
  clock.advance(2_000)
  await eventually('both have ended', () => lab.closed.length === 2)
  t.strictSame(lab.closed.map(({ closeReason }) => closeReason).sort(), [
    'half_closed_timeout',
    'idle_timeout',
  ])
})

t.test('rule 14: at 90 % of the descriptors new connections are refused, and it recovers', async (t) => {
  const server = await listenTcp('127.0.0.1', echo)
  t.teardown(() => server.close())
  const clock = new FakeClock()
  const descriptors = new DescriptorBudget({ clock, countOpen: () => undefined }, { limit: 5 })
  const lab = await startProxy(
    t,
    [
      { kind: 'cluster', upsert: aCluster('echo', [[`127.0.0.1:${server.port}`]]) },
      { kind: 'listener', upsert: aListener('front', [['127.0.0.1', 0]], 'echo') },
    ],
    { clock, descriptors },
  )
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const first = await connectTcp(target)
  const second = await connectTcp(target)
  await eventually('two connections live', () => lab.proxy.connectionCount === 2)
  t.equal((await exchange(target, 'x')).end, 'rst')
  t.equal(lab.totals.closed('connection_limit'), 1)
  t.equal(lab.proxy.descriptorUse.isExhausted, true)
  first.destroy()
  await eventually('one connection lives', () => lab.proxy.connectionCount === 1)
  t.equal((await exchange(target, 'x')).received, 'x')
  second.destroy()
})

t.test(
  'rule 12: policies are asked where an outbound connection goes, and where it may go while it is being made',
  { skip },
  async (t) => {
    const port = await freePort()
    const server = await listenTcp('127.0.0.1', echo, port)
    t.teardown(() => server.close())
    const [ipv4, ipv6] = [`127.0.0.1:${port}`, `[::1]:${port}`]
    const asked: (readonly string[])[] = []
    const router = (store: MeshStore): Router => {
      const envoy = new EnvoyRouter({ store }, { ownAddresses: [] })
      return {
        plan: (facts) => envoy.plan(facts),
        judgedDirections: ['outbound'],
        isStillAllowed: (_, reached) => {
          asked.push(reached.map(({ address }) => formatSocketAddress(address)))
          return false
        },
      }
    }
    for (const [transport, reached] of [
      [undefined, [ipv4]],
      [new SilentTransport(), [ipv4, ipv6]],
    ] as const) {
      const lab = await startProxy(t, dualStackMesh(port), { router, ...(transport && { transport }) })
      const client = await connectTcp({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') })
      const end = once(client, 'error')
      await eventually('it is relayed, or being made', async () => {
        const [record] = await lab.proxy.connections()
        return transport === undefined
          ? record?.upstream?.remote !== undefined
          : record?.upstream !== undefined
      })
      lab.store.apply([{ kind: 'policy', upsert: ANY_POLICY }])
      t.match((await end)[0], { code: 'ECONNRESET' })
      t.strictSame(asked.splice(0), [reached])
      await eventually('its record is there', () => lab.closed.length === 1)
      t.match(lab.closed, [{ closeReason: 'policy_changed' }])
    }
  },
)
