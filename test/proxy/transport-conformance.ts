/**
 * What every Transport must do, on real loopback sockets: one suite for all engines. An engine's own test file calls it
 * with a factory.
 */
import type net from 'node:net'
import { once } from 'node:events'

import { parseIp } from '../../src/core/address.ts'
import { eventually } from '../fixtures/eventually.ts'
import { LOOPBACK, freePort, loopbackFamilies } from '../fixtures/loopback.ts'
import { connectTcp, echo, exchange, holdOpen, listenTcp, resetOnData } from '../fixtures/tcp-servers.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { RelayEnd, Relay, Transport, TransportSocket } from '../../src/proxy/transport.ts'
import type { TestServer } from '../fixtures/tcp-servers.ts'

const LISTEN = { backlog: 128, keepalive: {} } as const

/** Runs the whole suite against one engine. */
export async function runTransportConformance(t: Test, makeTransport: () => Transport): Promise<void> {
  for (const family of await loopbackFamilies()) {
    await t.test(`over ${family}`, async (t) => {
      await listening(t, makeTransport(), family)
      await connecting(t, makeTransport(), family)
      await relaying(t, makeTransport(), family)
    })
  }
}

async function listening(t: Test, transport: Transport, family: Family): Promise<void> {
  const ip = parseIp(LOOPBACK[family])

  await t.test('reports the port that the kernel chose, and both ends of a connection', async (t) => {
    const sockets: TransportSocket[] = []
    const result = await transport.listen(listenerAddress(family), LISTEN, accepting(sockets))
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
      LISTEN,
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
      LISTEN,
      accepting([]),
    )
    t.match(result, { ok: false, code: 'address_in_use', message: /EADDRINUSE/ })
    const foreign = parseIp(family === 'ipv4' ? '192.0.2.1' : '2001:db8::1')
    const absent = await transport.listen(
      { address: { ip: foreign, port: 0 }, socketOptions: [] },
      LISTEN,
      accepting([]),
    )
    t.match(absent, { ok: false, code: 'address_unavailable' })
  })

  await t.test('frees the address at once when it closes, and lets accepted connections go on', async (t) => {
    const sockets: TransportSocket[] = []
    const result = await transport.listen(listenerAddress(family), LISTEN, accepting(sockets))
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
    const result = await transport.listen(listenerAddress(family), LISTEN, accepting(sockets))
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
    const result = await transport.listen(listenerAddress(family), LISTEN, events)
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

async function relaying(t: Test, transport: Transport, family: Family): Promise<void> {
  await t.test('rule 11: carries 8 MiB each way byte for byte', async (t) => {
    const joined = await join(t, transport, family, echo)
    const size = 8 * 1024 * 1024
    let received = 0
    let sum = 0
    joined.client.on('data', (chunk: Buffer) => {
      for (const byte of chunk) sum = (sum * 31 + byte) % 1_000_000_007
      received += chunk.length
    })
    const sent = Buffer.alloc(size, 'twinstack')
    joined.client.end(sent)
    await once(joined.client, 'close')
    let expected = 0
    for (const byte of sent) expected = (expected * 31 + byte) % 1_000_000_007
    t.equal(received, size)
    t.equal(sum, expected)
    t.strictSame(await joined.end, { kind: 'finished' })
    t.strictSame(joined.relay.bytes, {
      downstreamReceived: size,
      downstreamSent: size,
      upstreamReceived: size,
      upstreamSent: size,
    })
  })

  await t.test('rule 11: a half-closed client still gets the answer', async (t) => {
    const joined = await join(t, transport, family, (socket) => {
      socket.on('data', () => undefined)
      socket.on('end', () => socket.end('answer after FIN'))
    })
    const chunks: Buffer[] = []
    joined.client.on('data', (chunk: Buffer) => chunks.push(chunk))
    joined.client.end('question')
    await once(joined.client, 'close')
    t.equal(Buffer.concat(chunks).toString(), 'answer after FIN')
    t.strictSame(await joined.end, { kind: 'finished' })
  })

  await t.test('rule 11: an upstream that half-closes first still reads the client', async (t) => {
    let heard = ''
    const joined = await join(t, transport, family, (socket) => {
      socket.end('bye')
      socket.on('data', (chunk) => (heard += chunk.toString()))
    })
    joined.client.resume()
    await once(joined.client, 'end')
    await eventually('the relay is half closed', () => joined.relay.isHalfClosed)
    joined.client.end('last words')
    t.strictSame(await joined.end, { kind: 'finished' })
    await eventually('the upstream has heard all', () => heard === 'last words')
  })

  await t.test('rule 11: RST of the upstream reaches the client as RST', async (t) => {
    const joined = await join(t, transport, family, resetOnData)
    const error = once(joined.client, 'error').catch((reason: unknown) => [reason])
    joined.client.write('x')
    t.match(await error, [{ code: 'ECONNRESET' }])
    t.match(await joined.end, { kind: 'reset', side: 'upstream', code: 'reset' })
  })

  await t.test('rule 11: RST of the client reaches the upstream as RST', async (t) => {
    const codes: unknown[] = []
    const joined = await join(t, transport, family, (socket) => {
      socket.resume()
      socket.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code))
    })
    joined.client.write('x')
    await eventually('the byte has passed', () => joined.relay.bytes.upstreamSent === 1)
    joined.client.resetAndDestroy()
    t.match(await joined.end, { kind: 'reset', side: 'downstream', code: 'reset' })
    await eventually('the upstream sees the reset', () => codes.length > 0)
    t.strictSame(codes, ['ECONNRESET'])
  })

  await t.test(
    'rule 11: clients that reset in mid-transfer leave no socket, whatever was under way',
    async (t) => {
      const joins = await Promise.all(Array.from({ length: 60 }, () => join(t, transport, family, echo)))
      for (const { client } of joins) {
        client.write(Buffer.alloc(1024 * 1024))
        client.once('data', () => client.resetAndDestroy())
      }
      const ends = await Promise.all(joins.map(({ end }) => end))
      t.strictSame(new Set(ends.map(({ kind }) => kind)), new Set(['reset']))
      await eventually('no server has a socket', () => joins.every(({ server }) => server.sockets.size === 0))
    },
  )

  await t.test('a reader that stops reading stops the sender', async (t) => {
    const joined = await join(t, transport, family, (socket) => {
      socket.pause()
    })
    joined.client.on('error', () => undefined)
    const block = Buffer.alloc(1024 * 1024)
    let isBlocked = false
    for (let written = 0; written < 256 && !isBlocked; written++) {
      isBlocked = !joined.client.write(block) && !(await drains(joined.client))
    }
    t.ok(isBlocked, 'the client cannot write 256 MiB into an upstream that reads nothing')
    joined.relay.close('reset')
    t.strictSame(await joined.end, { kind: 'closed' })
  })

  await t.test('rule 13: close with fin delivers what was received and then FIN', async (t) => {
    const joined = await join(t, transport, family, (socket) => {
      socket.write('last line')
    })
    await eventually('the line has passed', () => joined.relay.bytes.downstreamSent === 9)
    let received = ''
    joined.client.on('data', (chunk: Buffer) => (received += chunk.toString()))
    joined.relay.close('fin')
    await once(joined.client, 'end')
    joined.client.end()
    t.equal(received, 'last line')
    t.strictSame(await joined.end, { kind: 'closed' })
  })

  await t.test('early data of a client that half-closed before the upstream was there arrives', async (t) => {
    const joined = await join(t, transport, family, echo, (client) => {
      client.end('early')
    })
    let received = ''
    joined.client.on('data', (chunk: Buffer) => (received += chunk.toString()))
    t.strictSame(await joined.end, { kind: 'finished' })
    await eventually('the echo has arrived', () => received === 'early')
  })
}

