/** The main thread's side of the thread for pods: what it answers, and what is left when the thread dies. */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs'

import t from 'tap'

import { parseIp, parseSocketAddress } from '../../../src/core/address.ts'
import { startNativeThread } from '../../../src/agent/engine/native-thread.ts'
import { LinuxPods } from '../../../src/agent/engine/linux-pods.ts'
import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { requireNamespaces } from '../../fixtures/namespaces.ts'
import { createPodNamespace } from '../../fixtures/pod-namespace.ts'
import { SeqpacketSocket } from '../../fixtures/seqpacket.ts'
import { socketPath } from '../../fixtures/zds-server.ts'

import type { Test } from 'tap'
import type { SocketAddress } from '../../../src/core/address.ts'
import type { Syscalls } from '../../../src/proxy/linux/syscalls.ts'
import type { WantedSocket } from '../../../src/proxy/pods/pod-sockets.ts'
import type { ZdsChannelEvents, ZdsPacket } from '../../../src/zds-client/zds-transport.ts'

const MAIN = 0
const POD_THREAD = 1
const RECEIVE_BYTES = 1_024
const WANTED = ['0.0.0.0:15001', '[::]:15001'].map(parseSocketAddress).map(wanted)
/** An address that no configuration can have: the thread throws over it, as over a defect. */
const FATAL = wanted({ ip: { ...parseIp('10.0.0.1'), bytes: new Uint8Array(64) }, port: 1 })
const DIED = 'the thread that goes into network namespaces died'
const ENDED = 'the thread that goes into network namespaces has ended'

function wanted(address: SocketAddress): WantedSocket {
  return {
    address: { address, socketOptions: [] },
    options: { backlog: 16, keepalive: {} },
    reusePort: true,
  }
}

function openCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** At the end of the test nothing is open that was not before. */
async function start(t: Test, wrap: (syscalls: Syscalls) => Syscalls = (syscalls) => syscalls) {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const syscalls = wrap(loaded.syscalls)
  const table = new SharedArrayBuffer(65_536)
  const descriptors = new DescriptorTable({ syscalls }, { memory: table, owner: MAIN })
  const log: string[] = []
  const pods = new LinuxPods(
    {
      syscalls,
      descriptors,
      logger: {
        isEnabled: () => true,
        log: (level, message, fields) => log.push(`${level} ${message}: ${String(fields?.['reason'])}`),
      },
    },
    {
      table,
      owner: POD_THREAD,
      threadUrl: new URL('../../../src/agent/engine/pod-thread-entry.js', import.meta.url),
    },
  )
  const before = openCount()
  t.teardown(async () => {
    await pods.end()
    if (descriptors.count > 0) throw new Error(`${descriptors.count} descriptors are left`)
    await eventually('nothing is left open', () => openCount() <= before)
  })
  return { syscalls, descriptors, pods, log }
}

/** What a channel was told, in order. */
class Told implements ZdsChannelEvents {
  readonly log: string[] = []
  readonly packets: ZdsPacket[] = []

  connected(): void {
    this.log.push('connected')
  }

  received(packet: ZdsPacket): void {
    this.packets.push(packet)
    this.log.push(`received ${Buffer.from(packet.bytes).toString()} with ${packet.descriptors.length}`)
  }

  closed(reason: string): void {
    this.log.push(`closed: ${reason}`)
  }

  async has(count: number): Promise<void> {
    await eventually(`${count} events`, () => this.log.length >= count)
  }
}

/** A listening socket of istio-cni, and the end of a channel to it. */
async function serve(t: Test, { syscalls, pods }: Awaited<ReturnType<typeof start>>) {
  const path = socketPath(t)
  const server = SeqpacketSocket.listen(syscalls, path, RECEIVE_BYTES)
  t.teardown(() => {
    server.close()
  })
  const told = new Told()
  const channel = pods.connect(path, told)
  await told.has(1)
  const peer = server.accept(RECEIVE_BYTES)
  if (peer === undefined) throw new Error(`it is not connected: ${told.log.join()}`)
  t.teardown(() => {
    peer.close()
  })
  return { path, server, told, channel, peer }
}

