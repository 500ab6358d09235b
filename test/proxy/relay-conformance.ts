/** What the relays of every Transport must do; part of the suite of transport-conformance.ts. */
import type net from 'node:net'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'

import { parseIp } from '../../src/core/address.ts'
import { seededRandom } from '../../src/core/random.ts'
import { eventually } from '../fixtures/eventually.ts'
import { LOOPBACK } from '../fixtures/loopback.ts'
import { connectTcp, echo, holdOpen, listenTcp, resetOnData } from '../fixtures/tcp-servers.ts'
import { LISTEN_OPTIONS, accepting, attempt, listenerAddress } from '../fixtures/transport-calls.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { RelayEnd, Relay, Transport, TransportSocket } from '../../src/proxy/transport.ts'
import type { TestServer } from '../fixtures/tcp-servers.ts'

/** Runs the part over one family. */
export async function runRelayConformance(t: Test, transport: Transport, family: Family): Promise<void> {
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

  await t.test(
    'rule 11: carries chunks of all sizes to readers of all moods, both ways at once',
    async (t) => {
      const random = seededRandom(family === 'ipv4' ? 4 : 6)
      const joins = await Promise.all(Array.from({ length: 12 }, () => join(t, transport, family, echo)))
      await Promise.all(
        joins.map(async ({ client, end, relay }) => {
          const sent = createHash('sha256')
          const received = createHash('sha256')
          let size = 0
          client.on('data', (chunk: Buffer) => {
            received.update(chunk)
            if (random.next() > 0.1) return
            client.pause()
            setTimeout(() => client.resume(), random.next() * 5)
          })
          for (let count = 0; count < 40; count++) {
            // Mostly small, some that make a bulk transfer of it, and back again.
            const chunk = randomBytes(Math.ceil(10 ** (random.next() * 5.5)))
            sent.update(chunk)
            size += chunk.length
            if (!client.write(chunk)) await once(client, 'drain')
          }
          client.end()
          t.strictSame(await end, { kind: 'finished' })
          if (!client.readableEnded) await once(client, 'end')
          t.equal(received.digest('hex'), sent.digest('hex'))
          t.equal(relay.bytes.downstreamSent, size)
        }),
      )
    },
  )

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

  await t.test(
    'rule 11: RST of the upstream that a write meets first reaches the client as RST',
    async (t) => {
      const joined = await join(t, transport, family, holdOpen)
      await eventually('the upstream is there', () => joined.server.sockets.size === 1)
      const error = once(joined.client, 'error').catch((reason: unknown) => [reason])
      // Both in one go: the relay sees the byte of the client before the reset.
      joined.client.write('x')
      for (const socket of joined.server.sockets) socket.resetAndDestroy()
      t.match(await error, [{ code: 'ECONNRESET' }])
      t.match(await joined.end, { kind: 'reset', side: 'upstream', code: 'reset' })
    },
  )

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
  const listening = await transport.listen(listenerAddress(family), LISTEN_OPTIONS, accepting(accepted))
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

/** True when the socket drains within a moment; a blocked one never does. */
async function drains(socket: net.Socket): Promise<boolean> {
  const timeout = AbortSignal.timeout(300)
  return once(socket, 'drain', { signal: timeout }).then(
    () => true,
    () => false,
  )
}
