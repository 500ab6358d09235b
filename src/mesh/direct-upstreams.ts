/**
 * Upstreams of the ambient dialect that have one endpoint, the address that the client asked for, and behind it the twin
 * addresses of the workload that owns it; a destination outside the mesh has only itself (rules 6 and 10).
 */
import { formatSocketAddress } from '../core/address.ts'
import { ipKey, unpackIp } from '../core/packed-ip.ts'
import { AMBIENT_SETTINGS, besideClient, workloadLabels } from './ambient-endpoints.ts'

import type { SocketAddress } from '../core/address.ts'
import type { IpKey } from '../core/packed-ip.ts'
import type { TrafficDirection } from './listener.ts'
import type { Upstream } from './upstream.ts'
import type { Workload } from './workload.ts'

export interface DirectDestination {
  readonly direction: TrafficDirection
  readonly destination: SocketAddress
  /** The workload that owns the address. */
  readonly owner: Workload | undefined
}

interface Held {
  readonly direction: TrafficDirection
  readonly ip: IpKey
  readonly port: number
  readonly upstream: Upstream
}

/** Upstreams that are kept for a workload: a client may ask for any port, and must not fill the memory with them. */
const MAX_KEPT = 4

export class DirectUpstreams {
  readonly #clientNode: string | undefined
  /** What is kept goes with the workload, so that it is never of an earlier state of it. */
  readonly #byOwner = new WeakMap<Workload, Held[]>()

  /** @param clientNode the node of outbound clients, where it matters: see Endpoint.isBesideClient */
  constructor(clientNode: string | undefined) {
    this.#clientNode = clientNode
  }

  /** The upstream of a destination: the same object as the last time, where the owner is unchanged and has few of them. */
  upstreamOf({ direction, destination, owner }: DirectDestination): Upstream {
    if (owner === undefined) return passthrough(direction, destination)
    let kept = this.#byOwner.get(owner)
    if (kept === undefined) {
      kept = []
      this.#byOwner.set(owner, kept)
    }
    const { port } = destination
    const ip = ipKey(destination.ip)
    const held = kept.find((each) => each.port === port && each.ip === ip && each.direction === direction)
    if (held !== undefined) return held.upstream
    const clientNode = direction === 'outbound' ? this.#clientNode : undefined
    const upstream = toWorkload(direction, destination, { owner, clientNode })
    kept.push({ direction, ip, port, upstream })
    if (kept.length > MAX_KEPT) kept.shift()
    return upstream
  }
}

function passthrough(direction: TrafficDirection, destination: SocketAddress): Upstream {
  return {
    ...AMBIENT_SETTINGS,
    name: direction === 'inbound' ? INBOUND_NAME : 'PassthroughCluster',
    endpoints: [{ ...ENDPOINT, id: formatSocketAddress(destination), addresses: [destination] }],
  }
}

function toWorkload(
  direction: TrafficDirection,
  destination: SocketAddress,
  { owner, clientNode }: { readonly owner: Workload; readonly clientNode: string | undefined },
): Upstream {
  const { port } = destination
  const asked = ipKey(destination.ip)
  const twins = owner.addresses.filter((ip) => ipKey(ip) !== asked).map((ip) => ({ ip: unpackIp(ip), port }))
  const isInbound = direction === 'inbound'
  // What the application itself refuses says nothing of the way to its pod, where its own proxy sees to that.
  const id = isInbound ? `${owner.uid}:${port} inbound` : `${owner.uid}:${port}`
  const { locality } = owner
  const endpoint = {
    ...ENDPOINT,
    id,
    addresses: [destination, ...twins],
    locality,
    ...besideClient(owner, clientNode),
    workload: workloadLabels(owner),
  }
  return {
    ...AMBIENT_SETTINGS,
    name: isInbound ? INBOUND_NAME : id,
    endpoints: [endpoint],
  }
}

const INBOUND_NAME = 'InboundPassthroughCluster'

const ENDPOINT = { weight: 1, priority: 0, health: 'healthy', protocol: 'tcp' } as const
