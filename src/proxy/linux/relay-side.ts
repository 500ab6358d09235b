/**
 * One side of a relay: reads its own socket and writes the other one. Small reads are copied through one shared buffer,
 * which costs two calls; a bulk transfer is spliced through a pipe and never enters this process.
 *
 * splice(2): https://man7.org/linux/man-pages/man2/splice.2.html
 */
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  SEND_FLAGS,
  SHUT_WR,
  SPLICE_FLAGS,
} from './constants.ts'
import { RECEIVE_BUFFER_BYTES } from './linux-io.ts'
import { EAGAIN, EINVAL } from './syscalls.ts'

import type { RelayBytes } from '../transport.ts'
import type { LinuxIo } from './linux-io.ts'
import type { Pipe } from './pipe-pool.ts'
import type { ReadyHandler } from './reactor.ts'

/** So many reads of at least {@link BULK_READ_BYTES} in a row are a bulk transfer. */
const BULK_READS = 2
const BULK_READ_BYTES = 32_768
/** A splice of less ends the bulk transfer. */
const SMALL_SPLICE_BYTES = 8_192
/** So much in one go, so that a fast transfer leaves the others their turn. */
const MAX_PUMP_BYTES = 4 * 1_048_576
/** The kernel cannot splice this socket (EINVAL). */
const NEVER = -1

type Side = 'downstream' | 'upstream'

/** The relay of both sides, as one of them sees it. */
export interface RelayOwner {
  readonly bytes: RelayBytes
  lastActivityMs: number
  /** What is received from now on is dropped, and a FIN is sent when what waits is gone. */
  readonly isClosing: boolean
  readonly isEnded: boolean
  /** Both sides have passed on everything and the FIN. */
  finished(): void
  /** The socket of one side failed. 0: nobody knows why. */
  failed(side: Side, errno: number): void
}

export class RelaySide implements ReadyHandler {
  /** The side that this one writes to. */
  peer: RelaySide = this
  /** The socket of this side has sent FIN. */
  hasEnded = false
  readonly #io: LinuxIo
  readonly #relay: RelayOwner
  readonly #fd: number
  readonly #side: Side
  /** The kernel said so, and no read has found it empty since. */
  #isReadable = false
  /** A FIN or an error waits behind what can be read, so that a short read is not the last one. */
  #hasHangup = false
  /** The FIN of this side has been passed on and nothing is left to read. */
  #isDone = false
  #hasPassedEnd = false
  /** The other socket takes nothing any more. */
  #isBroken = false
  #isQueued = false
  /** What the other socket would not take, of a copied read. */
  #unsent: Buffer | undefined
  #pipe: Pipe | undefined
  #inPipe = 0
  #bulkReads = 0

  constructor(io: LinuxIo, relay: RelayOwner, socket: { readonly fd: number; readonly side: Side }) {
    this.#io = io
    this.#relay = relay
    this.#fd = socket.fd
    this.#side = socket.side
  }

  onReady(events: number): void {
    const relay = this.#relay
    if (relay.isEnded) return
    relay.lastActivityMs = this.#io.reactor.turnMs
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) {
      this.#isReadable = true
      if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.#hasHangup = true
      this.#pump()
      // What came before the reset has been read above, as the client itself could have.
      if ((events & EPOLLERR) !== 0) this.#fail()
    }
    if ((events & EPOLLOUT) !== 0 && this.peer.#isBlocked) this.peer.#pump()
  }

  /** Sends what waits, then FIN, and drops whatever else is received. */
  finish(): void {
    this.#isReadable = true
    this.#pump()
  }

  /** Gives back what this side holds and closes its socket. */
  end(how: 'close' | 'reset'): void {
    if (this.#pipe !== undefined) this.#releasePipe(this.#pipe)
    this.#unsent = undefined
    if (how === 'reset') this.#io.options.setResetOnClose(this.#fd)
    this.#io.reactor.closeWatched(this.#fd)
  }

  get #isBlocked(): boolean {
    return this.#unsent !== undefined || this.#inPipe > 0
  }

