/**
 * The Linux engine: epoll, accept4, connect and splice through koffi, in the reactor of the thread that it belongs to.
 * Payload of bulk transfers never enters JavaScript.
 */
import { Acceptor, type AcceptOptions } from './acceptor.ts'
import { openListeningSocket } from './listening-socket.ts'
import { LinuxConnect } from './linux-connect.ts'
import { LinuxIo } from './linux-io.ts'
import { LinuxRelay } from './linux-relay.ts'
import { LinuxSocket } from './linux-socket.ts'

import type { ErrorCode } from '../../core/errors.ts'
import type { ListenerAddress } from '../../mesh/listener.ts'
import type {
  ConnectAttempt,
  ConnectEvents,
  ConnectOptions,
  ListenEvents,
  ListenOptions,
  ListenResult,
  Relay,
  RelayEnd,
  Transport,
  TransportCapabilities,
  TransportSocket,
} from '../transport.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { Reactor } from './reactor.ts'
import type { SourcePorts } from './source-ports.ts'
import type { Syscalls } from './syscalls.ts'

export interface LinuxTransportDeps {
  readonly syscalls: Syscalls
  readonly reactor: Reactor
  readonly descriptors: DescriptorTable
  /** As probed for this kernel and these privileges, see probeCapabilities. */
  readonly capabilities: TransportCapabilities
  /** Told each time the kernel gives no pipe for splice; the bytes are copied then. */
  readonly pipeFailed: (code: ErrorCode) => void
  /** For connections from a client's address. */
  readonly sourcePorts: SourcePorts
}

export class LinuxTransport implements Transport {
  readonly engine = 'linux'
  readonly capabilities: TransportCapabilities
  readonly #io: LinuxIo

  constructor(deps: LinuxTransportDeps) {
    this.capabilities = deps.capabilities
    this.#io = new LinuxIo(deps)
  }

  listen(address: ListenerAddress, options: ListenOptions, events: ListenEvents): Promise<ListenResult> {
    const opened = openListeningSocket(this.#io, address, { ...options, reusePort: false })
    if (!opened.ok) return Promise.resolve(opened)
    const acceptor = new Acceptor(this.#io, opened.fd, events)
    let isClosed = false
    const close = (): Promise<void> => {
      if (!isClosed) {
        isClosed = true
        acceptor.stop()
        this.#io.descriptors.close(opened.fd)
      }
      return Promise.resolve()
    }
    return Promise.resolve({ ok: true, socket: { address: opened.address, close } })
  }

  /** Accepts on a listening descriptor that somebody else has opened and closes. */
  acceptOn(
    fd: number,
    events: ListenEvents,
    options: AcceptOptions = {},
  ): { stop(how?: 'accept' | 'leave'): void } {
    return new Acceptor(this.#io, fd, events, options)
  }

  connect(options: ConnectOptions, events: ConnectEvents): ConnectAttempt {
    return new LinuxConnect(this.#io, options, events)
  }

  relay(downstream: TransportSocket, upstream: TransportSocket, onEnd: (end: RelayEnd) => void): Relay {
    if (!(downstream instanceof LinuxSocket) || !(upstream instanceof LinuxSocket)) {
      throw new TypeError('a relay joins sockets of its own engine')
    }
    return new LinuxRelay(this.#io, downstream, upstream, onEnd)
  }

  /** Gives back what is kept for the next connections. The reactor stays open. */
  close(): void {
    this.#io.pipes.close()
    this.#io.namespaces.close()
  }
}
