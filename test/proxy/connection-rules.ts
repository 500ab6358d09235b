/**
 * The rules of a connection that show on real sockets, for every Proxy: with its connections in one thread or in workers.
 * Product rules are cited by number.
 */
import { once } from 'node:events'

import { parseIp } from '../../src/core/address.ts'
import { FAMILIES, otherFamily } from '../../src/core/family.ts'
import { EnvoyRouter } from '../../src/mesh/envoy-router.ts'
import { eventually } from '../fixtures/eventually.ts'
import { LOOPBACK, freePort } from '../fixtures/loopback.ts'
import { aCluster, aListener, dualStackMesh } from '../fixtures/mesh-builder.ts'
import { connectTcp, echo, exchange, greet, listenTcp, resetOnData } from '../fixtures/tcp-servers.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { Router } from '../../src/mesh/router.ts'
import type { MeshStore, MeshUpsert } from '../../src/mesh/store.ts'
import type { CloseReason } from '../../src/proxy/close-reason.ts'
import type { ConnectionOptions } from '../../src/proxy/connection-options.ts'
import type { ProxyLab } from '../fixtures/proxy-lab.ts'

const LONG_ATTEMPT_DELAY_MS = 10_000

export interface RulesLab {
  readonly start: (
    t: Test,
    resources: readonly MeshUpsert[],
    options?: Partial<ConnectionOptions> & { readonly router?: (store: MeshStore) => Router },
  ) => Promise<ProxyLab>
  /** Why this machine cannot run them. */
  readonly skip: string | false
}