  get #isBulk(): boolean {
    return this.#bulkReads >= BULK_READS && !this.#relay.isClosing
  }

  /** Moves until there is nothing to read, the other socket takes no more, or the others should have their turn. */
  #pump(): void {
    let budget = MAX_PUMP_BYTES
    while (!this.#relay.isEnded && !this.#isDone && !this.#isBroken) {
      if (this.#isBlocked && !this.#flush()) return
      if (this.hasEnded || this.#relay.isClosing) this.#passOnEnd()
      if (this.hasEnded || !this.#isReadable) return
      if (budget <= 0) {
        this.#continueLater()
        return
      }
      const moved = this.#isBulk ? this.#spliceIn() : this.#receive()
      if (moved < 0) return
      budget -= moved
    }
  }

  /** Writes what waits. False: the other socket takes no more, or the relay has ended. */
  #flush(): boolean {
    return this.#unsent === undefined ? this.#spliceOut() : this.#sendUnsent(this.#unsent)
  }

  /** The FIN goes to the other side once; when both have passed theirs on, the relay is over. */
  #passOnEnd(): void {
    if (!this.#hasPassedEnd) {
      this.#hasPassedEnd = true
      this.#io.syscalls.shutdown(this.peer.#fd, SHUT_WR)
    }
    if (!this.hasEnded) return
    this.#isDone = true
    if (this.peer.#isDone) this.#relay.finished()
  }

  /** How many bytes a read brought, all of them passed on or kept in order; -1 when there is nothing more to do now. */
  #receive(): number {
    const { syscalls, receiveBuffer } = this.#io
    const received = syscalls.recv(this.#fd, receiveBuffer.address, RECEIVE_BUFFER_BYTES, 0)
    if (received <= 0) return this.#readNothing(received < 0 ? syscalls.errno() : 0)
    if (this.#bulkReads !== NEVER) this.#bulkReads = received >= BULK_READ_BYTES ? this.#bulkReads + 1 : 0
    if (received < RECEIVE_BUFFER_BYTES && !this.#hasHangup) this.#isReadable = false
    if (this.#relay.isClosing) return received
    this.#countReceived(received)
    const sent = syscalls.send(this.peer.#fd, receiveBuffer.address, received, SEND_FLAGS)
    if (sent < 0 && syscalls.errno() !== EAGAIN) return this.#failPeer()
    if (sent > 0) this.#countSent(sent)
    // A copy: the buffer is every connection's.
    if (sent < received) this.#unsent = Buffer.from(receiveBuffer.bytes.subarray(Math.max(sent, 0), received))
    return received
  }

  #sendUnsent(unsent: Buffer): boolean {
    const { syscalls } = this.#io
    const sent = syscalls.send(this.peer.#fd, syscalls.addressOf(unsent), unsent.byteLength, SEND_FLAGS)
    if (sent < 0) {
      if (syscalls.errno() !== EAGAIN) this.#failPeer()
      return false
    }
    this.#countSent(sent)
    this.#unsent = sent < unsent.byteLength ? unsent.subarray(sent) : undefined
    return this.#unsent === undefined
  }

  #spliceIn(): number {
    const pipe = this.#pipe ?? this.#io.pipes.take()
    if (pipe === undefined) {
      // Copied until the next large reads ask for a pipe again.
      this.#bulkReads = 0
      return 0
    }
    this.#pipe = pipe
    const { syscalls } = this.#io
    const received = syscalls.splice(this.#fd, 0, pipe.writeEnd, 0, pipe.capacityBytes, SPLICE_FLAGS)
    if (received <= 0) {
      const errno = received < 0 ? syscalls.errno() : 0
      this.#releasePipe(pipe)
      if (errno !== EINVAL) return this.#readNothing(errno)
      this.#bulkReads = NEVER
      return 0
    }
    this.#inPipe = received
    if (received < SMALL_SPLICE_BYTES) this.#bulkReads = 0
    this.#countReceived(received)
    return received
  }

  #spliceOut(): boolean {
    const pipe = this.#pipe
    if (pipe === undefined) return true
    const { syscalls } = this.#io
    while (this.#inPipe > 0) {
      const sent = syscalls.splice(pipe.readEnd, 0, this.peer.#fd, 0, this.#inPipe, SPLICE_FLAGS)
      if (sent <= 0) {
        if (sent < 0 && syscalls.errno() !== EAGAIN) this.#failPeer()
        return false
      }
      this.#inPipe -= sent
      this.#countSent(sent)
    }
    if (this.#bulkReads < BULK_READS) this.#releasePipe(pipe)
    return true
  }

  /** A read that brought nothing: the end (0), nothing for now, or a failure. Always -1. */
  #readNothing(errno: number): number {
    if (errno === 0 && this.peer.#isBroken) {
      // The write that failed has taken the error; what reads as the end is the reset.
      return -1
    }
    if (errno === 0) {
      this.hasEnded = true
      this.#passOnEnd()
    } else if (errno === EAGAIN) {
      this.#isReadable = false
    } else {
      this.#relay.failed(this.#side, errno)
    }
    return -1
  }

  #fail(): void {
    if (!this.#relay.isEnded) this.#relay.failed(this.#side, this.#io.options.takeError(this.#fd))
  }

  /** The other socket cannot be written to. Always -1. */
  #failPeer(): number {
    const errno = this.#io.syscalls.errno()
    this.#isBroken = true
    // It may have answered before it closed; then the answer goes out before the reset.
    this.peer.#isReadable = true
    this.peer.#hasHangup = true
    this.peer.#pump()
    if (!this.#relay.isEnded) this.#relay.failed(this.peer.#side, errno)
    return -1
  }

  #continueLater(): void {
    if (this.#isQueued) return
    this.#isQueued = true
    this.#io.reactor.defer(() => {
      this.#isQueued = false
      if (!this.#relay.isEnded) this.#pump()
    })
  }

  #releasePipe(pipe: Pipe): void {
    this.#io.pipes.release(pipe, this.#inPipe)
    this.#pipe = undefined
    this.#inPipe = 0
  }

  #countReceived(count: number): void {
    const { bytes } = this.#relay
    if (this.#side === 'downstream') bytes.downstreamReceived += count
    else bytes.upstreamReceived += count
  }

  #countSent(count: number): void {
    const { bytes } = this.#relay
    if (this.#side === 'downstream') bytes.upstreamSent += count
    else bytes.downstreamSent += count
  }
}
