/** Leaves out of an upstream what policies deny a client: for where nobody asks them at the other end. Pure. */
import type { SocketAddress } from '../core/address.ts'
import type { Endpoint } from './endpoint.ts'
import type { Upstream } from './upstream.ts'

/**
 * The upstream without the addresses that are denied, and without endpoints that have none left; the same object where
 * nothing is denied. Of one whose every endpoint is denied, the first denial.
 *
 * @param denialOf why an address of an endpoint is denied; `undefined` where it is not
 */
export function withoutDenied(
  upstream: Upstream,
  denialOf: (endpoint: Endpoint, address: SocketAddress) => string | undefined,
): Upstream | { readonly denial: string } {
  let denial: string | undefined
  const endpoints = upstream.endpoints.flatMap((endpoint) => {
    const addresses = endpoint.addresses.filter((address) => {
      const detail = denialOf(endpoint, address)
      denial ??= detail
      return detail === undefined
    })
    if (addresses.length === endpoint.addresses.length) return [endpoint]
    return addresses.length === 0 ? [] : [{ ...endpoint, addresses }]
  })
  if (denial === undefined) return upstream
  return endpoints.length === 0 ? { denial } : { ...upstream, endpoints }
}
