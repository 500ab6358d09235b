/** Several threads that accept on one descriptor, and two agents that listen on one port. */
import os from 'node:os'

import t from 'tap'

import { systemRandom } from '../../../src/core/random.ts'
import { SourcePorts } from '../../../src/proxy/linux/source-ports.ts'
import { parseSocketAddress } from '../../../src/core/address.ts'
import { FAMILIES } from '../../../src/core/family.ts'
import { ACCEPT_PAUSE_MS, Acceptor } from '../../../src/proxy/linux/acceptor.ts'
import { SHUT_RD } from '../../../src/proxy/linux/constants.ts'
import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { LinuxIo } from '../../../src/proxy/linux/linux-io.ts'
import { openListeningSocket } from '../../../src/proxy/linux/listening-socket.ts'
import { Reactor } from '../../../src/proxy/linux/reactor.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { LOOPBACK, skipUnlessDualStack } from '../../fixtures/loopback.ts'
import { connectTcp } from '../../fixtures/tcp-servers.ts'

import type { Socket } from 'node:net'
import type { Test } from 'tap'
import type { Family } from '../../../src/core/family.ts'
import type { Syscalls } from '../../../src/proxy/linux/syscalls.ts'

const skip = (await whyNoLinuxEngine()) ?? (await skipUnlessDualStack())
const { EMFILE, ENOMEM } = os.constants.errno

/** The part of a worker that accepts, turned by hand. */
class Worker {
  readonly io: LinuxIo
  readonly accepted: number[] = []
  readonly failures: string[] = []

  constructor(syscalls: Syscalls, descriptors: DescriptorTable, clock: FakeClock) {
    const reactor = new Reactor({ syscalls, descriptors, clock })
    this.io = new LinuxIo({
      syscalls,
      descriptors,
      reactor,
      sourcePorts: new SourcePorts({ random: systemRandom }, { worker: 0, workers: 1 }),
      pipeFailed: () => undefined,
    })
  }

  acceptOn(fd: number): Acceptor {
    return new Acceptor(
      this.io,
      fd,
      {
        accepted: (socket) => {
          this.accepted.push(socket.remote.port)
          socket.reset()
        },
        acceptFailed: (code) => this.failures.push(code),
      },
      { isShared: true },
    )
  }

  turn(): void {
    this.io.reactor.turn(0)
  }
}

async function start(t: Test, wrap: (syscalls: Syscalls) => Syscalls = (syscalls) => syscalls) {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const clock = new FakeClock()
  const descriptors = new DescriptorTable({ syscalls }, { memory: new ArrayBuffer(65_536), owner: 0 })
  const workers = [
    new Worker(wrap(syscalls), descriptors, clock),
    new Worker(syscalls, descriptors, clock),
  ] as const
  t.teardown(() => {
    descriptors.closeOwnedBy(0)
  })
  const listen = (family: Family, port = 0): { readonly fd: number; readonly port: number } => {
    const host = family === 'ipv4' ? LOOPBACK.ipv4 : `[${LOOPBACK.ipv6}]`
    const opened = openListeningSocket(
      { syscalls, descriptors },
      { address: parseSocketAddress(`${host}:${port}`), socketOptions: [] },
      { backlog: 64, keepalive: {}, reusePort: true },
    )
    if (!opened.ok) throw new Error(opened.message)
    return { fd: opened.fd, port: opened.address.port }
  }
  return { syscalls, descriptors, clock, workers, listen }
}

/** Clients that are connected, whether anybody has accepted them or not. */
async function connect(t: Test, family: Family, port: number, count: number): Promise<readonly Socket[]> {
  const clients = await Promise.all(
    Array.from({ length: count }, () => connectTcp({ host: LOOPBACK[family], port })),
  )
  for (const client of clients) {
    client.on('error', () => undefined)
    t.teardown(() => client.destroy())
  }
  return clients
}

function portsOf(clients: readonly Socket[]): readonly (number | undefined)[] {
  return clients.map(({ localPort }) => localPort).sort()
}

for (const family of FAMILIES) {
  t.test(`${family}: each connection on a shared descriptor is accepted once`, { skip }, async (t) => {
    const { workers, listen } = await start(t)
    const { fd, port } = listen(family)
    for (const worker of workers) worker.acceptOn(fd)
    const ports: (number | undefined)[] = []
    for (let round = 0; round < 10; round++) {
      ports.push(...portsOf(await connect(t, family, port, 3)))
      for (const worker of round % 2 === 0 ? workers : [...workers].reverse()) worker.turn()
    }
    t.strictSame(workers.flatMap(({ accepted }) => accepted).sort(), ports.sort())
    t.ok(
      workers.every(({ accepted }) => accepted.length > 0),
      'and either takes some',
    )
  })
}

