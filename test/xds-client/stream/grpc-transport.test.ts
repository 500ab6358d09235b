/** Streams over real sockets, to a control plane that does what none should. */
import { promises as dns } from 'node:dns'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

import t from 'tap'

import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { encodeDeltaRequest, encodeSotwRequest } from '../../../src/xds-client/stream/discovery-messages.ts'
import { GrpcTransport } from '../../../src/xds-client/stream/grpc-transport.ts'
import { AdsServer } from '../../fixtures/ads-server.ts'
import { encodeResponse } from '../../fixtures/discovery-codec.ts'
import { freePort } from '../../fixtures/loopback.ts'

import type { Test } from 'tap'
import type { AgentError } from '../../../src/core/errors.ts'
import type { AdsStream } from '../../../src/xds-client/stream/ads-transport.ts'
import type { XdsMode } from '../../../src/xds-client/stream/discovery-messages.ts'
import type { GrpcTransportOptions } from '../../../src/xds-client/stream/grpc-transport.ts'
import type { AdsServerOptions } from '../../fixtures/ads-server.ts'

const { address } = TYPE_URLS
const REQUESTS: Readonly<Record<XdsMode, Uint8Array>> = {
  delta: encodeDeltaRequest({ typeUrl: address, subscribe: ['a'] }),
  sotw: encodeSotwRequest({ typeUrl: address, version: 'v1', names: [], nonce: 'n1' }),
}
const TLS_FILES = 'test/fixtures/tls'
const pem = (name: string): string => readFileSync(path.join(TLS_FILES, name), 'utf8')
const SERVER_TLS = { key: pem('server-key.pem'), cert: pem('server.pem') }
const ISTIOD_ONLY_TLS = { key: pem('server-key.pem'), cert: pem('istiod-only.pem') }

/** A stream with everything that it tells; messages are read on by `next`. */
class Opened {
  readonly stream: AdsStream
  readonly messages: Buffer[] = []
  readonly ended: Promise<AgentError | undefined>
  #waiting: (() => void) | undefined

  constructor(transport: GrpcTransport, mode: XdsMode = 'delta') {
    let end: (error: AgentError | undefined) => void = () => undefined
    this.ended = new Promise((resolve) => {
      end = resolve
    })
    let isEnded = false
    this.stream = transport.open(mode, {
      message: (bytes) => {
        if (isEnded) throw new Error('a message came after the end')
        this.messages.push(Buffer.from(bytes))
        this.#waiting?.()
      },
      ended: (error) => {
        if (isEnded) throw new Error('the stream ended twice')
        isEnded = true
        end(error)
      },
    })
  }

  /** Resolves when there are `count` messages. */
  async received(count: number): Promise<void> {
    while (this.messages.length < count)
      await new Promise<void>((resolve) => {
        this.#waiting = resolve
      })
  }
}

async function startServer(t: Test, options: AdsServerOptions = {}): Promise<AdsServer> {
  const server = await AdsServer.start(options)
  t.teardown(() => server.close())
  return server
}

function open(
  t: Test,
  port: number,
  options: Partial<GrpcTransportOptions> & { readonly host?: string; readonly isTls?: boolean } = {},
  mode: XdsMode = 'delta',
): Opened {
  const { host = '127.0.0.1', isTls = false, ...rest } = options
  const transport = new GrpcTransport({
    address: { host, port, isTls },
    root: { path: path.join(TLS_FILES, 'root.pem') },
    clusterId: 'Kubernetes',
    headers: {},
    ...rest,
  })
  const opened = new Opened(transport, mode)
  t.teardown(async () => {
    opened.stream.close()
    await opened.ended
  })
  return opened
}

function directory(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'twinstack-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true })
  })
  return folder
}

t.test('sends and receives messages as they are, over the method of each protocol', async (t) => {
  const server = await startServer(t)
  for (const mode of ['delta', 'sotw'] as const) {
    const client = open(t, server.port, {}, mode)
    client.stream.send(REQUESTS[mode])
    const stream = await server.nextStream()
    t.equal(stream.mode, mode)
    t.match(
      await stream.nextRequest(),
      mode === 'delta' ? { subscribe: ['a'] } : { version: 'v1', nonce: 'n1' },
    )
    client.stream.send(REQUESTS[mode])
    t.match(await stream.nextRequest(), { typeUrl: address })
    const bytes = encodeResponse(mode, { typeUrl: address, nonce: 'n1' })
    stream.sendMessage(bytes)
    await client.received(1)
    t.strictSame(client.messages, [bytes])
  }
})

t.test('presents token, cluster and further headers, read anew at each stream', async (t) => {
  const server = await startServer(t)
  const tokenPath = path.join(directory(t), 'token')
  const options = { token: { path: tokenPath }, headers: { 'x-tenant': 'blue' } }
  writeFileSync(tokenPath, 'first\n')
  open(t, server.port, options)
  t.match((await server.nextStream()).headers, {
    authorization: 'Bearer first',
    clusterid: 'Kubernetes',
    'x-tenant': 'blue',
  })
  writeFileSync(tokenPath, 'second')
  open(t, server.port, options)
  t.match((await server.nextStream()).headers, { authorization: 'Bearer second' })
})

