/** The rules of a connection that show on real sockets; product rules are cited by number. */
import { once } from 'node:events'

import t from 'tap'

import { parseIp } from '../../src/core/address.ts'
import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { DescriptorBudget } from '../../src/proxy/descriptor-budget.ts'
import { eventually } from '../fixtures/eventually.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { LOOPBACK, freePort, skipUnlessDualStack } from '../fixtures/loopback.ts'
import { aCluster, aListener } from '../fixtures/mesh-builder.ts'
import { startProxy } from '../fixtures/proxy-lab.ts'
import {
  connectTcp,
  echo,
  exchange,
  greet,
  holdOpen,
  listenTcp,
  resetOnData,
} from '../fixtures/tcp-servers.ts'

import type { Family } from '../../src/core/family.ts'
import type { MeshUpsert } from '../../src/mesh/store.ts'

const skip = await skipUnlessDualStack()

/** One listener on both loopbacks that sends to one dual-stack endpoint, native address of either family. */
function dualStackMesh(port: number, settings: Parameters<typeof aCluster>[2] = {}): readonly MeshUpsert[] {
  return [
    { kind: 'cluster', upsert: aCluster('echo', [[`127.0.0.1:${port}`, `[::1]:${port}`]], settings) },
    {
      kind: 'listener',
      upsert: aListener(
        'front',
        [
          ['127.0.0.1', 0],
          ['::1', 0],
        ],
        'echo',
      ),
    },
  ]
}

t.test('rule 5: a client is served in the family that it used', { skip }, async (t) => {
  const port = await freePort()
  for (const family of FAMILIES) {
    const server = await listenTcp(LOOPBACK[family], greet(`over ${family}:`), port)
    t.teardown(() => server.close())
  }
  const lab = await startProxy(t, dualStackMesh(port))
  for (const family of FAMILIES) {
    const { received } = await exchange(
      { host: LOOPBACK[family], port: lab.portOf('front', family) },
      'hello',
    )
    t.equal(received, `over ${family}: hello`)
    t.equal(lab.stats.upstreamConnections[family][family].count, 1)
  }
  t.strictSame(lab.stats.fallbacks, [])
})

for (const bound of FAMILIES) {
  const missing = otherFamily(bound)
  t.test(
    `rules 6 and 7: an app that listens on ${bound} only serves both, the second client without a wait`,
    { skip },
    async (t) => {
      const port = await freePort()
      const server = await listenTcp(LOOPBACK[bound], greet('hello'), port)
      t.teardown(() => server.close())
      const lab = await startProxy(t, dualStackMesh(port))
      const target = { host: LOOPBACK[missing], port: lab.portOf('front', missing) }
      t.equal((await exchange(target, 'one')).received, 'hello one')
      t.equal((await exchange(target, 'two')).received, 'hello two')
      await eventually('both connections have ended', () => lab.closed.length === 2)
      t.strictSame(
        lab.closed[0]?.attempts.map(({ result }) => result),
        ['refused', 'connected'],
      )
      t.strictSame(
        lab.closed[1]?.attempts.map(({ result }) => result),
        ['connected'],
        'the failed family is not tried first',
      )
      t.match(lab.stats.fallbacks, [
        { from: missing, to: bound, reason: 'refused', count: 1 },
        { from: missing, to: bound, reason: 'unhealthy', count: 1 },
      ])
      t.equal(
        (await exchange({ host: LOOPBACK[bound], port: lab.portOf('front', bound) }, 'three')).received,
        'hello three',
      )
    },
  )
}

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
  t.strictSame(lab.proxy.health.unhealthyCount(clock.nowMs()), { ipv4: 0, ipv6: 0 })
})

t.test('rule 8: a client is refused with RST when nothing listens', { skip }, async (t) => {
  const lab = await startProxy(t, dualStackMesh(await freePort()))
  for (const family of FAMILIES) {
    const { end } = await exchange({ host: LOOPBACK[family], port: lab.portOf('front', family) }, 'hello')
    t.equal(end, 'rst')
  }
  await eventually('both have ended', () => lab.closed.length === 2)
  t.match(lab.closed, [{ closeReason: 'upstream_refused' }, { closeReason: 'upstream_refused' }])
  t.match(lab.closed[0]?.detail, /127\.0\.0\.1:\d+ refused, \[::1\]:\d+ refused/)
})

t.test('rule 6: up to two more endpoints are tried', { skip }, async (t) => {
  const server = await listenTcp('127.0.0.1', greet('third'))
  t.teardown(() => server.close())
  const dead = [await freePort(), await freePort(), await freePort()]
  const endpoints = [
    `127.0.0.1:${dead[0] ?? 0}`,
    `127.0.0.1:${dead[1] ?? 0}`,
    `127.0.0.1:${server.port}`,
  ].map((a) => [a])
  const lab = await startProxy(t, [
    { kind: 'cluster', upsert: aCluster('echo', endpoints) },
    { kind: 'listener', upsert: aListener('front', [['127.0.0.1', 0]], 'echo') },
  ])
  for (let round = 0; round < 6; round++) {
    const { received } = await exchange({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }, 'hello')
    t.equal(received, 'third hello')
  }
})

