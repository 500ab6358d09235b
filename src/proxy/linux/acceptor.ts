/** Accepts connections on one listening descriptor, which somebody else closes. accept(2) */
import { EPOLLEXCLUSIVE, EPOLLIN, SOCK_CLOEXEC, SOCK_NONBLOCK } from './constants.ts'
import { LinuxSocket } from './linux-socket.ts'
import { SOCKET_EVENTS } from './reactor.ts'
import { EAGAIN, ECONNABORTED, EINTR, EINVAL, EPROTO, errorCodeOfErrno } from './syscalls.ts'

import type { Timer } from '../../core/clock.ts'
import type { ListenEvents } from '../transport.ts'
import type { LinuxIo } from './linux-io.ts'
import type { ReadyHandler } from './reactor.ts'

export interface AcceptOptions {
  /** Other threads accept on the same descriptor: not all of them are woken for one connection. */
  readonly isShared?: boolean
}

/** So many in one go, so that those that are open get their turn. */
const MAX_ACCEPTS = 64
/** How long nothing is accepted after the kernel had no descriptor or memory; it would say so again at once. */
export const ACCEPT_PAUSE_MS = 100
/** The connection was gone before it was accepted; the next one may be there. */
const PASSING: readonly number[] = [ECONNABORTED, EINTR, EPROTO]

export class Acceptor implements ReadyHandler {
  readonly #io: LinuxIo
  readonly #fd: number
  readonly #events: ListenEvents
  readonly #interest: number
  #pause: Timer | undefined
  #hasFailed = false
  #isStopped = false

  /** Begins at once. */
  constructor(io: LinuxIo, fd: number, events: ListenEvents, { isShared = false }: AcceptOptions = {}) {
    this.#io = io
    this.#fd = fd
    this.#events = events
    this.#interest = isShared ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN
    this.#begin()
  }

  /**
   * Accepts what the kernel has queued, which would be reset when the descriptor is closed, and then no more; with `leave`
   * nothing more at all. The descriptor stays open. Idempotent.
   */
  stop(how: 'accept' | 'leave' = 'accept'): void {
    if (this.#isStopped) return
    if (how === 'accept') this.#accept(Infinity)
    this.#isStopped = true
    if (this.#pause === undefined) this.#io.reactor.unwatch(this.#fd)
    this.#pause?.cancel()
  }

  onReady(): void {
    this.#accept(MAX_ACCEPTS)
  }

  #accept(maxCount: number): void {
    const { syscalls, sockaddr, descriptors, reactor } = this.#io
    for (let count = 0; count < maxCount && !this.#isStopped; count++) {
      const { address, lengthAddress } = sockaddr
      const fd = syscalls.accept4(this.#fd, address, lengthAddress, SOCK_NONBLOCK | SOCK_CLOEXEC)
      if (fd < 0) {
        const errno = syscalls.errno()
        if (errno === EAGAIN) return
        if (PASSING.includes(errno)) continue
        if (errno === EINVAL) {
          // It listens no more: whoever owns it could not wait for this thread to leave it.
          this.stop('leave')
          return
        }
        this.#fail(errno)
        return
      }
      descriptors.opened(fd)
      this.#hasFailed = false
      const socket = new LinuxSocket(this.#io, { fd, remote: sockaddr.read(), events: 0 })
      if (reactor.watch(fd, socket, SOCKET_EVENTS)) {
        this.#events.accepted(socket)
      } else {
        const errno = syscalls.errno()
        socket.reset()
        this.#events.acceptFailed(errorCodeOfErrno(errno))
      }
    }
  }

  /** Who could not be told of connections would leave them in the queue for ever. */
  #begin(): void {
    const { reactor, syscalls } = this.#io
    if (!reactor.watch(this.#fd, this, this.#interest)) this.#fail(syscalls.errno())
  }

  /** The connection stays in the kernel's queue. Told once until one is accepted again. */
  #fail(errno: number): void {
    // Not changed to wait for nothing: the kernel refuses that for a descriptor which is shared.
    if (this.#pause === undefined) this.#io.reactor.unwatch(this.#fd)
    this.#pause?.cancel()
    this.#pause = this.#io.reactor.setTimer(ACCEPT_PAUSE_MS, () => {
      this.#pause = undefined
      this.#begin()
    })
    if (this.#hasFailed) return
    this.#hasFailed = true
    this.#events.acceptFailed(errorCodeOfErrno(errno))
  }
}
