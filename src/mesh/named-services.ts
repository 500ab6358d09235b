/**
 * Says which services an address means, by the names that the control plane has for it (istiod's NameTable) and the names
 * that Istio gives to clusters.
 */
import { ipKey } from '../core/packed-ip.ts'
import { outboundClusterName } from './istio-names.ts'

import type { SocketAddress } from '../core/address.ts'
import type { IpKey } from '../core/packed-ip.ts'
import type { Cluster } from './cluster.ts'
import type { MeshSnapshot } from './store.ts'

/** The host names of addresses, kept while the names of the mesh hold. */
export class NamedServices {
  #names: MeshSnapshot['name'] | undefined
  #hostnamesByIp: ReadonlyMap<IpKey, readonly string[]> = new Map()

  /**
   * The clusters in force for the services that have the address, on its port. The first call after a change of names
   * costs their number, any other nothing that grows with it.
   */
  clustersAt({ ip, port }: SocketAddress, snapshot: MeshSnapshot): readonly Cluster[] {
    this.#refresh(snapshot)
    const hostnames = this.#hostnamesByIp.get(ipKey(ip)) ?? []
    return hostnames.flatMap((hostname) => snapshot.cluster.get(outboundClusterName(hostname, port)) ?? [])
  }

  #refresh({ name: names }: MeshSnapshot): void {
    if (this.#names === names) return
    this.#names = names
    const index = new Map<IpKey, string[]>()
    for (const { hostname, addresses } of names.values()) {
      for (const key of new Set(addresses.map(ipKey))) {
        const hostnames = index.get(key)
        if (hostnames === undefined) index.set(key, [hostname])
        else hostnames.push(hostname)
      }
    }
    this.#hostnamesByIp = index
  }
}