t.test('does not read a response before the last one is done with', async (t) => {
  const server = await startServer(t)
  const client = open(t, server.port)
  const stream = await server.nextStream()
  const large = encodeResponse('delta', { typeUrl: address, resources: [{ value: Buffer.alloc(20 << 20) }] })
  for (let index = 0; index < 4; index++) void stream.sendMessage(large)
  let hasLeft = false
  const lastLeft = stream.sendBytes(Buffer.alloc(0)).then(() => {
    hasLeft = true
  })
  await client.received(1)
  await server.roundTrips()
  t.equal(client.messages.length, 1)
  t.notOk(hasLeft, 'and it stays at the server')
  for (let count = 2; count <= 4; count++) {
    client.stream.next()
    await client.received(count)
  }
  await lastLeft
  t.ok(client.messages.every((message) => message.equals(large)))
})

t.test('tells of the end after the message before it is done with', async (t) => {
  const server = await startServer(t)
  const client = open(t, server.port)
  const stream = await server.nextStream()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  stream.end()
  await client.received(1)
  let isEnded = false
  void client.ended.then(() => {
    isEnded = true
  })
  await server.roundTrips()
  t.notOk(isEnded)
  client.stream.next()
  t.equal(await client.ended, undefined, 'an orderly end is no error')
})

t.test('goes on through GOAWAY, and ends with the connection', async (t) => {
  const server = await startServer(t)
  const client = open(t, server.port)
  const stream = await server.nextStream()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  await client.received(1)
  client.stream.next()
  server.goAway()
  stream.respond({ typeUrl: address, nonce: 'n2' })
  await client.received(2)
  client.stream.next()
  server.cutConnections()
  t.match(await client.ended, { code: 'reset', message: /http:\/\/127\.0\.0\.1:\d+ ended the stream/ })
})

t.test('ends when a message is cut off, and hands none of it out', async (t) => {
  const server = await startServer(t)
  const client = open(t, server.port)
  const stream = await server.nextStream()
  await stream.sendHalfMessage(Buffer.alloc(1_000))
  server.cutConnections()
  t.match(await client.ended, { code: 'reset' })
  t.strictSame(client.messages, [])
})

t.test('ends when the control plane resets the stream', async (t) => {
  const server = await startServer(t)
  const client = open(t, server.port)
  const stream = await server.nextStream()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  await client.received(1)
  client.stream.next()
  stream.reset()
  t.match(await client.ended, { code: 'reset' })
})

t.test('says what a status of the control plane means and what to do', async (t) => {
  const server = await startServer(t)
  const cases = [
    { status: 16, text: 'authentication failure', code: 'unauthenticated', remedy: /AUTH_TOKEN/ },
    { status: 7, text: 'not yours', code: 'unauthenticated', remedy: /SERVICE_ACCOUNT/ },
    { status: 3, text: 'missing node', code: 'config_invalid', remedy: /POD_NAMESPACE/ },
    { status: 12, text: 'unknown service', code: 'unsupported', remedy: /ADS server/ },
    { status: 8, text: 'too many', code: 'resources_exhausted', remedy: /RESOURCE_EXHAUSTED/ },
  ]
  for (const { status, text, code, remedy } of cases) {
    const client = open(t, server.port)
    ;(await server.nextStream()).end(status, text)
    const error = await client.ended
    t.match(error, { code, source: 'control-plane', message: remedy })
    t.match(error?.message, new RegExp(`127\\.0\\.0\\.1:${server.port} ended the stream: .+ ${text}`))
  }
})

t.test('says that nothing listens', async (t) => {
  const server = await AdsServer.start()
  const { port } = server
  await server.close()
  t.match(await open(t, port).ended, {
    code: 'refused',
    message: new RegExp(`cannot connect to http://127.0.0.1:${port}: .*ECONNREFUSED.*; check that it runs`),
  })
})

t.test('says that a name does not resolve', async (t) => {
  const lookup = dns.lookup
  t.teardown(() => {
    dns.lookup = lookup
  })
  const client = open(t, 15_010, { host: 'istiod.invalid' })
  t.match(await client.ended, { code: 'resolution_failed', message: /istiod\.invalid:15010.+DNS/ })
})

t.test('says which file of credentials is missing, before it connects', async (t) => {
  const server = await startServer(t, { tls: SERVER_TLS })
  const folder = directory(t)
  const missing = path.join(folder, 'missing')
  const damaged = path.join(folder, 'damaged')
  writeFileSync(damaged, '-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n')
  const notPem = path.join(folder, 'not-pem')
  writeFileSync(notPem, 'x')
  const empty = path.join(folder, 'empty')
  writeFileSync(empty, '\n')
  const lines = path.join(folder, 'lines')
  writeFileSync(lines, 'a\nb')
  const cases: readonly (readonly [Partial<GrpcTransportOptions>, RegExp])[] = [
    [{ token: { path: missing } }, /the token cannot be read: .*missing.*AUTH_TOKEN/],
    [{ token: { path: empty } }, /the token in .*empty is empty/],
    [{ token: { path: lines } }, /lines holds no token/],
    [{ root: { path: missing } }, /the root certificate cannot be read: .*missing.*XDS_ROOT_CA/],
    [{ root: { path: notPem } }, /not-pem is no PEM certificate/],
    [{ root: { path: damaged } }, /damaged is no PEM certificate/],
  ]
  for (const [options, message] of cases)
    t.match(await open(t, server.port, { ...options, isTls: true }).ended, {
      code: 'credentials_unreadable',
      source: 'config',
      message,
    })
  t.equal(server.streamCount, 0)
})

