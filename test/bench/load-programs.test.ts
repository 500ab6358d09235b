/** The bench's client and server on loopback, without a proxy: do they count, compare and fail as they say. */
import { once } from 'node:events'
import net from 'node:net'

import t from 'tap'

import { ClientRun } from '../../bench/lab/client-run.ts'
import { hasCommand } from '../../bench/lab/command.ts'
import { LineProcess } from '../../bench/lab/line-process.ts'
import { buildLoadPrograms } from '../../bench/lab/load-programs.ts'
import { ServerProgram } from '../../bench/lab/server-program.ts'
import { eventually } from '../fixtures/eventually.ts'
import { freePort } from '../fixtures/loopback.ts'

import type { Test } from 'tap'

const REASON = 'gcc is not on the PATH'

if (!(await hasCommand('gcc'))) {
  if (process.env['TWINSTACK_TEST_NO_SKIP'] === '1') t.fail(REASON)
  else t.plan(0, REASON)
} else {
  const programs = await buildLoadPrograms()
  const { clientPath, serverPath } = programs
  t.teardown(() => programs.close())

  const startServer = async (t: Test, service: string): Promise<{ server: ServerProgram; port: number }> => {
    const port = await freePort()
    const server = await ServerProgram.start([serverPath, service, '127.0.0.1', String(port)])
    t.teardown(() => server.close())
    return { server, port }
  }

  const startClient = async (t: Test, load: string, ...numbers: readonly number[]): Promise<ClientRun> => {
    const client = await ClientRun.start([clientPath, load, '127.0.0.1', ...numbers.map(String)])
    t.teardown(() => client.close())
    return client
  }

  const transfer = async (t: Test, port: number, bytes: number): Promise<unknown> => {
    const process = new LineProcess('client', [
      clientPath,
      ...['transfer', '127.0.0.1', String(port), '1', String(bytes)],
    ])
    t.teardown(() => process.close())
    return await process.next()
  }

  t.test('both ends of requests count the same', async (t) => {
    const { server, port } = await startServer(t, 'echo')
    const client = await startClient(t, 'requests', port, 3)
    // More than one request for each connection: the client has had answers.
    await eventually('requests go round', async () => (await server.counts()).receivedBytes > 10 * 3 * 64)
    const counts = await client.stop()
    const seen = await server.counts()
    t.ok(counts.completed > 0)
    t.equal(counts.errors, 0)
    t.equal(counts.receivedBytes, counts.completed * 64)
    t.ok(counts.p50Us > 0 && counts.p50Us <= counts.p99Us && counts.p99Us <= counts.p999Us)
    t.equal(seen.accepted, 3)
    t.ok(seen.receivedBytes >= counts.receivedBytes)
  })

  t.test('bulk counts bytes both ways', async (t) => {
    for (const [load, service] of [
      ['send', 'sink'],
      ['receive', 'source'],
    ] as const) {
      const { server, port } = await startServer(t, service)
      const client = await startClient(t, load, port, 2)
      const first = await client.mark()
      const received = async (): Promise<number> =>
        load === 'send' ? (await server.counts()).receivedBytes : (await client.mark()).receivedBytes
      await eventually(`${load} moves bytes`, async () => (await received()) > 0)
      const second = await client.stop()
      const bytes = load === 'send' ? (await server.counts()).receivedBytes : second.receivedBytes
      t.ok(bytes > 0, `${load}: ${bytes} bytes`)
      t.ok(second.atNs > first.atNs)
    }
  })

  t.test('held connections are answered when they open and when they are asked', async (t) => {
    const { server, port } = await startServer(t, 'echo')
    const client = await startClient(t, 'hold', port, 200)
    t.match(await client.mark(), { completed: 200, errors: 0 })
    t.match(await server.counts(), { accepted: 200, open: 200 })
    t.match(await client.askAll(), { completed: 400, errors: 0 })
  })

  t.test('connections that nobody accepts are errors with a reason', async (t) => {
    const client = await startClient(t, 'hold', await freePort(), 5)
    t.match(await client.stop(), { completed: 0, errors: 5, firstError: 'Connection refused' })
  })

  t.test('a transfer arrives byte for byte, across the period of the pattern', async (t) => {
    const { port } = await startServer(t, 'transfer')
    t.match(await transfer(t, port, 40_000_000), { seconds: Number })
  })

  t.test('a transfer fails where an echo answers, and where FIN comes early', async (t) => {
    const { port: echoPort } = await startServer(t, 'echo')
    await t.rejects(transfer(t, echoPort, 1_000_000), {
      message: /after received byte 0: a byte is not what/,
    })
    const early = net.createServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end(),
    )
    early.listen(0, '127.0.0.1')
    await once(early, 'listening')
    t.teardown(() => early.close())
    const address = early.address()
    if (address === null || typeof address === 'string') throw new TypeError('a TCP server has an address')
    await t.rejects(transfer(t, address.port, 1_000_000), { message: /after received byte 0: FIN/ })
  })
}