/** Adds the rules to `t`. */
export function testConnectionRules(t: Test, { start, skip }: RulesLab): void {
  t.test('rule 5: a client is served in the family that it used', { skip }, async (t) => {
    const port = await freePort()
    for (const family of FAMILIES) {
      const server = await listenTcp(LOOPBACK[family], greet(`over ${family}:`), port)
      t.teardown(() => server.close())
    }
    const lab = await start(t, dualStackMesh(port))
    for (const family of FAMILIES) {
      const { received } = await exchange(
        { host: LOOPBACK[family], port: lab.portOf('front', family) },
        'hello',
      )
      t.equal(received, `over ${family}: hello`)
      t.equal(lab.totals.upstreamConnections(family, family), 1)
    }
    t.strictSame(lab.fallbacks(), [])
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
        // A process that stands still for the usual delay takes a refusal for silence.
        const lab = await start(t, dualStackMesh(port), { attemptDelayMs: LONG_ATTEMPT_DELAY_MS })
        const target = { host: LOOPBACK[missing], port: lab.portOf('front', missing) }
        t.equal((await exchange(target, 'one')).received, 'hello one')
        await eventually('the first has ended', () => lab.closed.length === 1)
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
        t.match(lab.fallbacks(), [
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

  t.test('rule 8: a client is refused with RST when nothing listens', { skip }, async (t) => {
    const lab = await start(t, dualStackMesh(await freePort()))
    for (const family of FAMILIES) {
      const { end } = await exchange({ host: LOOPBACK[family], port: lab.portOf('front', family) }, 'hello')
      t.equal(end, 'rst')
    }
    await eventually('both have ended', () => lab.closed.length === 2)
    t.match(lab.closed, [{ closeReason: 'upstream_refused' }, { closeReason: 'upstream_refused' }])
    t.match(
      lab.closed.find(({ family }) => family === 'ipv4')?.detail,
      /127\.0\.0\.1:\d+ refused, \[::1\]:\d+ refused/,
    )
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
    const lab = await start(t, [
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
    const lab = await start(t, dualStackMesh(port), { familyPolicy: 'native-only' })
    t.equal((await exchange({ host: '::1', port: lab.portOf('front', 'ipv6') }, 'x')).end, 'rst')
    t.equal((await exchange({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }, 'x')).received, 'x')
  })

  t.test(
    'product §3: with one family enabled nothing is bound or picked in the other',
    { skip },
    async (t) => {
      const port = await freePort()
      const server = await listenTcp('::1', echo, port)
      t.teardown(() => server.close())
      const lab = await start(t, dualStackMesh(port), { families: ['ipv4'] })
      t.strictSame(
        lab.proxy.listeners.map(({ family }) => family),
        ['ipv4'],
      )
      t.equal((await exchange({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }, 'x')).end, 'rst')
    },
  )

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
    const lab = await start(t, dualStackMesh(port, { sourceAddresses }))
    for (const family of FAMILIES)
      await exchange({ host: LOOPBACK[family], port: lab.portOf('front', family) }, 'x')
    t.strictSame(sources, ['127.0.0.6', '::1'])
    await eventually('both have ended', () => lab.closed.length === 2)
    t.equal(lab.closed.find(({ family }) => family === 'ipv4')?.upstream?.local?.ip.text, '127.0.0.6')
  })

  t.test('rule 12: a change does not cut a connection whose endpoint still exists', { skip }, async (t) => {
    const port = await freePort()
    const server = await listenTcp('127.0.0.1', echo, port)
    t.teardown(() => server.close())
    const lab = await start(t, dualStackMesh(port))
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

  t.test(
    'rule 12: a listener that is gone stops accepting and keeps its connections',
    { skip },
    async (t) => {
      const port = await freePort()
      const server = await listenTcp('127.0.0.1', echo, port)
      t.teardown(() => server.close())
      const lab = await start(t, dualStackMesh(port))
      const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
      const client = await connectTcp(target)
      t.teardown(() => client.destroy())
      await eventually('it is accepted', () => lab.proxy.connectionCount === 1)
      lab.store.replace(['listener'], [])
      await eventually('the listener is gone', () => lab.proxy.listeners.length === 0)
      t.equal((await exchange(target, 'x')).end, 'refused')
      client.write('still here')
      t.equal(String((await once(client, 'data'))[0]), 'still here')
    },
  )

  t.test(
    'rule 12: a policy that changes while the proxy drains ends the connections that it denies',
    { skip },
    async (t) => {
      const port = await freePort()
      const server = await listenTcp('127.0.0.1', echo, port)
      t.teardown(() => server.close())
      const lab = await start(t, dualStackMesh(port), {
        router: (store) => {
          const router = new EnvoyRouter({ store }, { ownAddresses: [] })
          return {
            plan: (facts) => router.plan(facts),
            judgedDirections: ['outbound'],
            isStillAllowed: () => store.snapshot.policy.size === 0,
          }
        },
      })
      const client = await connectTcp({ host: '127.0.0.1', port: lab.portOf('front', 'ipv4') })
      t.teardown(() => client.destroy())
      client.on('error', () => undefined)
      client.write('before')
      t.equal(String((await once(client, 'data'))[0]), 'before')
      await lab.proxy.stopAccepting()
      const deny = { name: 'deny', namespace: 'shop', scope: 'global', action: 'deny' } as const
      lab.store.apply([{ kind: 'policy', upsert: { ...deny, rules: [], isDryRun: false } }])
      await eventually('it has ended', () => lab.closed.length === 1)
      t.match(lab.closed, [{ closeReason: 'policy_changed' }])
    },
  )

  t.test('rule 4: a connection to the capture listener itself is closed, not looped', { skip }, async (t) => {
    const lab = await start(t, [
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
    const lab = await start(t, [
      { kind: 'cluster', upsert: aCluster('self', [[`127.0.0.1:${port}`]]) },
      { kind: 'listener', upsert: aListener('front', [['127.0.0.1', port]], 'self') },
    ])
    t.equal((await exchange({ host: '127.0.0.1', port }, 'x')).end, 'rst')
    await eventually('it has ended', () => lab.closed.length === 1)
    t.equal(lab.closed[0]?.closeReason, 'destination_is_proxy')
  })

  t.test(
    'rule 13: a stopping proxy refuses new connections and lets the others finish',
    { skip },
    async (t) => {
      const server = await listenTcp('127.0.0.1', echo)
      t.teardown(() => server.close())
      const lab = await start(t, [
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
      await eventually('it is told', () => lab.closed.length === 1)
      t.equal(lab.closed[0]?.closeReason, 'finished')
    },
  )

  t.test('clients that behave badly leave nothing behind', { skip }, async (t) => {
    const server = await listenTcp('127.0.0.1', echo)
    t.teardown(() => server.close())
    const resetter = await listenTcp('127.0.0.1', resetOnData)
    t.teardown(() => resetter.close())
    const lab = await start(t, [
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
    const ended = (reason: CloseReason): number =>
      lab.closed.filter(({ closeReason }) => closeReason === reason).length
    await eventually('a connection was reset by its client', () => ended('downstream_reset') > 0)
    await eventually('one was reset by its server', () => ended('upstream_reset') === 1)
    await eventually('one has finished', () => ended('finished') === 1)
  })

  t.test('1,000 connections at once are all served', { skip }, async (t) => {
    const port = await freePort()
    for (const family of FAMILIES) {
      const server = await listenTcp(LOOPBACK[family], echo, port)
      t.teardown(() => server.close())
    }
    const lab = await start(t, dualStackMesh(port))
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
    t.equal(lab.totals.upstreamConnections('ipv4', 'ipv4'), 500)
    t.equal(lab.totals.upstreamConnections('ipv6', 'ipv6'), 500)
  })

  t.test('no more connections than max_connections reach an upstream at once', { skip }, async (t) => {
    const port = await freePort()
    const server = await listenTcp('127.0.0.1', echo, port)
    t.teardown(() => server.close())
    const lab = await start(t, dualStackMesh(port, { maxConnections: 8 }))
    const target = { host: '127.0.0.1', port: lab.portOf('front', 'ipv4') }
    // One that is refused may be so before its connect is looked at here.
    const attempts = await Promise.allSettled(Array.from({ length: 40 }, () => connectTcp(target)))
    const clients = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
    t.teardown(() => {
      for (const client of clients) client.destroy()
    })
    for (const client of clients) client.on('error', () => undefined)
    await eventually('the rest has been refused', () => lab.totals.closed('upstream_overflow') === 32)
    await eventually('the others are connected', () => server.sockets.size === 8)
    for (const client of clients) client.destroy()
    await eventually('all have ended', () => lab.proxy.connectionCount === 0)
    t.equal((await exchange(target, 'x')).received, 'x', 'places are given back')
  })
}
