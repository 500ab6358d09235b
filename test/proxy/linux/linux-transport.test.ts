import t from 'tap'

import { parseIp } from '../../../src/core/address.ts'
import { SO_KEEPALIVE, SOL_SOCKET } from '../../../src/proxy/linux/constants.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { startLinuxEngine, whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { LOOPBACK } from '../../fixtures/loopback.ts'
import { connectTcp, echo, listenTcp } from '../../fixtures/tcp-servers.ts'
import { LISTEN_OPTIONS, accepting, listenerAddress } from '../../fixtures/transport-calls.ts'
import { runTransportConformance } from '../transport-conformance.ts'

import type { Test } from 'tap'
import type { Relay, TransportSocket } from '../../../src/proxy/transport.ts'
import type { LinuxEngine } from '../../fixtures/linux-engine.ts'

const reason = await whyNoLinuxEngine()

t.test('the Linux engine is a Transport', { skip: reason ?? false }, async (t) => {
  const { transport } = await startLinuxEngine(t)
  await runTransportConformance(t, () => transport)
})

t.test(
  'sets keepalive upstream once a connection has lasted a second',
  { skip: reason ?? false },
  async (t) => {
    const clock = new FakeClock()
    let keepalives = 0
    const engine = await startLinuxEngine(
      t,
      (syscalls) => ({
        ...syscalls,
        setsockopt: (fd, level, name, ...rest) => {
          if (level === SOL_SOCKET && name === SO_KEEPALIVE) keepalives++
          return syscalls.setsockopt(fd, level, name, ...rest)
        },
      }),
      clock,
    )
    const relays = [await startRelay(t, engine), await startRelay(t, engine)]
    t.equal(keepalives, 0)
    relays[0]?.close('reset')
    clock.advance(999)
    await nextTurn(engine)
    t.equal(keepalives, 0)
    clock.advance(1)
    await nextTurn(engine)
    t.equal(keepalives, 1, 'and not on one that has ended')
    clock.advance(10_000)
    await nextTurn(engine)
    t.equal(keepalives, 1)
  },
)

/** A client that is joined to a server of its own. */
async function startRelay(t: Test, { transport }: LinuxEngine): Promise<Relay> {
  const server = await listenTcp(LOOPBACK.ipv4, echo)
  t.teardown(() => server.close())
  const accepted: TransportSocket[] = []
  const listening = await transport.listen(listenerAddress('ipv4'), LISTEN_OPTIONS, accepting(accepted))
  if (!listening.ok) throw new Error(listening.message)
  t.teardown(() => listening.socket.close())
  const client = await connectTcp({ host: LOOPBACK.ipv4, port: listening.socket.address.port })
  client.on('error', () => undefined)
  t.teardown(() => client.destroy())
  await eventually('the client is accepted', () => accepted.length === 1)
  const upstream = await new Promise<TransportSocket>((resolve, reject) => {
    transport.connect(
      { to: { ip: parseIp(LOOPBACK.ipv4), port: server.port }, keepalive: { idleMs: 60_000 } },
      {
        connected: resolve,
        failed: (_code, message) => {
          reject(new Error(message))
        },
      },
    )
  })
  const [downstream] = accepted
  if (downstream === undefined) throw new Error('no client was accepted')
  const relay = transport.relay(downstream, upstream, () => undefined)
  t.teardown(() => {
    relay.close('reset')
  })
  return relay
}

/** Resolves when timers that are due have fired. */
function nextTurn({ reactor }: LinuxEngine): Promise<void> {
  return new Promise((resolve) => {
    reactor.setTimer(0, resolve)
  })
}
