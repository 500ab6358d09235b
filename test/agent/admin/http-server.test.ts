import http from 'node:http'
import net from 'node:net'

import t from 'tap'

import {
  DualStackHttpServer,
  loopbackAddresses,
  wildcardAddresses,
} from '../../../src/agent/admin/http-server.ts'
import { parseIp } from '../../../src/core/address.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { freePort, loopbackFamilies, skipUnlessDualStack } from '../../fixtures/loopback.ts'

import type { Test } from 'tap'
import type { HttpServerOptions } from '../../../src/agent/admin/http-server.ts'
import type { SocketAddress } from '../../../src/core/address.ts'
import type { Clock } from '../../../src/core/clock.ts'

const skip = await skipUnlessDualStack()
const families = await loopbackFamilies()

const ROUTES: HttpServerOptions['routes'] = [
  { path: '/get', method: 'GET', help: '', answer: ({ query }) => ({ body: `got ${query.get('q') ?? ''}` }) },
  { path: '/post', method: 'POST', help: '', answer: () => ({ status: 201, body: 'posted' }) },
  { path: '/both', method: 'GET', help: '', answer: () => ({ body: 'get' }) },
  { path: '/both', method: 'POST', help: '', answer: () => ({ body: 'post' }) },
  {
    path: '/throws',
    method: 'GET',
    help: '',
    answer: () => {
      throw new Error('no luck')
    },
  },
]

interface Reply {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

function request(address: SocketAddress, path: string, method = 'GET', body = ''): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const options = { host: address.ip.text, port: address.port, path, method, agent: false }
    const sent = http.request(options, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

function missing(): never {
  throw new Error('the server has no such address')
}

async function start(
  t: Test,
  parts: Partial<HttpServerOptions> = {},
  clock: Clock = systemClock,
): Promise<DualStackHttpServer> {
  const deps = { clock, random: seededRandom(1), logger: silentLogger }
  const options = { name: 'test', addresses: loopbackAddresses(families), port: 0, routes: ROUTES, ...parts }
  const server = new DualStackHttpServer(deps, options)
  t.teardown(() => server.close())
  await server.start()
  return server
}

for (const family of families) {
  t.test(`answers routes over ${family}`, async (t) => {
    const server = await start(t)
    const status = server.statuses.find((each) => each.family === family)
    t.match(status, { listener: 'test', state: 'bound', reason: '' })
    const address = status?.address ?? missing()
    t.match(await request(address, '/get?q=1'), {
      status: 200,
      body: 'got 1',
      headers: { 'content-type': /^text/ },
    })
    t.match(await request(address, '/get', 'HEAD'), {
      status: 200,
      body: '',
      headers: { 'content-length': '4' },
    })
    t.match(await request(address, '/post', 'POST', 'ignored'), { status: 201, body: 'posted' })
    t.match(await request(address, '/both', 'POST'), { status: 200, body: 'post' })
    t.match(await request(address, '/nowhere'), { status: 404 })
    t.match(await request(address, '//'), { status: 404 })
    t.match(await request(address, '/post'), { status: 405, headers: { allow: 'POST' } })
    t.match(await request(address, '/both', 'PUT'), { status: 405, headers: { allow: 'GET, POST' } })
    t.match(await request(address, '/throws'), { status: 500, body: 'no luck\n' })
  })
}

t.test('rule 1: binds each family by itself on the wildcard addresses', { skip }, async (t) => {
  const server = await start(t, { addresses: wildcardAddresses(['ipv4', 'ipv6']), port: await freePort() })
  t.strictSame(
    server.statuses.map(({ family, address, state }) => [family, address.ip.text, state]),
    [
      ['ipv4', '0.0.0.0', 'bound'],
      ['ipv6', '::', 'bound'],
    ],
  )
})

t.test(
  'rule 2: serves one family while the other is taken, and takes it when it is free',
  { skip },
  async (t) => {
    const blocker = net.createServer()
    const port = await freePort()
    await new Promise<void>((resolve) => blocker.listen({ host: '::1', port, ipv6Only: true }, resolve))
    const clock = new FakeClock()
    const server = await start(t, { port }, clock)
    const [ipv4, ipv6] = server.statuses
    t.match(ipv4, { state: 'bound' })
    t.match(ipv6, { state: 'failed', reason: `cannot listen on [::1]:${port}: EADDRINUSE` })
    t.match(await request(ipv4?.address ?? missing(), '/get'), { status: 200 })
    await new Promise((resolve) => blocker.close(resolve))
    clock.advance(1_000)
    await eventually('IPv6 is bound', () => server.statuses[1]?.state === 'bound')
    t.equal(clock.pendingTimers, 0)
  },
)

t.test('rule 2: calls an address absent that the machine does not have', async (t) => {
  const server = await start(t, { addresses: [parseIp('203.0.113.1')] })
  t.match(server.statuses, [{ state: 'absent', reason: /EADDRNOTAVAIL/ }])
})

t.test('frees its addresses when it is closed, and can be closed twice', async (t) => {
  const server = await start(t)
  const address = server.statuses[0]?.address ?? missing()
  await server.close()
  await server.close()
  await t.rejects(request(address, '/get'))
})
