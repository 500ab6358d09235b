/** Who accepts on which descriptor, while workers come and go. No sockets: numbers in, messages out. */
import t from 'tap'

import { withoutFilterChains } from '../../../src/mesh/listener.ts'
import { RELEASE_DEADLINE_MS } from '../../../src/proxy/release.ts'
import { SharedSockets } from '../../../src/proxy/workers/shared-sockets.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'

import type { ToWorker } from '../../../src/proxy/workers/messages.ts'
import type { ListenResult } from '../../../src/proxy/transport.ts'

const LISTENER = aListener('front', [['127.0.0.1', 80]], 'echo')
const OPTIONS = { backlog: 16, keepalive: {} } as const

/** Two workers whose descriptors are 10 and 11; worker 0 lives, worker 1 is still starting. */
function lab() {
  const clock = new FakeClock()
  const live = new Set([0])
  const closed: number[] = []
  const deaf: number[] = []
  /** Who is told to accept on which descriptor, and who to let go of which place. */
  const told: string[] = []
  const ids = new Map<number, number>()
  const sockets = new SharedSockets(
    {
      clock,
      sockets: {
        open: (address) => ({ ok: true, address: address.address, fds: [10, 11] }),
        stopListening: (fd) => deaf.push(fd),
        close: (fd) => closed.push(fd),
      },
      entryOf: () => 0,
      live: () => [...live],
      post: (worker: number, message: ToWorker) => {
        if (message.kind === 'listen') {
          ids.set(message.socket.fd, message.socket.id)
          told.push(`${worker} accepts on ${message.socket.fd}`)
        } else if (message.kind === 'unlisten') {
          told.push(`${worker} lets go of ${fdOf(message.socket)}`)
        }
      },
    },
    { workers: 2 },
  )
  const fdOf = (id: number): number => [...ids].find(([, each]) => each === id)?.[0] ?? -1
  const idOf = (fd: number): number => ids.get(fd) ?? -1
  const listen = (): Promise<ListenResult> => {
    const [address] = LISTENER.addresses
    if (address === undefined) throw new Error('the listener has an address')
    return sockets.listen(LISTENER, address, OPTIONS)
  }
  return { clock, live, closed, deaf, sockets, listen, idOf, told: () => told.splice(0) }
}

async function closeOf(result: Promise<ListenResult>): Promise<() => Promise<void>> {
  const opened = await result
  if (!opened.ok) throw new Error(opened.message)
  return () => opened.socket.close()
}

t.test('a worker gets everything of a listener but its filter chains', async (t) => {
  const listener = { ...LISTENER, preservesSource: true, keepalive: { idleMs: 1 } }
  t.strictSame(withoutFilterChains(listener), { ...listener, filterChains: [] })
})

t.test('a worker stands in for one that has not started, and gives back what it took', async (t) => {
  const { sockets, live, listen, told } = lab()
  await listen()
  t.strictSame(told(), ['0 accepts on 10', '0 accepts on 11'])
  live.add(1)
  sockets.workerStarted(1)
  t.strictSame(told(), ['0 lets go of 11', '1 accepts on 11'])
})

t.test('a worker that died is stood in for, and its successor takes over', async (t) => {
  const { sockets, live, listen, told } = lab()
  live.add(1)
  await listen()
  t.strictSame(told(), ['0 accepts on 10', '0 accepts on 11', '0 lets go of 11', '1 accepts on 11'])
  live.delete(0)
  sockets.workerDied(0)
  t.strictSame(told(), ['1 accepts on 10'])
  live.delete(1)
  sockets.workerDied(1)
  t.strictSame(told(), [], 'nobody is left')
  live.add(0)
  sockets.workerStarted(0)
  t.strictSame(told(), ['0 accepts on 10', '0 accepts on 11'])
})

t.test('descriptors are closed when those who accept on them have let go', async (t) => {
  const { clock, sockets, live, listen, idOf, closed } = lab()
  live.add(1)
  const close = await closeOf(listen())
  const done = close()
  t.equal(sockets.listenerOf('front'), LISTENER, 'routes can still be asked for')
  sockets.unlistened(0, idOf(10))
  // A late answer of the one who stood in says nothing about the one who accepts now.
  sockets.unlistened(0, idOf(11))
  await Promise.resolve()
  t.strictSame(closed, [])
  sockets.unlistened(1, idOf(11))
  await done
  t.strictSame(closed, [10, 11])
  t.equal(sockets.listenerOf('front'), undefined)
  t.equal(clock.pendingTimers, 0)
})

t.test('a worker that dies has let go; one that hangs keeps what it may use, and nobody waits', async (t) => {
  const { clock, sockets, live, listen, idOf, closed, deaf, told } = lab()
  live.add(1)
  const close = await closeOf(listen())
  told()
  const done = close()
  live.delete(1)
  sockets.workerDied(1)
  t.strictSame(told(), ['0 lets go of 10', '1 lets go of 11'], 'nobody stands in on what is being closed')
  clock.advance(RELEASE_DEADLINE_MS)
  await done
  t.strictSame(deaf, [10, 11], 'nobody can connect any more')
  t.strictSame(closed, [], 'the numbers are those of nobody else yet')
  sockets.unlistened(0, idOf(10))
  await Promise.resolve()
  t.strictSame(closed, [10, 11])
  t.equal(sockets.listenerOf('front'), undefined)
  await close()
  t.strictSame(closed, [10, 11], 'closing again does nothing')
})
