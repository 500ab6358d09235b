/**
 * Two net.Sockets joined: bytes with back-pressure, FIN as FIN, RST as RST. Nothing is allocated per chunk beside what
 * node:net allocates itself.
 */
import { errorCodeOf } from '../../core/errors.ts'
import { RELAY_LINGER_MS, noRelayBytes } from '../transport.ts'
import { resetSocket } from './reset-socket.ts'

import type { Socket } from 'node:net'
import type { Clock, Timer } from '../../core/clock.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { Relay, RelayEnd } from '../transport.ts'
import type { NodeSocket } from './node-socket.ts'

type Side = 'downstream' | 'upstream'

export class NodeRelay implements Relay {
  readonly bytes = noRelayBytes()
  lastActivityMs: number
  readonly #clock: Clock
  readonly #downstream: Socket
  readonly #upstream: Socket
  readonly #onEnd: (end: RelayEnd) => void
  #end: RelayEnd = { kind: 'finished' }
  #endedSides = 0
  #openSockets = 2
  #isClosing = false
  #linger: Timer | undefined

  constructor(
    deps: { readonly clock: Clock },
    downstream: NodeSocket,
    upstream: NodeSocket,
    onEnd: (end: RelayEnd) => void,
  ) {
    this.#clock = deps.clock
    this.lastActivityMs = deps.clock.nowMs()
    this.#onEnd = onEnd
    const client = downstream.take()
    const server = upstream.take()
    this.#downstream = client.socket
    this.#upstream = server.socket
    this.#attach('downstream', this.#downstream, this.#upstream)
    this.#attach('upstream', this.#upstream, this.#downstream)
    this.#start('downstream', client)
    this.#start('upstream', server)
  }

  get isHalfClosed(): boolean {
    return this.#endedSides === 1
  }

  close(how: 'fin' | 'reset'): void {
    if (this.#openSockets === 0) return
    if (!this.#isClosing) {
      this.#isClosing = true
      this.#end = { kind: 'closed' }
    }
    if (how === 'reset') {
      resetSocket(this.#downstream)
      resetSocket(this.#upstream)
      return
    }
    if (this.#linger !== undefined) return
    finishSocket(this.#downstream)
    finishSocket(this.#upstream)
    this.#linger = this.#clock.setTimer(RELAY_LINGER_MS, () => {
      this.#downstream.destroy()
      this.#upstream.destroy()
    })
  }

  #start(side: Side, taken: { readonly earlyData: Buffer | undefined; readonly hasEnded: boolean }): void {
    const from = side === 'downstream' ? this.#downstream : this.#upstream
    const to = side === 'downstream' ? this.#upstream : this.#downstream
    if (from.destroyed) {
      // The socket failed before the hand-over. Its error event is past, its close event perhaps.
      this.#lost(side, 'reset')
      if (from.closed) this.#closed()
      return
    }
    if (taken.earlyData !== undefined) this.#forward(side, from, to, taken.earlyData)
    if (taken.hasEnded) this.#ended(to)
    else if (taken.earlyData === undefined || !to.writableNeedDrain) from.resume()
  }

  #attach(side: Side, from: Socket, to: Socket): void {
    from.on('data', (chunk: Buffer) => {
      this.#forward(side, from, to, chunk)
    })
    from.on('end', () => {
      this.#ended(to)
    })
    to.on('drain', () => {
      this.lastActivityMs = this.#clock.nowMs()
      from.resume()
    })
    from.on('error', (error) => {
      this.#lost(side, errorCodeOf(error))
    })
    from.on('close', () => {
      // Without an error and without both FINs the socket was destroyed by the other side's failure or by close().
      this.#closed()
    })
  }

  #forward(side: Side, from: Socket, to: Socket, chunk: Buffer): void {
    this.lastActivityMs = this.#clock.nowMs()
    if (this.#isClosing) return
    if (side === 'downstream') {
      this.bytes.downstreamReceived += chunk.length
      this.bytes.upstreamSent += chunk.length
    } else {
      this.bytes.upstreamReceived += chunk.length
      this.bytes.downstreamSent += chunk.length
    }
    if (!to.write(chunk)) from.pause()
  }

  #ended(to: Socket): void {
    this.lastActivityMs = this.#clock.nowMs()
    this.#endedSides++
    if (!this.#isClosing) to.end()
  }

  /** One side failed: the other is reset, because a FIN would tell it that everything had been delivered. */
  #lost(side: Side, code: ErrorCode): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#end = { kind: 'reset', side, code }
    resetSocket(side === 'downstream' ? this.#upstream : this.#downstream)
  }

  #closed(): void {
    this.#openSockets--
    if (this.#openSockets > 0) return
    this.#linger?.cancel()
    this.#onEnd(this.#end)
  }
}

/** Sends what is buffered and FIN, and reads on so that unread data does not turn the FIN into a RST. */
function finishSocket(socket: Socket): void {
  if (socket.destroyed) return
  socket.resume()
  socket.end()
}