const reason = await whyNoLinuxEngine()
if (reason !== undefined) t.plan(0, reason)
else if (requireNamespaces(t)) {
  t.test('two descriptors of one namespace are the same, and others are named', async (t) => {
    const { pods } = await start(t)
    const [one, other] = [createPodNamespace(t, 'one', []), createPodNamespace(t, 'other', [])]
    const second = one.descriptor()
    const [first, again, different] = [one.fd, second, other.fd].map((fd) => pods.identify(fd))
    closeSync(second)
    t.match(first, { isNamespace: true })
    t.strictSame(again, first)
    t.match(different, { isNamespace: true })
    t.not(JSON.stringify(different), JSON.stringify(first))
    for (const [file, what] of [
      ['/dev/null', /^\/dev\/null$/],
      ['/proc/self/ns/uts', /^uts:/],
    ] as const) {
      const fd = openSync(file, 'r')
      t.match(pods.identify(fd), { isNamespace: false, what })
      closeSync(fd)
    }
    t.match(pods.identify(60_000), { isNamespace: false, what: /ENOENT/ })
  })

  t.test('opens sockets in a namespace, which are of the main thread then', async (t) => {
    const { pods, descriptors } = await start(t)
    const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24'])
    const before = descriptors.count
    const opened = await pods.open(pod.fd, WANTED)
    t.match(opened, {
      ok: true,
      value: { addresses: [{ text: '10.244.0.2' }], sockets: [{ kind: 'bound' }, { kind: 'absent' }] },
    })
    t.match(pod.run('ss', '-Hltn'), '0.0.0.0:15001')
    t.ok(descriptors.count > before)
    if (opened.ok)
      for (const socket of opened.value.sockets) if (socket.kind === 'bound') pods.close(socket.fd)
    t.equal(pod.run('ss', '-Hltn'), '')
    t.match(await pods.open(60_000, WANTED), { ok: false, problem: /setns EBADF/ })
  })

  t.test(
    'a channel to istio-cni carries packets and descriptors, and ends when either side does',
    async (t) => {
      const lab = await start(t)
      const { peer, told, channel, server } = await serve(t, lab)
      peer.send(Buffer.from('add'), [server.fd])
      await told.has(2)
      channel.send(Buffer.from('ack'))
      let answer = peer.receive()
      await eventually('the answer is there', () => {
        if (answer === 'empty') answer = peer.receive()
        return answer !== 'empty'
      })
      t.match(answer, { bytes: Buffer.from('ack') })
      for (const fd of told.packets.flatMap(({ descriptors }) => descriptors)) lab.pods.closeDescriptor(fd)
      peer.close()
      await told.has(3)
      t.strictSame(told.log, ['connected', 'received add with 1', 'closed: the other end closed it'])
      channel.send(Buffer.from('in vain'))
      channel.close()
    },
  )

  t.test('a channel that is closed here is told nothing more, and what comes to it is closed', async (t) => {
    const lab = await start(t)
    const { peer, told, channel, server } = await serve(t, lab)
    channel.close()
    channel.close()
    try {
      peer.send(Buffer.from('late'), [server.fd])
    } catch {
      // The other end was faster.
    }
    await eventually('the other end sees it', () => peer.receive() === 'closed')
    t.strictSame(told.log, ['connected'])
  })

  t.test('says why it cannot connect', async (t) => {
    const { pods } = await start(t)
    const told = new Told()
    pods.connect(`${socketPath(t)}.none`, told)
    await told.has(1)
    t.strictSame(told.log, ['closed: ENOENT'])
  })

  t.test('a thread that dies leaves nothing behind, and another takes its place', async (t) => {
    const lab = await start(t)
    const { pods, log } = lab
    const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24'])
    const { told, peer } = await serve(t, lab)
    const before = openCount()
    // The first is opened before the second kills the thread: its descriptor is nobody's then.
    const answers = await Promise.all([pods.open(pod.fd, [...WANTED, FATAL]), pods.open(pod.fd, WANTED)])
    t.strictSame(answers, [
      { ok: false, problem: DIED },
      { ok: false, problem: DIED },
    ])
    t.strictSame(told.log, ['connected', `closed: ${DIED}`])
    t.equal(log.length, 1)
    t.match(log[0], `error ${DIED}: `)
    t.equal(pod.run('ss', '-Hltn'), '', 'its sockets are closed')
    await eventually('its descriptors are closed', () => openCount() < before)
    t.equal(peer.receive(), 'closed')
    const again = await pods.open(pod.fd, WANTED)
    t.match(again, { ok: true })
    if (again.ok) for (const socket of again.value.sockets) if (socket.kind === 'bound') pods.close(socket.fd)
  })

  t.test('requests that no thread can be started for fail, and the next ones have a thread', async (t) => {
    let isFull = true
    const { pods, log } = await start(t, (real) => ({
      ...real,
      eventfd: (...args) => {
        const wasFull = isFull
        isFull = false
        return wasFull ? -1 : real.eventfd(...args)
      },
    }))
    const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24'])
    // The second in the same turn, when there would be a descriptor again.
    t.strictSame(await Promise.all([pods.open(pod.fd, WANTED), pods.open(pod.fd, WANTED)]), [
      { ok: false, problem: DIED },
      { ok: false, problem: DIED },
    ])
    t.equal(log.length, 1)
    for (let round = 0; round < 2; round++) {
      const again = await pods.open(pod.fd, [])
      t.match(again, { ok: true }, 'and it stays')
    }
    t.equal(log.length, 1)
  })

  t.test('a thread that cannot be started leaves nothing open', async (t) => {
    const { syscalls, descriptors } = await start(t)
    const before = openCount()
    t.throws(() =>
      startNativeThread(
        { syscalls, descriptors },
        { url: new URL('file:///nowhere.js'), workerData: () => ({ uncloneable: () => undefined }) },
        { received: () => undefined, exited: () => undefined },
      ),
    )
    t.equal(openCount(), before)
  })

  t.test('a socket that listens no more refuses, and keeps its number until it is closed', async (t) => {
    const { pods } = await start(t)
    const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24'])
    const opened = await pods.open(pod.fd, WANTED)
    const [socket] = opened.ok ? opened.value.sockets : []
    if (socket?.kind !== 'bound') throw new TypeError('it is bound')
    pods.stopListening(socket.fd)
    t.equal(pod.run('ss', '-Hltn'), '')
    t.match(readlinkSync(`/proc/self/fd/${socket.fd}`), /^socket:/)
    pods.close(socket.fd)
  })

  t.test(
    'after its end it answers that it has ended, and whoever asks for the end again waits for it',
    async (t) => {
      const lab = await start(t)
      const { pods, log } = lab
      const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24'])
      const { told } = await serve(t, lab)
      await Promise.all([pods.end(), pods.end()])
      t.strictSame(told.log, ['connected', `closed: ${ENDED}`])
      t.strictSame(await pods.open(pod.fd, WANTED), { ok: false, problem: ENDED })
      const late = new Told()
      pods.connect('/nowhere', late)
      await late.has(1)
      t.strictSame(late.log, [`closed: ${ENDED}`])
      await pods.end()
      t.strictSame(log, [], 'nothing has died')
    },
  )

  t.test('sockets that come when nobody waits for them any more are closed', async (t) => {
    const { pods } = await start(t)
    const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24'])
    // The thread has not even started, and opens what it was asked for before it ends.
    const opening = pods.open(pod.fd, WANTED)
    const ended = pods.end()
    t.strictSame(await pods.open(pod.fd, WANTED), { ok: false, problem: ENDED })
    t.strictSame(await opening, { ok: false, problem: ENDED })
    await ended
    t.equal(pod.run('ss', '-Hltn'), '')
  })

  t.test('an end before anything was asked waits for nothing', async (t) => {
    const { pods } = await start(t)
    await pods.end()
    t.match(await pods.open(0, WANTED), { ok: false })
  })
}