t.test('rule 6: native-only never leaves the family of the client', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', echo, port)
  t.teardown(() => server.close())
  const lab = await startProxy(t, dualStackMesh(port), { familyPolicy: 'native-only' })
  t.equal((await exchange({ host: '::1', port: lab.portOf('front', 'ipv6') }, 'x')).end, 'rst')
  t.equal((await exchange({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }, 'x')).received, 'x')
})

t.test('product §3: with one family enabled nothing is bound or picked in the other', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('::1', echo, port)
  t.teardown(() => server.close())
  const lab = await startProxy(t, dualStackMesh(port), { families: ['ipv4'] })
  t.strictSame(
    lab.proxy.listeners.map(({ family }) => family),
    ['ipv4'],
  )
  t.equal((await exchange({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }, 'x')).end, 'rst')
})

t.test('rule 9: the source address is the one of the upstream family', { skip }, async (t) => {
  const port = await freePort()
  const sources: (string | undefined)[] = []
  for (const family of FAMILIES) {
    const server = await listenTcp(
      LOOPBACK[family],
      (socket) => {
        sources.push(socket.remoteAddress)
        echo(socket)
      },
      port,
    )
    t.teardown(() => server.close())
  }
  const sourceAddresses = [{ ip: parseIp('127.0.0.6'), port: 0 }]
  const lab = await startProxy(t, dualStackMesh(port, { sourceAddresses }))
  for (const family of FAMILIES)
    await exchange({ host: LOOPBACK[family], port: lab.portOf('front', family) }, 'x')
  t.strictSame(sources, ['127.0.0.6', '::1'])
  t.equal(lab.closed[0]?.upstream?.local?.ip.text, '127.0.0.6')
})

