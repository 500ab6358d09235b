/** Client, gRPC and a control plane on real sockets, through what happens to connections. */
import { setImmediate as nextTurn } from 'node:timers/promises'

import t from 'tap'

import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { AdsClient } from '../../../src/xds-client/stream/ads-client.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { GrpcTransport } from '../../../src/xds-client/stream/grpc-transport.ts'
import { AdsServer } from '../../fixtures/ads-server.ts'
import { encodeResponse } from '../../fixtures/discovery-codec.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { RecordingSink } from '../../fixtures/recording-sink.ts'

import type { Test } from 'tap'
import type { ReconnectReason } from '../../../src/xds-client/stream/ads-status.ts'

const { address } = TYPE_URLS

async function lab(t: Test) {
  const server = await AdsServer.start()
  const sink = new RecordingSink()
  const reasons: ReconnectReason[] = []
  const client = new AdsClient(
    {
      transport: new GrpcTransport({
        address: { host: '127.0.0.1', port: server.port, isTls: false },
        root: 'system',
        clusterId: '',
        headers: {},
      }),
      sink,
      clock: systemClock,
      nextTurn: () => nextTurn(),
      // No pause before the next stream.
      random: { next: () => 0 },
      logger: silentLogger,
      observer: {
        connectedChanged: () => undefined,
        message: () => undefined,
        reconnecting: (reason) => reasons.push(reason),
      },
    },
    {
      mode: 'delta',
      node: { id: 'node', metadata: {} },
      types: [{ typeUrl: address, interest: 'wildcard' }],
    },
  )
  t.teardown(async () => {
    await client.close()
    await server.close()
  })
  client.start()
  return { server, sink, client, reasons }
}

t.test('comes back from every kind of cut with what it has', async (t) => {
  const { server, sink, client, reasons } = await lab(t)
  let stream = await server.nextStream()
  t.match(await stream.nextRequest(), { typeUrl: address, nodeId: 'node', initialVersions: {} })
  stream.respond({ typeUrl: address, nonce: 'n0', resources: [{ name: 'r0', version: '0' }] })
  t.match(await stream.nextRequest(), { nonce: 'n0' })
  const half = encodeResponse('delta', { typeUrl: address, nonce: 'x', resources: [{ name: 'lost' }] })
  const cuts: readonly (() => unknown)[] = [
    () => {
      stream.end()
    },
    () => {
      stream.reset()
    },
    () => {
      server.cutConnections()
    },
    () => {
      server.goAway()
      server.cutConnections()
    },
    async () => {
      await stream.sendHalfMessage(half)
      server.cutConnections()
    },
    () => {
      stream.end(14, 'going down')
    },
  ]
  for (const [index, cut] of cuts.entries()) {
    await cut()
    stream = await server.nextStream()
    const { initialVersions, nodeId } = await stream.nextRequest()
    t.equal(nodeId, 'node')
    t.equal(Object.keys(initialVersions).length, index + 1)
    const name = `r${index + 1}`
    stream.respond({ typeUrl: address, nonce: name, resources: [{ name, version: '0' }] })
    t.match(await stream.nextRequest(), { nonce: name })
  }
  t.strictSame(reasons, ['ended', 'reset', 'reset', 'reset', 'reset', 'reset'])
  t.equal(client.resourceCount(address), cuts.length + 1)
  t.notOk(sink.updates.some(({ resources }) => resources.some(({ name }) => name === 'lost')))
})

t.test('survives bytes that are no message, and answers on the next stream', async (t) => {
  const { server, reasons } = await lab(t)
  for (const bytes of [Buffer.from([0xff]), Buffer.from('<html>'), Buffer.alloc(1_000, 0x80)]) {
    const stream = await server.nextStream()
    await stream.nextRequest()
    await stream.sendMessage(bytes)
    await stream.closed
  }
  const stream = await server.nextStream()
  await stream.nextRequest()
  stream.respond({ typeUrl: address, nonce: 'n1' })
  t.match(await stream.nextRequest(), { nonce: 'n1' })
  t.strictSame(new Set(reasons), new Set(['protocol_violation']))
})

t.test('applies resources that flap, in the order in which they came', async (t) => {
  const { server, sink, client } = await lab(t)
  const stream = await server.nextStream()
  await stream.nextRequest()
  for (let round = 0; round < 50; round++) {
    const isThere = round % 2 === 0
    stream.respond({
      typeUrl: address,
      nonce: `n${round}`,
      ...(isThere ? { resources: [{ name: 'a', version: String(round) }] } : { removed: ['a'] }),
    })
  }
  for (let round = 0; round < 50; round++) t.equal((await stream.nextRequest()).nonce, `n${round}`)
  t.equal(sink.updates.length, 50)
  t.equal(client.resourceCount(address), 0)
})

t.test('takes a response of 20 MiB that comes in drops', async (t) => {
  const { server, sink } = await lab(t)
  const stream = await server.nextStream()
  await stream.nextRequest()
  const large = encodeResponse('delta', {
    typeUrl: address,
    nonce: 'n1',
    resources: Array.from({ length: 20 }, (_, index) => ({
      name: `r${index}`,
      value: Buffer.alloc(1 << 20),
    })),
  })
  const head = Buffer.alloc(5)
  head.writeUInt32BE(large.length, 1)
  await stream.sendBytes(head)
  for (let at = 0; at < large.length; at += 1 << 18)
    await stream.sendBytes(large.subarray(at, at + (1 << 18)))
  t.match(await stream.nextRequest(), { nonce: 'n1' })
  t.equal(sink.updates[0]?.resources.length, 20)
})

t.test('leaves nothing open when it is closed', async (t) => {
  const { server, client } = await lab(t)
  const stream = await server.nextStream()
  await stream.nextRequest()
  await client.close()
  await stream.closed
  await eventually('the connection is gone', () => server.connectionCount === 0)
  t.equal(server.streamCount, 1)
})
