/**
 * One net.Socket as a TransportSocket: watched from the tick in which it appears, so that an error or a client that
 * leaves is seen before a relay owns it. Holds at most one chunk of early data.
 */
import { errorCodeOf } from '../../core/errors.ts'
import { parseIp } from '../../core/address.ts'
import { resetSocket } from './reset-socket.ts'

import type { Socket } from 'node:net'
import type { ErrorCode } from '../../core/errors.ts'
import type { SocketAddress } from '../../core/address.ts'
import type { TransportSocket } from '../transport.ts'

/** Asks the kernel for the original destination of a redirected socket, by descriptor. */
export type OriginalDestinationReader = (socket: Socket, local: SocketAddress) => SocketAddress | undefined

export class NodeSocket implements TransportSocket {
  readonly socket: Socket
  readonly remote: SocketAddress
  readonly local: SocketAddress
  readonly #readOriginalDestination: OriginalDestinationReader | undefined
  #earlyData: Buffer | undefined
  #hasEnded = false
  #isReleased = false
  #gone: ErrorCode | undefined
  #onGone: ((code: ErrorCode) => void) | undefined

  private constructor(
    socket: Socket,
    ends: { readonly remote: SocketAddress; readonly local: SocketAddress },
    readOriginalDestination: OriginalDestinationReader | undefined,
  ) {
    this.socket = socket
    this.remote = ends.remote
    this.local = ends.local
    this.#readOriginalDestination = readOriginalDestination
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    socket.on('end', this.#onEnd)
    socket.on('data', this.#onData)
  }

  /** Wraps a connected socket, or ends it and gives `undefined` when its other end has left already. */
  static wrap(socket: Socket, readOriginalDestination?: OriginalDestinationReader): NodeSocket | undefined {
    const { remoteAddress, remotePort, localAddress, localPort } = socket
    if (
      remoteAddress === undefined ||
      remotePort === undefined ||
      localAddress === undefined ||
      localPort === undefined
    ) {
      // The peer reset between accept and getpeername. An error that follows has nobody to be told to.
      socket.on('error', () => undefined)
      socket.destroy()
      return undefined
    }
    const ends = {
      remote: { ip: parseIp(remoteAddress), port: remotePort },
      local: { ip: parseIp(localAddress), port: localPort },
    }
    return new NodeSocket(socket, ends, readOriginalDestination)
  }

  originalDestination(): SocketAddress | undefined {
    return this.#readOriginalDestination?.(this.socket, this.local)
  }

  onGone(callback: (code: ErrorCode) => void): void {
    this.#onGone = callback
    if (this.#gone !== undefined && !this.#isReleased) callback(this.#gone)
  }

  reset(): void {
    this.#release()
    // Whatever the reset itself meets (the peer was faster) changes nothing.
    this.socket.on('error', () => undefined)
    resetSocket(this.socket)
  }

  /**
   * Hands the socket over to its next owner, paused and without the watchers of this class: what was received so far
   * and whether the peer has sent FIN. The owner attaches its handlers in the same tick.
   */
  take(): { readonly socket: Socket; readonly earlyData: Buffer | undefined; readonly hasEnded: boolean } {
    this.#release()
    this.socket.pause()
    const taken = { socket: this.socket, earlyData: this.#earlyData, hasEnded: this.#hasEnded }
    this.#earlyData = undefined
    return taken
  }

  /** True when the socket failed before anybody took it. */
  get isGone(): boolean {
    return this.#gone !== undefined
  }

  #release(): void {
    this.#isReleased = true
    this.socket.off('error', this.#onError)
    this.socket.off('close', this.#onClose)
    this.socket.off('end', this.#onEnd)
    this.socket.off('data', this.#onData)
  }

  readonly #onData = (chunk: Buffer): void => {
    // One chunk is enough to see a reset that follows a FIN or nothing; more would be memory that a client decides on.
    this.#earlyData = this.#earlyData === undefined ? chunk : Buffer.concat([this.#earlyData, chunk])
    this.socket.pause()
  }

  readonly #onEnd = (): void => {
    this.#hasEnded = true
  }

  readonly #onError = (error: Error): void => {
    this.#leave(errorCodeOf(error))
  }

  readonly #onClose = (): void => {
    this.#leave('reset')
  }

  #leave(code: ErrorCode): void {
    if (this.#gone !== undefined) return
    this.#gone = code
    this.#earlyData = undefined
    this.#onGone?.(code)
  }
}
