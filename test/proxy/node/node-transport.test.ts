import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { NodeTransport } from '../../../src/proxy/node/node-transport.ts'
import { runTransportConformance } from '../transport-conformance.ts'

t.test('the node engine is a Transport', async (t) => {
  await runTransportConformance(
    t,
    () =>
      new NodeTransport({
        clock: systemClock,
        originalDestination: { isAvailable: false, reason: 'not part of this test' },
      }),
  )
})

t.test('rule 4: says where an attempt connects from before its other end is accepted', async (t) => {
  const transport = new NodeTransport({
    clock: systemClock,
    originalDestination: { isAvailable: false, reason: 'not part of this test' },
  })
  const seen: string[] = []
  const ended = new Promise<void>((resolve) => {
    const listening = transport.listen(
      { address: parseSocketAddress('127.0.0.1:0'), socketOptions: [] },
      { backlog: 1, keepalive: {} },
      {
        accepted: (socket) => {
          seen.push(`accepted ${socket.remote.port}`)
          socket.reset()
          resolve()
        },
        acceptFailed: () => undefined,
      },
    )
    void listening.then((result) => {
      if (!result.ok) throw new Error(result.message)
      t.teardown(() => result.socket.close())
      const attempt = transport.connect(
        { to: result.socket.address, keepalive: {} },
        {
          started: ({ port }) => seen.push(`started ${port}`),
          connected: () => undefined,
          failed: () => undefined,
        },
      )
      t.teardown(() => {
        attempt.abort()
      })
    })
  })
  await ended
  const [started, accepted] = seen
  t.match(started, /^started \d+$/)
  t.equal(accepted, started?.replace('started', 'accepted'))
})
