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
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IP,
  SOL_SOCKET,
} from './constants.ts'
import { LinuxSocket, readLocal } from './linux-socket.ts'
import { SOCKET_EVENTS } from './reactor.ts'
import { EADDRINUSE, EADDRNOTAVAIL, EINPROGRESS, errnoName, errorCodeOfErrno } from './syscalls.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { ConnectAttempt, ConnectEvents, ConnectOptions } from '../transport.ts'
import type { LinuxIo } from './linux-io.ts'
import type { ReadyHandler } from './reactor.ts'

const CLOSED = -1
/** Ports of SourcePorts that one connect tries. */
const MAX_PORTS_TRIED = 8

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
  #portsTried = 0
  #isSettled = false

  constructor(io: LinuxIo, options: ConnectOptions, events: ConnectEvents) {
    this.#io = io
    this.#options = options
    this.#events = events
    this.#fd = this.#socket()
    let failure = this.#begin()
    while (failure?.errno === EADDRNOTAVAIL && failure.call === 'connect' && this.#hasMorePorts) {
      this.#portsTried++
      io.descriptors.close(this.#fd)
      this.#fd = this.#socket()
      failure = this.#begin()
    }
    if (failure === undefined) return
    const last = failure
    // Told at the end of the turn: the caller has not got this object yet.
    io.reactor.defer(() => {
      this.#fail(last)
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

  /** The connect was refused for the port that was chosen here, and there are others. */
  get #hasMorePorts(): boolean {
    const { isTransparent, from } = this.#options
    return isTransparent === true && from?.port === 0 && this.#portsTried < MAX_PORTS_TRIED
  }

  #socket(): number {
    const { syscalls, descriptors, namespaces } = this.#io
    const { to, namespace } = this.#options
    const domain = to.ip.family === 'ipv4' ? AF_INET : AF_INET6
    const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC
    return descriptors.opened(
      namespace === undefined ? syscalls.socket(domain, type, 0) : namespaces.socket(namespace, domain, type),
    )
  }

  /** `undefined`: the kernel is at work. */
  #begin(): Failure | undefined {
    if (this.#fd < 0) return this.#failureOf('socket')
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
   * The port is chosen at connect, when the destination is known, so that one port serves many destinations; or with a
   * client's address here, see SourcePorts. Where none of some is free the kernel chooses one, at bind because it is odd then.
   */
  #bind(from: SocketAddress): boolean {
    const { syscalls, options, sockaddr, sourcePorts } = this.#io
    const bind = (address: SocketAddress): boolean =>
      syscalls.bind(this.#fd, sockaddr.address, sockaddr.write(address)) === 0
    if (from.port !== 0) return bind(from)
    if (this.#options.isTransparent === true) {
      // One port serves many destinations; the kernel refuses the connect where it serves this one already.
      options.setInt(this.#fd, SOL_SOCKET, SO_REUSEADDR, 1)
      for (; this.#portsTried < MAX_PORTS_TRIED; this.#portsTried++) {
        if (bind({ ip: from.ip, port: sourcePorts.next(this.#options.direction) })) return true
        if (syscalls.errno() !== EADDRINUSE) return false
      }
      if (bind(from)) return true
    }
    options.setInt(this.#fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    return bind(from)
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
