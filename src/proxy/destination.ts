/** Where an accepted connection was going (rule 4), and whether that is the proxy itself. */
import { isLoopback } from '../core/address.ts'

import type { SocketAddress } from '../core/address.ts'
import type { Listener } from '../mesh/listener.ts'
import type { TransportSocket } from './transport.ts'

/** A destination, and whether going on to it would come back here. */
export interface Destination {
  readonly address: SocketAddress
  readonly isProxy: boolean
}

/**
 * The original destination of a captured connection, else the local address. On a capturing listener a destination that
 * is the listener's own socket means that nobody redirected the connection, or that it has come round.
 */
export function destinationOf(
  socket: TransportSocket,
  listener: Listener,
  isOwnAddress: (address: SocketAddress) => boolean,
): Destination {
  if (listener.capture === 'none') return { address: socket.local, isProxy: false }
  const address = (listener.capture === 'redirect' ? socket.originalDestination() : undefined) ?? socket.local
  const isUnredirected =
    address.ip.text === socket.local.ip.text &&
    listener.addresses.some((own) => own.address.port === address.port || own.address.port === 0)
  return { address, isProxy: isUnredirected || (isLoopback(address.ip) && isOwnAddress(address)) }
}
