/**
 * One connected socket by its descriptor. It watches for the other end's reset from the start; what else the kernel
 * tells before a relay owns the socket is kept for it.
 */
import { ipFromBytes } from '../../core/address.ts'
import { EPOLLERR, SO_ORIGINAL_DST, SOL_IP, SOL_IPV6 } from './constants.ts'
import { errorCodeOfErrno } from './syscalls.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Keepalive } from '../../mesh/upstream.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { TransportSocket } from '../transport.ts'
import type { LinuxIo } from './linux-io.ts'
import type { ReadyHandler } from './reactor.ts'

/** What the next owner of a descriptor gets. */
export interface TakenSocket {
  readonly fd: number
  /** What the kernel has told and nobody has seen to. */
  readonly events: number
  /** To be set if the connection lasts. */
  readonly lateKeepalive: Keepalive | undefined
}

const CLOSED = -1

export class LinuxSocket implements TransportSocket, ReadyHandler {
  readonly remote: SocketAddress
  readonly #io: LinuxIo
  #fd: number
  #local: SocketAddress | undefined
  readonly #lateKeepalive: Keepalive | undefined
  #events: number
  #onGone: ((code: ErrorCode) => void) | undefined

  /**
   * @param socket.fd connected and watched by the reactor, which calls this object from now on
   * @param socket.events what the kernel has told already
   */
  constructor(
    io: LinuxIo,
    socket: {
      readonly fd: number
      readonly remote: SocketAddress
      /** Where it is known already. */
      readonly local?: SocketAddress | undefined
      /** What its relay is to set if it lasts; absent: it has been set. */
      readonly lateKeepalive?: Keepalive
      readonly events: number
    },
  ) {
    this.#io = io
    this.#fd = socket.fd
    this.remote = socket.remote
    this.#local = socket.local
    this.#lateKeepalive = socket.lateKeepalive
    this.#events = socket.events
  }

  /** Asked of the kernel when first read, which must be while the socket is open. */
  get local(): SocketAddress {
    this.#local ??= readLocal(this.#io, this.#fd) ?? unspecifiedLike(this.remote)
    return this.#local
  }

  originalDestination(): SocketAddress | undefined {
    const { syscalls, sockaddr } = this.#io
    const level = this.remote.ip.family === 'ipv4' ? SOL_IP : SOL_IPV6
    const { address, lengthAddress } = sockaddr
    const result = syscalls.getsockopt(this.#fd, level, SO_ORIGINAL_DST, address, lengthAddress)
    // ENOENT and ENOPROTOOPT: it was not redirected, or nothing on this machine redirects.
    return result === 0 ? sockaddr.read() : undefined
  }

  onGone(callback: (code: ErrorCode) => void): void {
    this.#onGone = callback
    if ((this.#events & EPOLLERR) !== 0) this.#leave()
  }

  onReady(events: number): void {
    this.#events |= events
    if ((events & EPOLLERR) !== 0 && this.#onGone !== undefined) this.#leave()
  }

  reset(): void {
    if (this.#fd === CLOSED) return
    this.#io.options.setResetOnClose(this.#fd)
    this.#close()
  }

  /** Hands the descriptor over to its next owner, who closes it. */
  take(): TakenSocket {
    const taken = { fd: this.#fd, events: this.#events, lateKeepalive: this.#lateKeepalive }
    this.#fd = CLOSED
    this.#onGone = undefined
    return taken
  }

  #leave(): void {
    const callback = this.#onGone
    if (this.#fd === CLOSED || callback === undefined) return
    this.#onGone = undefined
    const errno = this.#io.options.takeError(this.#fd)
    this.#close()
    callback(errno === 0 ? 'reset' : errorCodeOfErrno(errno))
  }

  #close(): void {
    // The local address stays known: who logs the connection asks for it after its end.
    this.#local ??= readLocal(this.#io, this.#fd)
    this.#io.reactor.closeWatched(this.#fd)
    this.#fd = CLOSED
    this.#onGone = undefined
  }
}

/** The address of this end of a connected socket; `undefined` when the kernel does not say. */
export function readLocal({ syscalls, sockaddr }: LinuxIo, fd: number): SocketAddress | undefined {
  const { address, lengthAddress } = sockaddr
  return syscalls.getsockname(fd, address, lengthAddress) === 0 ? sockaddr.read() : undefined
}

function unspecifiedLike({ ip }: SocketAddress): SocketAddress {
  return { ip: ipFromBytes(new Uint8Array(ip.bytes.length)), port: 0 }
}
