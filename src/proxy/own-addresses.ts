/** The addresses that this proxy listens on: what must not be connected to on behalf of a client (rule 4). */
import { isLoopback, isSameSocketAddress, isUnspecified } from '../core/address.ts'

import type { SocketAddress } from '../core/address.ts'
import type { CapturedPod } from '../mesh/pod.ts'

export class OwnAddresses {
  #bound: readonly SocketAddress[] = []

  /** Replaces the addresses by those that are bound now. */
  replace(bound: readonly SocketAddress[]): void {
    this.#bound = bound
  }

  get all(): readonly SocketAddress[] {
    return this.#bound
  }

  /** True when connecting to the address from this host would reach one of the bound sockets. */
  has(address: SocketAddress): boolean {
    for (const bound of this.#bound)
      if (isSameSocketAddress(bound, address) || reachesWildcard(bound, address)) return true
    return false
  }
}

/** True when connecting to the address within a pod would reach a listener of the proxy there: they take any address. */
export function reachesPodListener(
  address: SocketAddress,
  pod: CapturedPod,
  ports: ReadonlySet<number>,
): boolean {
  if (!ports.has(address.port)) return false
  if (isLoopback(address.ip) || isUnspecified(address.ip)) return true
  return pod.addresses.some(({ text }) => text === address.ip.text)
}

function reachesWildcard(bound: SocketAddress, address: SocketAddress): boolean {
  return (
    bound.port === address.port &&
    bound.ip.family === address.ip.family &&
    isUnspecified(bound.ip) &&
    (isLoopback(address.ip) || isUnspecified(address.ip))
  )
}
