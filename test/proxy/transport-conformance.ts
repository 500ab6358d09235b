/**
 * What every Transport must do, on real loopback sockets: one suite for all engines. An engine's own test file calls it
 * with a factory.
 */
import { parseIp } from '../../src/core/address.ts'
import { eventually } from '../fixtures/eventually.ts'
import { LOOPBACK, freePort, loopbackFamilies } from '../fixtures/loopback.ts'
import { connectTcp, echo, exchange, holdOpen, listenTcp } from '../fixtures/tcp-servers.ts'
import { LISTEN_OPTIONS, accepting, attempt, listenerAddress } from '../fixtures/transport-calls.ts'
import { runRelayConformance } from './relay-conformance.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { Transport, TransportSocket } from '../../src/proxy/transport.ts'

/** Runs the whole suite against one engine. */
export async function runTransportConformance(t: Test, makeTransport: () => Transport): Promise<void> {
  for (const family of await loopbackFamilies()) {
    await t.test(`over ${family}`, async (t) => {
      await listening(t, makeTransport(), family)
      await connecting(t, makeTransport(), family)
      await runRelayConformance(t, makeTransport(), family)
    })
  }
}

async function listening(t: Test, transport: Transport, family: Family): Promise<void> {
  const ip = parseIp(LOOPBACK[family])

  await t.test('reports the port that the kernel chose, and both ends of a connection', async (t) => {
    const sockets: TransportSocket[] = []
    const result = await transport.listen(listenerAddress(family), LISTEN_OPTIONS, accepting(sockets))
    if (!result.ok) throw new Error(result.message)
    t.teardown(() => result.socket.close())
    const client = await connectTcp({ host: ip.text, port: result.socket.address.port })
    t.teardown(() => client.destroy())
    await eventually('the connection is accepted', () => sockets.length === 1)
    t.equal(sockets[0]?.remote.ip.text, ip.text)
    t.equal(sockets[0]?.remote.port, client.localPort)
    t.equal(sockets[0]?.local.port, result.socket.address.port)
    sockets[0]?.reset()
  })

  await t.test('rule 1: an IPv6 socket leaves the port free for IPv4', async (t) => {
    const port = await freePort()
    const any = family === 'ipv4' ? '0.0.0.0' : '::'
    const first = await transport.listen(
      { address: { ip: parseIp(any), port }, socketOptions: [] },
      LISTEN_OPTIONS,
      accepting([]),
    )
    t.ok(first.ok)
    const other = await listenTcp(family === 'ipv4' ? '::' : '0.0.0.0', echo, port).catch(() => undefined)
    t.ok(other !== undefined || (await loopbackFamilies()).length < 2)
    await other?.close()
    if (first.ok) await first.socket.close()
  })

  await t.test('rule 2: says why an address cannot be bound', async (t) => {
    const taken = await listenTcp(ip.text, echo)
    t.teardown(() => taken.close())
    const result = await transport.listen(
      { address: { ip, port: taken.port }, socketOptions: [] },
      LISTEN_OPTIONS,
      accepting([]),
    )
    t.match(result, { ok: false, code: 'address_in_use', message: /EADDRINUSE/ })
    const foreign = parseIp(family === 'ipv4' ? '192.0.2.1' : '2001:db8::1')
    const absent = await transport.listen(
      { address: { ip: foreign, port: 0 }, socketOptions: [] },
      LISTEN_OPTIONS,
      accepting([]),
    )
    t.match(absent, { ok: false, code: 'address_unavailable' })
  })

  await t.test('frees the address at once when it closes, and lets accepted connections go on', async (t) => {
    const sockets: TransportSocket[] = []
    const result = await transport.listen(listenerAddress(family), LISTEN_OPTIONS, accepting(sockets))
    if (!result.ok) throw new Error(result.message)
    const { port } = result.socket.address
    const client = await connectTcp({ host: ip.text, port })
    await eventually('the connection is accepted', () => sockets.length === 1)
    await result.socket.close()
    const next = await listenTcp(ip.text, echo, port)
    t.equal(client.destroyed, false)
    client.destroy()
    sockets[0]?.reset()
    await next.close()
  })

  await t.test('tells when a client that sent nothing resets', async (t) => {
    const sockets: TransportSocket[] = []
    const result = await transport.listen(listenerAddress(family), LISTEN_OPTIONS, accepting(sockets))
    if (!result.ok) throw new Error(result.message)
    t.teardown(() => result.socket.close())
    const client = await connectTcp({ host: ip.text, port: result.socket.address.port })
    await eventually('the connection is accepted', () => sockets.length === 1)
    const gone: string[] = []
    sockets[0]?.onGone((code) => gone.push(code))
    client.resetAndDestroy()
    await eventually('the reset is seen', () => gone.length > 0)
    t.strictSame(gone, ['reset'])
  })

  await t.test('rule 8: reset reaches the client as RST', async (t) => {
    const events = {
      accepted: (socket: TransportSocket) => {
        socket.reset()
      },
      acceptFailed: () => undefined,
    }
    const result = await transport.listen(listenerAddress(family), LISTEN_OPTIONS, events)
    if (!result.ok) throw new Error(result.message)
    t.teardown(() => result.socket.close())
    const { end } = await exchange({ host: ip.text, port: result.socket.address.port }, 'hello')
    t.equal(end, 'rst')
  })
}

async function connecting(t: Test, transport: Transport, family: Family): Promise<void> {
  const ip = parseIp(LOOPBACK[family])

  await t.test('says that an address refuses', async (t) => {
    const port = await freePort()
    const outcome = await attempt(transport, { ip, port })
    t.match(outcome, { kind: 'failed', code: 'refused' })
  })

  await t.test('rule 9: connects from the source address that it is given', async (t) => {
    const server = await listenTcp(ip.text, holdOpen)
    t.teardown(() => server.close())
    const source = family === 'ipv4' ? '127.0.0.6' : '::1'
    const outcome = await attempt(transport, { ip, port: server.port }, source)
    if (outcome.kind === 'failed') throw new Error(outcome.message)
    t.equal(outcome.socket.local.ip.text, source)
    outcome.socket.reset()
  })

  await t.test('rule 9: fails when the source address is not one of this host', async (t) => {
    const server = await listenTcp(ip.text, holdOpen)
    t.teardown(() => server.close())
    const source = family === 'ipv4' ? '192.0.2.9' : '2001:db8::9'
    t.match(await attempt(transport, { ip, port: server.port }, source), {
      kind: 'failed',
      code: 'address_unavailable',
    })
  })

  await t.test('reports nothing after an abort', async (t) => {
    const server = await listenTcp(ip.text, echo)
    t.teardown(() => server.close())
    let events = 0
    const count = (): void => {
      events++
    }
    transport
      .connect({ to: { ip, port: server.port }, keepalive: {} }, { connected: count, failed: count })
      .abort()
    // By the time that a whole exchange is over, the attempt would have connected.
    await exchange({ host: ip.text, port: server.port }, 'x')
    t.equal(events, 0)
  })
}
