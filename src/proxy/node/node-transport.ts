/**
 * The portable engine: node:net on every platform, without native code. What it cannot do it names in its
 * capabilities.
 */
import net from 'node:net'

import { formatSocketAddress, parseIp } from '../../core/address.ts'
import { errnoOf, errorCodeOf, errorMessage } from '../../core/errors.ts'
import { NodeRelay } from './node-relay.ts'
import { NodeSocket } from './node-socket.ts'

import type { Clock } from '../../core/clock.ts'
import type { ListenerAddress } from '../../mesh/listener.ts'
import type {
  Capability,
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
import type { OriginalDestinationReader } from './node-socket.ts'

/** How the engine reads original destinations: a reader, or why there is none. */
export type OriginalDestinationSupport =
  | { readonly isAvailable: true; readonly read: OriginalDestinationReader }
  | { readonly isAvailable: false; readonly reason: string }

const NOT_IN_NODE = 'node:net has no access to socket options'

export class NodeTransport implements Transport {
  readonly engine = 'node'
  readonly capabilities: TransportCapabilities
  readonly #clock: Clock
  readonly #readOriginalDestination: OriginalDestinationReader | undefined

  constructor(deps: { readonly clock: Clock; readonly originalDestination: OriginalDestinationSupport }) {
    this.#clock = deps.clock
    const support = deps.originalDestination
    this.#readOriginalDestination = support.isAvailable ? support.read : undefined
    this.capabilities = {
      originalDestination: support.isAvailable ? { isAvailable: true } : support,
      transparentSource: unavailable('IP_TRANSPARENT'),
      packetMark: unavailable('SO_MARK'),
      socketOptions: unavailable('setsockopt'),
      userTimeout: unavailable('TCP_USER_TIMEOUT'),
      splice: { isAvailable: false, reason: 'splice: node:net copies through JavaScript' },
      networkNamespaces: unavailable('setns'),
    }
  }

  listen({ address }: ListenerAddress, options: ListenOptions, events: ListenEvents): Promise<ListenResult> {
    const server = net.createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: options.keepalive.idleMs !== undefined,
      keepAliveInitialDelay: options.keepalive.idleMs ?? 0,
    })
    server.on('connection', (socket) => {
      const wrapped = NodeSocket.wrap(socket, this.#readOriginalDestination)
      if (wrapped !== undefined) events.accepted(wrapped)
    })
    return new Promise((resolve) => {
      const onBindError = (error: Error): void => {
        const reason = errnoOf(error) ?? errorMessage(error)
        const message = `cannot listen on ${formatSocketAddress(address)}: ${reason}`
        resolve({ ok: false, code: errorCodeOf(error), message })
      }
      server.once('error', onBindError)
      server.listen(
        {
          host: address.ip.text,
          port: address.port,
          ipv6Only: address.ip.family === 'ipv6',
          backlog: options.backlog,
        },
        () => {
          server.off('error', onBindError)
          server.on('error', (error) => {
            events.acceptFailed(errorCodeOf(error))
          })
          const bound = server.address()
          const port = bound !== null && typeof bound === 'object' ? bound.port : address.port
          resolve({
            ok: true,
            socket: { address: { ip: address.ip, port }, close: () => closeServer(server) },
          })
        },
      )
    })
  }

  connect(options: ConnectOptions, events: ConnectEvents): ConnectAttempt {
    let isSettled = false
    const socket = net.connect({
      host: options.to.ip.text,
      port: options.to.port,
      family: options.to.ip.family === 'ipv6' ? 6 : 4,
      autoSelectFamily: false,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: options.keepalive.idleMs !== undefined,
      keepAliveInitialDelay: options.keepalive.idleMs ?? 0,
      ...(options.from !== undefined && { localAddress: options.from.ip.text }),
      ...(options.from !== undefined && options.from.port !== 0 && { localPort: options.from.port }),
    })
    const onError = (error: Error): void => {
      if (isSettled) return
      isSettled = true
      events.failed(errorCodeOf(error), errorMessage(error))
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      if (isSettled) return
      isSettled = true
      const wrapped = NodeSocket.wrap(socket)
      socket.off('error', onError)
      if (wrapped === undefined) events.failed('reset', 'the peer reset the connection at once')
      else events.connected(wrapped)
    })
    // node:net connects in the tick that it asks for, this one comes after it.
    process.nextTick(() => {
      const { localAddress, localPort } = socket
      if (isSettled || localAddress === undefined || localPort === undefined) return
      events.started?.({ ip: parseIp(localAddress), port: localPort })
    })
    return {
      abort: () => {
        if (isSettled) return
        isSettled = true
        // The socket still reports the end of the connect that was given up.
        socket.on('error', () => undefined)
        socket.destroy()
      },
    }
  }

  relay(downstream: TransportSocket, upstream: TransportSocket, onEnd: (end: RelayEnd) => void): Relay {
    if (!(downstream instanceof NodeSocket) || !(upstream instanceof NodeSocket)) {
      throw new TypeError('a relay joins sockets of its own engine')
    }
    return new NodeRelay({ clock: this.#clock }, downstream, upstream, onEnd)
  }
}

function unavailable(what: string): Capability {
  return { isAvailable: false, reason: `${what}: ${NOT_IN_NODE}` }
}

/** Frees the address at once; node's own callback would wait for the accepted connections too. */
function closeServer(server: net.Server): Promise<void> {
  server.close()
  return Promise.resolve()
}
