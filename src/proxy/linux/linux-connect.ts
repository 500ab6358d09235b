/** One connect under way: socket, options, bind, connect, and the kernel's answer. connect(2) */
import { formatSocketAddress } from '../../core/address.ts'
import {
  AF_INET,
  AF_INET6,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  IP_BIND_ADDRESS_NO_PORT,
  SO_MARK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IP,
  SOL_SOCKET,
} from './constants.ts'
import { LinuxSocket, readLocal } from './linux-socket.ts'
import { SOCKET_EVENTS } from './reactor.ts'
import { EADDRINUSE, EINPROGRESS, errnoName, errorCodeOfErrno } from './syscalls.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { ConnectAttempt, ConnectEvents, ConnectOptions } from '../transport.ts'
import type { LinuxIo } from './linux-io.ts'
import type { ReadyHandler } from './reactor.ts'

const CLOSED = -1

interface Failure {
  readonly call: string
  readonly errno: number
}

export class LinuxConnect implements ConnectAttempt, ReadyHandler {
  readonly #io: LinuxIo
  readonly #options: ConnectOptions
  readonly #events: ConnectEvents
  #fd: number
  #local: SocketAddress | undefined
  #isSettled = false

  constructor(io: LinuxIo, options: ConnectOptions, events: ConnectEvents) {
    this.#io = io
    this.#options = options
    this.#events = events
    const { syscalls, descriptors, namespaces, reactor } = io
    const { to, namespace } = options
    const domain = to.ip.family === 'ipv4' ? AF_INET : AF_INET6
    const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC
    this.#fd = descriptors.opened(
      namespace === undefined ? syscalls.socket(domain, type, 0) : namespaces.socket(namespace, domain, type),
    )
    const failure = this.#fd < 0 ? this.#failureOf('socket') : this.#begin()
    if (failure === undefined) return
    // Told at the end of the turn: the caller has not got this object yet.
    reactor.defer(() => {
      this.#fail(failure)
    })
  }

  abort(): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#close()
  }

  onReady(events: number): void {
    if (this.#isSettled) return
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
      this.#fail({ call: 'connect', errno: this.#io.options.takeError(this.#fd) })
      return
    }
    if ((events & EPOLLOUT) === 0) return
    this.#isSettled = true
    const { to, keepalive } = this.#options
    const socket = new LinuxSocket(this.#io, {
      fd: this.#fd,
      remote: to,
      local: this.#local,
      lateKeepalive: keepalive,
      events,
    })
    this.#io.reactor.handOver(this.#fd, socket)
    this.#events.connected(socket)
  }

  /** `undefined`: the kernel is at work. */
  #begin(): Failure | undefined {
    const { syscalls, options, sockaddr, reactor } = this.#io
    const { to, from, keepalive, mark, isTransparent } = this.#options
    const fd = this.#fd
    options.setTcp(fd, keepalive)
    if (mark !== undefined && !options.setInt(fd, SOL_SOCKET, SO_MARK, mark))
      return this.#failureOf('setsockopt SO_MARK')
    if (from !== undefined) {
      if (isTransparent === true && !options.setTransparent(fd, from.ip.family))
        return this.#failureOf('setsockopt IP_TRANSPARENT')
      if (!this.#bind(from)) return this.#failureOf('bind')
    }
    if (syscalls.connect(fd, sockaddr.address, sockaddr.write(to)) !== 0) {
      const failure = this.#failureOf('connect')
      if (failure.errno !== EINPROGRESS) return failure
    }
    if (!reactor.watch(fd, this, SOCKET_EVENTS)) return this.#failureOf('epoll_ctl')
    this.#local = readLocal(this.#io, fd)
    if (this.#local !== undefined) this.#events.started?.(this.#local)
    return undefined
  }

  /**
   * Usually the port is chosen at connect, when the destination is known, so that one port serves many destinations.
   *
   * A socket with a client's address must not come by the port of a connection of that client to the same destination, which
   * was redirected here: for the kernel's connection tracking both would be one, and neither would get through. Chosen at
   * bind a port is odd while one is free, and clients get even ones when they connect (inet_csk_find_open_port).
   */
  #bind(from: SocketAddress): boolean {
    const { syscalls, options, sockaddr } = this.#io
    const isApart = from.port === 0 && this.#options.isTransparent === true
    const bind = (): boolean => syscalls.bind(this.#fd, sockaddr.address, sockaddr.write(from)) === 0
    if (isApart && bind()) return true
    if (isApart && syscalls.errno() !== EADDRINUSE) return false
    if (from.port === 0) options.setInt(this.#fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    return bind()
  }

  #failureOf(call: string): Failure {
    return { call, errno: this.#io.syscalls.errno() }
  }

  #fail({ call, errno }: Failure): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#close()
    const { to, from } = this.#options
    const source = from === undefined ? '' : ` from ${from.ip.text}`
    const message = `cannot connect to ${formatSocketAddress(to)}${source}: ${call} ${errnoName(errno)}`
    this.#events.failed(errorCodeOfErrno(errno), message)
  }

  #close(): void {
    if (this.#fd === CLOSED) return
    this.#io.reactor.closeWatched(this.#fd)
    this.#fd = CLOSED
  }
}
