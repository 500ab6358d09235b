/**
 * A connection to a SOCK_SEQPACKET unix socket: whole packets, and descriptors that come with them, which Node.js has no
 * way to receive. unix(7), recvmsg(2)
 */
import {
  AF_UNIX,
  EPOLLIN,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_TRUNC,
  SCM_RIGHTS,
  SEND_FLAGS,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOL_SOCKET,
} from './constants.ts'
import { EAGAIN, EINTR, errnoName } from './syscalls.ts'

import type { DescriptorTable } from './descriptor-table.ts'
import type { NativeMemory } from './native-memory.ts'
import type { Reactor, ReadyHandler } from './reactor.ts'
import type { Syscalls } from './syscalls.ts'

/** One packet. Its receiver owns the descriptors. */
export interface SeqpacketPacket {
  readonly bytes: Uint8Array
  readonly descriptors: readonly number[]
  /** It was longer than MAX_PACKET_BYTES, and the rest is lost. */
  readonly isTruncated: boolean
  /** The process may open no more descriptors, and some that came with it are lost. */
  readonly hasLostDescriptors: boolean
}

export interface SeqpacketEvents {
  received(packet: SeqpacketPacket): void
  /** The last call. */
  closed(reason: string): void
}

export interface SeqpacketDeps {
  readonly syscalls: Syscalls
  readonly reactor: Reactor
  readonly descriptors: DescriptorTable
}

/** The longest packet that is taken. */
export const MAX_PACKET_BYTES = 65_536
/** sun_path without the zero at its end, unix(7). */
const MAX_PATH_BYTES = 107
/** struct cmsghdr: length, level, type. */
const HEADER_BYTES = 16
/** SCM_MAX_FD of the kernel: a packet never carries more. */
const MAX_DESCRIPTORS = 253
const CONTROL_BYTES = HEADER_BYTES + MAX_DESCRIPTORS * 4 + 4
/** struct msghdr on a machine of 64 bits, with the places of its fields. */
const MESSAGE = { bytes: 56, vector: 16, vectorCount: 24, control: 32, controlLength: 40, flags: 48 } as const
const VECTOR_BYTES = 16
const CLOSED = -1

export class SeqpacketChannel implements ReadyHandler {
  readonly #deps: SeqpacketDeps
  readonly #events: SeqpacketEvents
  readonly #message: NativeMemory
  readonly #vector: NativeMemory
  readonly #buffer: NativeMemory
  readonly #control: NativeMemory
  #fd = CLOSED

  constructor(deps: SeqpacketDeps, events: SeqpacketEvents) {
    const { syscalls } = deps
    this.#deps = deps
    this.#events = events
    this.#message = syscalls.allocate(MESSAGE.bytes)
    this.#vector = syscalls.allocate(VECTOR_BYTES)
    this.#buffer = syscalls.allocate(MAX_PACKET_BYTES)
    this.#control = syscalls.allocate(CONTROL_BYTES)
  }

  /** Connects; `undefined`, or why it could not. A unix socket answers at once. */
  connect(path: string): string | undefined {
    const { syscalls, reactor, descriptors } = this.#deps
    const name = Buffer.from(path)
    if (name.length === 0 || name.length > MAX_PATH_BYTES)
      return `a path of ${name.length} bytes; a unix socket's has 1 to ${MAX_PATH_BYTES}`
    const address = Buffer.allocUnsafeSlow(2 + name.length + 1).fill(0)
    address.writeUInt16LE(AF_UNIX)
    name.copy(address, 2)
    const type = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC
    this.#fd = descriptors.opened(syscalls.socket(AF_UNIX, type, 0))
    if (this.#fd === CLOSED) return errnoName(syscalls.errno())
    const isConnected = syscalls.connect(this.#fd, syscalls.addressOf(address), address.length) === 0
    if (isConnected && reactor.watch(this.#fd, this, EPOLLIN)) return undefined
    const reason = errnoName(syscalls.errno())
    descriptors.close(this.#fd)
    this.#fd = CLOSED
    return reason
  }

  /** Sends one packet; the channel ends where it cannot. Does nothing when it is closed. */
  send(bytes: Uint8Array): void {
    if (this.#fd === CLOSED) return
    const { syscalls } = this.#deps
    const copy = Buffer.from(bytes)
    if (syscalls.send(this.#fd, syscalls.addressOf(copy), copy.length, SEND_FLAGS) < 0)
      this.#end(`send ${errnoName(syscalls.errno())}`)
  }

  /** Ends it without an event. Idempotent. */
  close(): void {
    if (this.#fd === CLOSED) return
    this.#deps.reactor.closeWatched(this.#fd)
    this.#fd = CLOSED
  }

  onReady(): void {
    const { syscalls } = this.#deps
    while (this.#fd !== CLOSED) {
      const length = syscalls.recvmsg(this.#fd, this.#prepared(), MSG_CMSG_CLOEXEC)
      if (length < 0) {
        const errno = syscalls.errno()
        if (errno === EAGAIN) return
        if (errno === EINTR) continue
        this.#end(`recvmsg ${errnoName(errno)}`)
        return
      }
      const flags = this.#message.bytes.readInt32LE(MESSAGE.flags)
      const descriptors = this.#receivedDescriptors()
      if (length === 0 && descriptors.length === 0) {
        this.#end('the other end closed it')
        return
      }
      this.#events.received({
        bytes: Uint8Array.from(this.#buffer.bytes.subarray(0, length)),
        descriptors,
        isTruncated: (flags & MSG_TRUNC) !== 0,
        hasLostDescriptors: (flags & MSG_CTRUNC) !== 0,
      })
    }
  }

  #end(reason: string): void {
    this.close()
    this.#events.closed(reason)
  }

  /** The address of a message header that takes anything. */
  #prepared(): number {
    const { bytes } = this.#message
    this.#vector.bytes.writeBigUInt64LE(BigInt(this.#buffer.address), 0)
    this.#vector.bytes.writeBigUInt64LE(BigInt(MAX_PACKET_BYTES), 8)
    bytes.fill(0)
    bytes.writeBigUInt64LE(BigInt(this.#vector.address), MESSAGE.vector)
    bytes.writeBigUInt64LE(1n, MESSAGE.vectorCount)
    bytes.writeBigUInt64LE(BigInt(this.#control.address), MESSAGE.control)
    bytes.writeBigUInt64LE(BigInt(CONTROL_BYTES), MESSAGE.controlLength)
    return this.#message.address
  }

  #receivedDescriptors(): readonly number[] {
    const end = Number(this.#message.bytes.readBigUInt64LE(MESSAGE.controlLength))
    const { bytes } = this.#control
    const received: number[] = []
    for (let start = 0; start + HEADER_BYTES <= end;) {
      const length = Number(bytes.readBigUInt64LE(start))
      if (length < HEADER_BYTES) break
      if (bytes.readInt32LE(start + 8) === SOL_SOCKET && bytes.readInt32LE(start + 12) === SCM_RIGHTS)
        for (let place = start + HEADER_BYTES; place + 4 <= Math.min(start + length, end); place += 4)
          received.push(this.#deps.descriptors.opened(bytes.readInt32LE(place)))
      start += Math.ceil(length / 8) * 8
    }
    return received
  }
}
