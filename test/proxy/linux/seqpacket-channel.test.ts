import { execFileSync } from 'node:child_process'
import { fstatSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import t from 'tap'

import { systemClock } from '../../../src/core/clock.ts'
import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { Reactor } from '../../../src/proxy/linux/reactor.ts'
import { MAX_PACKET_BYTES, SeqpacketChannel } from '../../../src/proxy/linux/seqpacket-channel.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { SeqpacketSocket } from '../../fixtures/seqpacket.ts'
import { socketPath } from '../../fixtures/zds-server.ts'

import type { Test } from 'tap'
import type { SeqpacketPacket } from '../../../src/proxy/linux/seqpacket-channel.ts'

const skip = (await whyNoLinuxEngine()) ?? false
/** O_CLOEXEC in the flags of /proc/self/fdinfo. */
const CLOSE_ON_EXEC = 0o2000000
const CHILD = fileURLToPath(new URL('../../fixtures/full-descriptor-table.js', import.meta.url))
/** Enough for Node.js itself. */
const CHILD_DESCRIPTORS = 96

/** A server and a channel that is not connected yet. Whatever comes with packets is closed with the test. */
async function start(t: Test) {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const memory = new ArrayBuffer(65_536)
  const descriptors = new DescriptorTable({ syscalls }, { memory, owner: 0 })
  const reactor = new Reactor({ syscalls, descriptors, clock: systemClock })
  const socket = socketPath(t)
  const server = SeqpacketSocket.listen(syscalls, socket, MAX_PACKET_BYTES)
  const packets: SeqpacketPacket[] = []
  const endings: string[] = []
  let onPacket = (packet: SeqpacketPacket): void => void packets.push(packet)
  const channel = new SeqpacketChannel(
    { syscalls, reactor, descriptors },
    {
      received: (packet) => {
        onPacket(packet)
      },
      closed: (reason) => endings.push(reason),
    },
  )
  t.teardown(() => {
    channel.close()
    channel.close()
    descriptors.closeOwnedBy(0)
    server.close()
  })
  /** Connects, and gives the other end. */
  const connect = (): SeqpacketSocket => {
    const failure = channel.connect(socket)
    if (failure !== undefined) throw new Error(failure)
    const peer = server.accept(MAX_PACKET_BYTES)
    if (peer === undefined) throw new Error('a unix socket connects at once')
    t.teardown(() => {
      peer.close()
    })
    return peer
  }
  return {
    ...{ syscalls, descriptors, reactor, socket, server, channel, connect, endings },
    packets: () => packets.splice(0),
    onPacket: (callback: typeof onPacket) => {
      onPacket = callback
    },
  }
}

function text({ bytes }: { readonly bytes: Uint8Array }): string {
  return Buffer.from(bytes).toString()
}

t.test('packets go both ways whole and in their order', { skip }, async (t) => {
  const { channel, connect, reactor, packets } = await start(t)
  const peer = connect()
  for (const sent of ['one', 'two', 'three']) peer.send(Buffer.from(sent))
  reactor.turn(1_000)
  t.strictSame(packets().map(text), ['one', 'two', 'three'])
  for (const sent of ['ack', 'err']) channel.send(Buffer.from(sent))
  const answers = [peer.receive(), peer.receive()]
  t.strictSame(
    answers.map((answer) => (typeof answer === 'string' ? answer : text(answer))),
    ['ack', 'err'],
  )
  t.equal(peer.receive(), 'empty')
})

t.test('descriptors come with their packet, are new ones, and are closed on exec', { skip }, async (t) => {
  const { connect, reactor, packets, descriptors, server } = await start(t)
  const peer = connect()
  const { count } = descriptors
  peer.send(Buffer.from('two'), [server.fd, peer.fd])
  peer.send(Buffer.from('none'))
  peer.send(Buffer.from('one'), [server.fd])
  reactor.turn(1_000)
  const received = packets()
  t.strictSame(
    received.map((packet) => `${text(packet)} ${packet.descriptors.length}`),
    ['two 2', 'none 0', 'one 1'],
  )
  const all = received.flatMap((packet) => packet.descriptors)
  t.equal(new Set([...all, server.fd, peer.fd]).size, 5)
  t.strictSame(
    all.map((fd) => fstatSync(fd).ino),
    [server.fd, peer.fd, server.fd].map((fd) => fstatSync(fd).ino),
  )
  for (const fd of all) {
    const [, flags = ''] = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? []
    t.ok((Number.parseInt(flags, 8) & CLOSE_ON_EXEC) !== 0)
  }
  t.equal(descriptors.count, count + 3, 'they are found again if the thread dies')
})

t.test('a packet that is too long is marked, and the next one is whole', { skip }, async (t) => {
  const { connect, reactor, packets, server } = await start(t)
  const peer = connect()
  peer.send(Buffer.alloc(MAX_PACKET_BYTES, 1))
  peer.send(Buffer.alloc(MAX_PACKET_BYTES + 1, 2), [server.fd])
  peer.send(Buffer.from('next'))
  reactor.turn(1_000)
  t.strictSame(
    packets().map(({ bytes, isTruncated, descriptors: { length } }) => [bytes.length, isTruncated, length]),
    [
      [MAX_PACKET_BYTES, false, 0],
      [MAX_PACKET_BYTES, true, 1],
      [4, false, 0],
    ],
  )
})

t.test('a packet stays what it is when the next one comes', { skip }, async (t) => {
  const { connect, reactor, packets } = await start(t)
  const peer = connect()
  peer.send(Buffer.from('first'))
  reactor.turn(1_000)
  const [first] = packets()
  peer.send(Buffer.from('other'))
  reactor.turn(1_000)
  t.equal(first && text(first), 'first')
})

t.test('descriptors that the process has no room for are said to be lost', { skip }, async (t) => {
  const command = `ulimit -n ${CHILD_DESCRIPTORS} && exec "$0" "$@"`
  const printed = execFileSync('sh', ['-c', command, process.execPath, CHILD, socketPath(t)], {
    encoding: 'utf8',
  })
  t.strictSame(JSON.parse(printed), [
    { text: 'add', count: 1, hasLostDescriptors: true, isTruncated: false },
    { text: 'next', count: 1, hasLostDescriptors: false, isTruncated: false },
  ])
})

t.test('tells once that the other end has gone, after what that had sent', { skip }, async (t) => {
  const { channel, connect, reactor, packets, endings, descriptors } = await start(t)
  const peer = connect()
  const { count } = descriptors
  peer.send(Buffer.from('last'))
  peer.close()
  reactor.turn(1_000)
  t.strictSame(packets().map(text), ['last'])
  t.strictSame(endings, ['the other end closed it'])
  t.equal(descriptors.count, count - 1)
  channel.send(Buffer.from('in vain'))
  reactor.turn(0)
  t.equal(endings.length, 1)
})

t.test('a packet that cannot be sent ends the channel', { skip }, async (t) => {
  const { channel, connect, endings } = await start(t)
  connect().close()
  channel.send(Buffer.from('x'))
  channel.send(Buffer.from('y'))
  t.strictSame(endings, ['send EPIPE'])
})

t.test('who closes it in a packet gets no further one, and is told nothing', { skip }, async (t) => {
  const { channel, connect, reactor, onPacket, endings } = await start(t)
  const peer = connect()
  const seen: string[] = []
  onPacket((packet) => {
    seen.push(text(packet))
    channel.close()
  })
  for (const sent of ['one', 'two']) peer.send(Buffer.from(sent))
  reactor.turn(1_000)
  reactor.turn(0)
  t.strictSame(seen, ['one'])
  t.strictSame(endings, [])
})

t.test('says why it cannot connect, and leaves nothing open', { skip }, async (t) => {
  const { channel, socket, server, endings } = await start(t)
  const before = readdirSync('/proc/self/fd').length
  t.equal(channel.connect(`${socket}.none`), 'ENOENT')
  t.equal(channel.connect(''), "a path of 0 bytes; a unix socket's has 1 to 107")
  const longest = path.join(path.dirname(socket), 'x'.repeat(107)).slice(0, 107)
  t.equal(channel.connect(longest), 'ENOENT')
  t.match(channel.connect(`${longest}x`), /^a path of 108 bytes/)
  server.close()
  t.equal(channel.connect(socket), 'ECONNREFUSED')
  t.equal(readdirSync('/proc/self/fd').length, before - 1)
  channel.send(Buffer.from('x'))
  t.strictSame(endings, [])
})
