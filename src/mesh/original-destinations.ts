/**
 * Makes the upstream of a connection that goes where the client asked: the one endpoint is that address, and behind it
 * the twin addresses that the mesh knows of the same instance (rules 6 and 10).
 */
import { formatSocketAddress } from '../core/address.ts'

import type { IpAddress, SocketAddress } from '../core/address.ts'
import type { Cluster } from './cluster.ts'
import type { ClusterUpstreams } from './cluster-upstreams.ts'
import type { MeshSnapshot } from './store.ts'
import type { Upstream } from './upstream.ts'

/** Upstreams kept per cluster; a client that walks through addresses must not fill the memory. */
const MAX_KEPT = 4_096

type TwinIndex = ReadonlyMap<string, readonly SocketAddress[]>

/** Upstreams of original destinations, kept while the mesh's addresses hold. */
export class OriginalDestinations {
  readonly #upstreams: ClusterUpstreams
  readonly #ownAddresses: readonly IpAddress[]
  #kept = new WeakMap<Cluster, Map<string, Upstream>>()
  #keptFor: Pick<MeshSnapshot, 'cluster' | 'assignment' | 'host'> | undefined
  #twins: TwinIndex = new Map()

  constructor(
    deps: { readonly upstreams: ClusterUpstreams },
    options: { readonly ownAddresses: readonly IpAddress[] },
  ) {
    this.#upstreams = deps.upstreams
    this.#ownAddresses = [...options.ownAddresses]
  }

  /**
   * The upstream for one destination. The first call after a change of endpoints costs the size of the mesh, any other
   * nothing that grows with it.
   */
  upstreamFor(
    cluster: Cluster,
    destination: SocketAddress,
    portOverride: number | undefined,
    snapshot: MeshSnapshot,
  ): Upstream {
    this.#refresh(snapshot)
    let kept = this.#kept.get(cluster)
    if (kept === undefined || kept.size >= MAX_KEPT) {
      kept = new Map()
      this.#kept.set(cluster, kept)
    }
    const key = formatSocketAddress(destination)
    const held = kept.get(key)
    if (held !== undefined) return held
    const addresses = [destination, ...this.#twinsOf(destination)].map((address) =>
      portOverride === undefined ? address : { ip: address.ip, port: portOverride },
    )
    const upstream: Upstream = {
      ...cluster.settings,
      name: cluster.name,
      endpoints: [
        {
          id: addresses.slice(0, 1).map(formatSocketAddress).join(),
          addresses,
          weight: 1,
          priority: 0,
          health: 'healthy',
          protocol: 'tcp',
        },
      ],
    }
    kept.set(key, upstream)
    return upstream
  }

  #twinsOf(destination: SocketAddress): readonly SocketAddress[] {
    const isOwn = this.#ownAddresses.some((ip) => ip.text === destination.ip.text)
    const own = isOwn ? this.#ownAddresses.map((ip) => ({ ip, port: destination.port })) : []
    const known = [...own, ...(this.#twins.get(formatSocketAddress(destination)) ?? [])]
    const texts = known.map(formatSocketAddress)
    return known.filter(
      (address, index) =>
        address.ip.family !== destination.ip.family && texts.indexOf(formatSocketAddress(address)) === index,
    )
  }

  /** Rebuilds the index and forgets the upstreams when something that it is made of has changed. */
  #refresh(snapshot: MeshSnapshot): void {
    const held = this.#keptFor
    if (
      held?.cluster === snapshot.cluster &&
      held.assignment === snapshot.assignment &&
      held.host === snapshot.host
    )
      return
    this.#keptFor = { cluster: snapshot.cluster, assignment: snapshot.assignment, host: snapshot.host }
    this.#twins = indexTwins(this.#upstreams, snapshot)
    this.#kept = new WeakMap()
  }
}

/** Each address of an endpoint that has both families, with all addresses of that endpoint. */
function indexTwins(upstreams: ClusterUpstreams, snapshot: MeshSnapshot): TwinIndex {
  const twins = new Map<string, readonly SocketAddress[]>()
  for (const cluster of snapshot.cluster.values()) {
    for (const { addresses } of upstreams.upstreamOf(cluster, snapshot).endpoints) {
      if (addresses.length > 1)
        for (const address of addresses) twins.set(formatSocketAddress(address), addresses)
    }
  }
  return twins
}