interface Joined {
  readonly client: net.Socket
  readonly relay: Relay
  readonly end: Promise<RelayEnd>
  readonly server: TestServer
}

/** A client, the relay under test, and a server with the given behaviour. */
async function join(
  t: Test,
  transport: Transport,
  family: Family,
  behaviour: (socket: net.Socket) => void,
  beforeRelay: (client: net.Socket) => void = () => undefined,
): Promise<Joined> {
  const ip = parseIp(LOOPBACK[family])
  const server = await listenTcp(ip.text, behaviour)
  t.teardown(() => server.close())
  const accepted: TransportSocket[] = []
  const listening = await transport.listen(listenerAddress(family), LISTEN, accepting(accepted))
  if (!listening.ok) throw new Error(listening.message)
  t.teardown(() => listening.socket.close())
  const client = await connectTcp({ host: ip.text, port: listening.socket.address.port })
  t.teardown(() => client.destroy())
  beforeRelay(client)
  await eventually('the client is accepted', () => accepted.length === 1)
  const upstream = await attempt(transport, { ip, port: server.port })
  const downstream = accepted[0]
  if (upstream.kind === 'failed' || downstream === undefined) throw new Error('the test could not connect')
  let relay: Relay | undefined
  const end = new Promise<RelayEnd>((resolve) => {
    relay = transport.relay(downstream, upstream.socket, resolve)
  })
  if (relay === undefined) throw new Error('a promise runs its function at once')
  return { client, relay, end, server }
}

type AttemptOutcome =
  | { readonly kind: 'connected'; readonly socket: TransportSocket }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }

function attempt(
  transport: Transport,
  to: { readonly ip: ReturnType<typeof parseIp>; readonly port: number },
  source?: string,
): Promise<AttemptOutcome> {
  return new Promise((resolve) => {
    transport.connect(
      { to, keepalive: {}, ...(source !== undefined && { from: { ip: parseIp(source), port: 0 } }) },
      {
        connected: (socket) => {
          resolve({ kind: 'connected', socket })
        },
        failed: (code, message) => {
          resolve({ kind: 'failed', code, message })
        },
      },
    )
  })
}

function listenerAddress(family: Family) {
  return { address: { ip: parseIp(LOOPBACK[family]), port: 0 }, socketOptions: [] }
}

function accepting(sockets: TransportSocket[]) {
  return { accepted: (socket: TransportSocket) => void sockets.push(socket), acceptFailed: () => undefined }
}

/** True when the socket drains within a moment; a blocked one never does. */
async function drains(socket: net.Socket): Promise<boolean> {
  const timeout = AbortSignal.timeout(300)
  return once(socket, 'drain', { signal: timeout }).then(
    () => true,
    () => false,
  )
}