t.test('rule 12: a change does not cut a connection whose endpoint still exists', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', echo, port)
  t.teardown(() => server.close())
  const lab = await startProxy(t, dualStackMesh(port))
  const client = await connectTcp({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') })
  t.teardown(() => client.destroy())
  client.write('before')
  t.equal(String((await once(client, 'data'))[0]), 'before')
  const bound = lab.portOf('front', 'ipv4')
  lab.store.replace(['cluster', 'listener'], dualStackMesh(port, { connectTimeoutMs: 1_234 }))
  t.equal(lab.portOf('front', 'ipv4'), bound, 'the socket is the same one')
  client.write('after')
  t.equal(String((await once(client, 'data'))[0]), 'after')
})

t.test('rule 12: a listener that is gone stops accepting and keeps its connections', { skip }, async (t) => {
  const port = await freePort()
  const server = await listenTcp('127.0.0.1', echo, port)
  t.teardown(() => server.close())
  const lab = await startProxy(t, dualStackMesh(port))
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const client = await connectTcp(target)
  t.teardown(() => client.destroy())
  lab.store.replace(['listener'], [])
  await eventually('the listener is gone', () => lab.proxy.listeners.length === 0)
  t.equal((await exchange(target, 'x')).end, 'refused')
  client.write('still here')
  t.equal(String((await once(client, 'data'))[0]), 'still here')
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
    t.match(lab.stats.listeners.get('front'), { ipv4: { state: 'bound' }, ipv6: { state: 'failed' } })
    t.equal((await exchange({ host: '127.0.0.1', port }, 'x')).received, 'x')
    await thief.close()
    clock.advance(1_000)
    await eventually('IPv6 is bound', () => lab.stats.listeners.get('front')?.ipv6.state === 'bound')
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

t.test('rule 4: a connection to the capture listener itself is closed, not looped', { skip }, async (t) => {
  const lab = await startProxy(t, [
    {
      kind: 'cluster',
      upsert: { ...aCluster('passthrough', []), discovery: { kind: 'original-destination' } },
    },
    {
      kind: 'listener',
      upsert: aListener(
        'virtualInbound',
        [
          ['0.0.0.0', 0],
          ['::', 0],
        ],
        'passthrough',
        { capture: 'redirect' },
      ),
    },
  ])
  for (const family of FAMILIES) {
    t.equal(
      (await exchange({ host: LOOPBACK[family], port: lab.portOf('virtualInbound', family) }, 'x')).end,
      'rst',
    )
  }
  await eventually('both have ended', () => lab.closed.length === 2)
  t.match(lab.closed, [{ closeReason: 'destination_is_proxy' }, { closeReason: 'destination_is_proxy' }])
})

t.test('rule 4: a cluster that names its own listener is closed, not looped', async (t) => {
  const port = await freePort()
  const lab = await startProxy(t, [
    { kind: 'cluster', upsert: aCluster('self', [[`127.0.0.1:${port}`]]) },
    { kind: 'listener', upsert: aListener('front', [['127.0.0.1', port]], 'self') },
  ])
  t.equal((await exchange({ host: '127.0.0.1', port }, 'x')).end, 'rst')
  await eventually('it has ended', () => lab.closed.length === 1)
  t.equal(lab.closed[0]?.closeReason, 'destination_is_proxy')
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

t.test(
  'rule 13: a stopping proxy refuses new connections and lets the others finish',
  { skip },
  async (t) => {
    const server = await listenTcp('127.0.0.1', echo)
    t.teardown(() => server.close())
    const lab = await startProxy(t, [
      { kind: 'cluster', upsert: aCluster('echo', [[`127.0.0.1:${server.port}`]]) },
      { kind: 'listener', upsert: aListener('front', [['127.0.0.1', 0]], 'echo') },
    ])
    const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
    const client = await connectTcp(target)
    client.write('x')
    await once(client, 'data')
    await lab.proxy.stopAccepting()
    t.equal((await exchange(target, 'x')).end, 'refused')
    client.write('y')
    t.equal(String((await once(client, 'data'))[0]), 'y')
    const idle = lab.proxy.whenIdle()
    client.end()
    client.resume()
    await idle
    t.equal(lab.closed[0]?.closeReason, 'finished')
  },
)

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
  t.equal(lab.stats.closedConnections.connection_limit, 1)
  t.equal(lab.proxy.descriptorUse.isExhausted, true)
  first.destroy()
  await eventually('one connection lives', () => lab.proxy.connectionCount === 1)
  t.equal((await exchange(target, 'x')).received, 'x')
  second.destroy()
})

t.test('clients that behave badly leave nothing behind', { skip }, async (t) => {
  const server = await listenTcp('127.0.0.1', echo)
  t.teardown(() => server.close())
  const resetter = await listenTcp('127.0.0.1', resetOnData)
  t.teardown(() => resetter.close())
  const lab = await startProxy(t, [
    { kind: 'cluster', upsert: aCluster('echo', [[`127.0.0.1:${server.port}`]]) },
    { kind: 'cluster', upsert: aCluster('resetter', [[`127.0.0.1:${resetter.port}`]]) },
    { kind: 'listener', upsert: aListener('front', [['127.0.0.1', 0]], 'echo') },
    { kind: 'listener', upsert: aListener('breaks', [['127.0.0.1', 0]], 'resetter') },
  ])
  const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
  const vanishing = await connectTcp(target)
  vanishing.resetAndDestroy()
  const silent = await connectTcp(target)
  silent.end()
  silent.resume()
  const midTransfer = await connectTcp(target)
  midTransfer.write(Buffer.alloc(1024 * 1024))
  await once(midTransfer, 'data')
  midTransfer.resetAndDestroy()
  t.equal((await exchange({ host: '127.0.0.1', port: lab.portOf('breaks', 'ipv4') }, 'x')).end, 'rst')
  // The kernel may have lost the one that vanished before the proxy could ask who it was.
  await eventually('all have ended', () => lab.closed.length >= 3 && lab.proxy.connectionCount === 0)
  await eventually('the servers have no socket', () => server.sockets.size + resetter.sockets.size === 0)
  const reasons = lab.closed.map(({ closeReason }) => closeReason)
  t.equal(reasons.filter((reason) => reason === 'finished').length, 1)
  t.equal(reasons.filter((reason) => reason === 'upstream_reset').length, 1)
  t.ok(reasons.includes('downstream_reset'))
})

t.test('1,000 connections at once are all served', { skip }, async (t) => {
  const port = await freePort()
  for (const family of FAMILIES) {
    const server = await listenTcp(LOOPBACK[family], echo, port)
    t.teardown(() => server.close())
  }
  const lab = await startProxy(t, dualStackMesh(port))
  const families: readonly Family[] = Array.from({ length: 1_000 }, (_, index) =>
    index % 2 === 0 ? 'ipv4' : 'ipv6',
  )
  const outcomes = await Promise.all(
    families.map((family, index) =>
      exchange({ host: LOOPBACK[family], port: lab.portOf('front', family) }, `#${index}`),
    ),
  )
  t.equal(
    outcomes.filter(({ received, end }, index) => received === `#${index}` && end === 'fin').length,
    1_000,
  )
  t.equal(lab.stats.upstreamConnections.ipv4.ipv4.count, 500)
  t.equal(lab.stats.upstreamConnections.ipv6.ipv6.count, 500)
})