t.test('says which header cannot be sent, without its value', async (t) => {
  const server = await startServer(t)
  for (const headers of [{ 'x-a': 'secret\n' }, { 'x y': 'secret' }]) {
    const error = await open(t, server.port, { headers }).ended
    t.match(error, { code: 'config_invalid', message: /the header x.[ay] cannot be sent/ })
    t.notMatch(error?.message, /secret/)
  }
})

t.test('trusts the root in the file as it is when it connects', async (t) => {
  const server = await startServer(t, { tls: SERVER_TLS })
  const root = path.join(directory(t), 'root.pem')
  const options = { host: 'localhost', isTls: true, root: { path: root } }
  writeFileSync(root, pem('other-root.pem'))
  t.match(await open(t, server.port, options).ended, {
    code: 'certificate_untrusted',
    message: /cannot connect to https:\/\/localhost:\d+: .+XDS_ROOT_CA/,
  })
  writeFileSync(root, pem('root.pem'))
  const client = open(t, server.port, options)
  const stream = await server.nextStream()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  await client.received(1)
})

t.test('verifies the name, and takes the alternative one too', async (t) => {
  const server = await startServer(t, { tls: ISTIOD_ONLY_TLS })
  const options = { host: 'localhost', isTls: true }
  t.match(await open(t, server.port, options).ended, {
    code: 'certificate_untrusted',
    message: /altnames.+ALT_XDS_HOSTNAME/,
  })
  t.match(await open(t, server.port, { ...options, alternativeName: 'else.where' }).ended, {
    code: 'certificate_untrusted',
  })
  open(t, server.port, { ...options, alternativeName: 'istiod.istio-system.svc' })
  t.ok(await server.nextStream())
})

t.test('says that the port speaks no TLS', async (t) => {
  const server = await startServer(t)
  const client = open(t, server.port, { host: 'localhost', isTls: true })
  t.match(await client.ended, { code: 'protocol_violation', message: /15012/ })
})

for (const family of ['127.0.0.1', '::1'] as const)
  t.test(`connects to a name of both families where only ${family} listens`, async (t) => {
    const server = await startServer(t, { host: family, port: await freePort() })
    const lookup = dns.lookup
    // What a resolver gives for a dual-stack service, the dead family first.
    const both = [
      { address: '127.0.0.1', family: 4 },
      { address: '::1', family: 6 },
    ].sort((a) => (a.address === family ? 1 : -1))
    dns.lookup = (() => Promise.resolve(both)) as unknown as typeof dns.lookup
    t.teardown(() => {
      dns.lookup = lookup
    })
    const startedAt = performance.now()
    open(t, server.port, { host: 'istiod.test' })
    t.ok(await server.nextStream())
    t.ok(performance.now() - startedAt < 15_000, 'without waiting for the dead one')
  })

t.test('connects to an IPv6 literal', async (t) => {
  const server = await startServer(t, { host: '::1' })
  const client = open(t, server.port, { host: '::1' })
  const stream = await server.nextStream()
  stream.end(16, 'no')
  t.match(await client.ended, { message: new RegExp(`^http://\\[::1\\]:${server.port} `) })
})

t.test('finds by keepalive that the connection is dead', async (t) => {
  const server = await startServer(t)
  // Between the two, so that it can swallow everything without closing anything.
  let isDead = false
  const sockets: net.Socket[] = []
  const middle = net.createServer((near) => {
    const far = net.connect(server.port, '127.0.0.1')
    sockets.push(near, far)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (bytes: Buffer) => {
        if (!isDead) to.write(bytes)
      })
      from.on('error', () => undefined)
    }
  })
  await new Promise<void>((resolve) => middle.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    middle.close()
  })
  const { port } = middle.address() as net.AddressInfo
  const client = open(t, port, { keepaliveTimeMs: 1_000, keepaliveTimeoutMs: 1_000 })
  const stream = await server.nextStream()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  await client.received(1)
  client.stream.next()
  isDead = true
  t.match(await client.ended, { code: 'reset' })
})

t.test('closes at any time, once', async (t) => {
  const server = await startServer(t)
  const early = open(t, server.port)
  early.stream.close()
  early.stream.close()
  t.equal(await early.ended, undefined)
  t.equal(server.streamCount, 0)
  const busy = open(t, server.port)
  const stream = await server.nextStream()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  await busy.received(1)
  busy.stream.close()
  busy.stream.send(REQUESTS.delta)
  t.equal(await busy.ended, undefined, 'a message that was not done with does not hold it')
  await stream.closed
})
