/** Where an accepted connection was going (rule 4), and whether that is the proxy itself. */
import { isLoopback, isSameSocketAddress } from '../core/address.ts'

import type { SocketAddress } from '../core/address.ts'
import type { Listener } from '../mesh/listener.ts'
import type { RouteFacts } from '../mesh/router.ts'
import type { TransportSocket } from './transport.ts'

/** A destination, and whether going on to it would come back here. */
export interface Destination {
  readonly address: SocketAddress
  readonly isProxy: boolean
}

/**
 * The original destination of a redirected connection, else the local address. On a capturing listener a destination
 * that is the listener's own socket means that nobody redirected the connection, or that it has come round.
 */
export function destinationOf(
  socket: TransportSocket,
  { listener, pod }: Pick<RouteFacts, 'listener' | 'pod'>,
  isOwnAddress: (address: SocketAddress, pod: RouteFacts['pod']) => boolean,
): Destination {
  switch (listener.capture) {
    case 'none':
      return { address: socket.local, isProxy: false }
    case 'redirect': {
      const address = socket.originalDestination() ?? socket.local
      // The local address costs a call: only the port of a listening socket can be its own.
      const isUnredirected = canHavePort(listener, address.port) && isSameSocketAddress(address, socket.local)
      return { address, isProxy: isUnredirected || (isLoopback(address.ip) && isOwnAddress(address, pod)) }
    }
    case 'tproxy': {
      const isOwnPort = listener.addresses.some(({ address }) => address.port === socket.local.port)
      return { address: socket.local, isProxy: isOwnPort }
    }
  }
}

/** Whether a socket of the listener may have the port; one that asked for any port may have each. */
function canHavePort({ addresses }: Listener, port: number): boolean {
  return addresses.some(({ address }) => address.port === port || address.port === 0)
}