t.test(
  'a worker that has no descriptor pauses, and what waits goes to the other or comes later',
  { skip },
  async (t) => {
    let isFull = true
    let tries = 0
    const { workers, listen, clock } = await start(t, (real) => ({
      ...real,
      accept4: (...args) => {
        tries++
        return isFull ? -1 : real.accept4(...args)
      },
      errno: () => (isFull ? EMFILE : real.errno()),
    }))
    const [full, other] = workers
    const { fd, port } = listen('ipv4')
    full.acceptOn(fd)
    await connect(t, 'ipv4', port, 2)
    full.turn()
    full.turn()
    t.equal(tries, 1, 'it would be told the same at once')
    t.strictSame(full.failures, ['descriptors_exhausted'])
    clock.advance(ACCEPT_PAUSE_MS)
    full.turn()
    full.turn()
    t.equal(tries, 2)
    t.strictSame(full.failures, ['descriptors_exhausted'], 'told once')
    other.acceptOn(fd)
    other.turn()
    t.equal(other.accepted.length, 2, 'nothing waits for the one that is full')
    isFull = false
    clock.advance(ACCEPT_PAUSE_MS)
    full.turn()
    const [client] = await connect(t, 'ipv4', port, 1)
    full.turn()
    t.strictSame(full.accepted, [client?.localPort], 'it is woken again')
  },
)

t.test('a worker that the kernel cannot tell of connections tries again later', { skip }, async (t) => {
  let isFull = true
  const { workers, listen, clock } = await start(t, (real) => ({
    ...real,
    epoll_ctl: (...args) => (isFull ? -1 : real.epoll_ctl(...args)),
    errno: () => (isFull ? ENOMEM : real.errno()),
  }))
  const [worker] = workers
  const { fd, port } = listen('ipv4')
  worker.acceptOn(fd)
  const [client] = await connect(t, 'ipv4', port, 1)
  clock.advance(ACCEPT_PAUSE_MS)
  worker.turn()
  worker.turn()
  t.strictSame([worker.accepted, worker.failures.length], [[], 1], 'told once')
  isFull = false
  clock.advance(ACCEPT_PAUSE_MS)
  worker.turn()
  worker.turn()
  t.strictSame(worker.accepted, [client?.localPort])
})

t.test('a descriptor that listens no more is left, and no connection counts as lost', { skip }, async (t) => {
  const { syscalls, clock, workers, listen } = await start(t)
  const [worker] = workers
  const { fd } = listen('ipv4')
  const acceptor = worker.acceptOn(fd)
  syscalls.shutdown(fd, SHUT_RD)
  worker.turn()
  t.strictSame(worker.failures, [])
  t.equal(worker.io.reactor.watch(fd, { onReady: () => undefined }, 0), true, 'it is not watched')
  acceptor.stop()
  clock.advance(ACCEPT_PAUSE_MS)
  worker.turn()
  t.strictSame(worker.failures, [])
})

t.test('who leaves takes nothing that is queued; who stops takes it all', { skip }, async (t) => {
  const { workers, listen } = await start(t)
  const [first, second] = workers
  const { fd, port } = listen('ipv6')
  const [leaving, stopping] = [first.acceptOn(fd), second.acceptOn(fd)]
  const clients = await connect(t, 'ipv6', port, 3)
  leaving.stop('leave')
  first.turn()
  t.strictSame(first.accepted, [])
  stopping.stop()
  t.strictSame([...second.accepted].sort(), portsOf(clients))
  await connect(t, 'ipv6', port, 1)
  stopping.stop()
  for (const worker of workers) worker.turn()
  t.equal(second.accepted.length, 3, 'and nothing after that')
  t.equal(first.accepted.length, 0)
})

for (const family of FAMILIES) {
  t.test(
    `rule 13: ${family} connections go to the agent that listens since later once the first yields`,
    { skip },
    async (t) => {
      const { workers, listen, descriptors } = await start(t)
      const [old, successor] = workers
      const { fd, port } = listen(family)
      old.acceptOn(fd)
      /** Who gets how many of some connections. */
      const share = async (count: number): Promise<readonly [number, number]> => {
        for (const worker of workers) worker.accepted.splice(0)
        await connect(t, family, port, count)
        for (const worker of workers) worker.turn()
        return [old.accepted.length, successor.accepted.length]
      }
      t.ok(old.io.options.setReusePortChoice(fd, 1))
      t.strictSame(await share(8), [8, 0], 'alone it goes on as before')
      const next = listen(family, port)
      successor.acceptOn(next.fd)
      t.strictSame(await share(24), [0, 24])
      descriptors.close(next.fd)
      t.strictSame(await share(8), [8, 0], 'and again when the other has gone')
    },
  )

  t.test(`${family} connections are spread over two agents while none yields`, { skip }, async (t) => {
    const { workers, listen } = await start(t)
    const first = listen(family)
    const fds = [first.fd, listen(family, first.port).fd]
    for (const [at, worker] of workers.entries()) worker.acceptOn(fds[at] ?? -1)
    await connect(t, family, first.port, 40)
    for (const worker of workers) worker.turn()
    const counts = workers.map(({ accepted }) => accepted.length)
    t.equal(workers[0].accepted.length + workers[1].accepted.length, 40)
    t.ok(
      counts.every((count) => count > 0),
      counts.join(),
    )
    t.ok(workers[0].io.options.setReusePortChoice(fds[0] ?? -1, 1))
    await connect(t, family, first.port, 20)
    for (const worker of workers) worker.turn()
    t.equal(workers[0].accepted.length, counts[0], 'the first gets no more once it yields')
  })
}
