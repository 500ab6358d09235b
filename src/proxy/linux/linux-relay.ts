/**
 * Two descriptors joined: bytes with back-pressure, FIN as FIN, RST as RST. Each side is pumped when the kernel says
 * that it can be read, or that the other one can be written again.
 */
import { RELAY_LINGER_MS, noRelayBytes } from '../transport.ts'
import { RelaySide } from './relay-side.ts'
import { errorCodeOfErrno } from './syscalls.ts'

import type { Timer } from '../../core/clock.ts'
import type { Relay, RelayEnd } from '../transport.ts'
import type { LinuxIo } from './linux-io.ts'
import type { LinuxSocket } from './linux-socket.ts'
import type { RelayOwner } from './relay-side.ts'

/** Keepalive is a matter of connections that last: most end before the four calls that it takes would be worth it. */
const KEEPALIVE_AFTER_MS = 1_000

export class LinuxRelay implements Relay, RelayOwner {
  readonly bytes = noRelayBytes()
  lastActivityMs: number
  readonly #io: LinuxIo
  readonly #onEnd: (end: RelayEnd) => void
  readonly #downstream: RelaySide
  readonly #upstream: RelaySide
  #isEnded = false
  #linger: Timer | undefined
  #lateKeepalive: Timer | undefined

  constructor(io: LinuxIo, downstream: LinuxSocket, upstream: LinuxSocket, onEnd: (end: RelayEnd) => void) {
    this.#io = io
    this.#onEnd = onEnd
    this.lastActivityMs = io.reactor.turnMs
    const client = downstream.take()
    const server = upstream.take()
    this.#downstream = new RelaySide(io, this, { fd: client.fd, side: 'downstream' })
    this.#upstream = new RelaySide(io, this, { fd: server.fd, side: 'upstream' })
    this.#downstream.peer = this.#upstream
    this.#upstream.peer = this.#downstream
    io.reactor.handOver(client.fd, this.#downstream)
    io.reactor.handOver(server.fd, this.#upstream)
    const { lateKeepalive } = server
    if (lateKeepalive?.idleMs !== undefined) {
      this.#lateKeepalive = io.reactor.setTimer(KEEPALIVE_AFTER_MS, () => {
        this.#lateKeepalive = undefined
        io.options.setKeepalive(server.fd, lateKeepalive)
      })
    }
    // What the kernel told before is told again, but not from within the constructor: it can end the relay.
    io.reactor.defer(() => {
      this.#downstream.onReady(client.events)
      this.#upstream.onReady(server.events)
    })
  }

  get isHalfClosed(): boolean {
    return this.#downstream.hasEnded !== this.#upstream.hasEnded
  }

  get isClosing(): boolean {
    return this.#linger !== undefined
  }

  get isEnded(): boolean {
    return this.#isEnded
  }

  close(how: 'fin' | 'reset'): void {
    if (this.#isEnded) return
    if (how === 'reset') {
      this.#end({ kind: 'closed' }, 'reset')
      return
    }
    if (this.#linger !== undefined) return
    this.#linger = this.#io.reactor.setTimer(RELAY_LINGER_MS, () => {
      this.#end({ kind: 'closed' }, 'close')
    })
    this.#downstream.finish()
    this.#upstream.finish()
  }

  finished(): void {
    this.#end({ kind: this.isClosing ? 'closed' : 'finished' }, 'close')
  }

  /** The other side is reset, because a FIN would tell it that everything had been delivered. */
  failed(side: 'downstream' | 'upstream', errno: number): void {
    const code = errno === 0 ? 'reset' : errorCodeOfErrno(errno)
    const isDead = code === 'reset' || code === 'timeout'
    this.#end(
      this.isClosing ? { kind: 'closed' } : { kind: 'reset', side, code },
      'reset',
      isDead ? side : undefined,
    )
  }

  /** @param dead the side whose connection is over already: there is nobody left to send a RST to */
  #end(end: RelayEnd, how: 'close' | 'reset', dead?: 'downstream' | 'upstream'): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#linger?.cancel()
    this.#lateKeepalive?.cancel()
    this.#downstream.end(dead === 'downstream' ? 'close' : how)
    this.#upstream.end(dead === 'upstream' ? 'close' : how)
    this.#onEnd(end)
  }
}
