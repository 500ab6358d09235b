/** Finds workloads of a snapshot by what a connection knows: an address or a service. */
import { ipKey } from '../core/packed-ip.ts'
import { ShardedMultimapDraft, ShardedMultimap } from './sharded-multimap.ts'

import type { IpKey } from '../core/packed-ip.ts'
import type { NetworkAddress, Workload } from './workload.ts'

type ByAddress = ShardedMultimap<IpKey, Workload>

/** Workloads by address and by service. Immutable; changed through {@link WorkloadIndexDraft}. */
export class WorkloadIndex {
  /** By network and address; for the draft of the successor, as is `byService`. */
  readonly byNetwork: ReadonlyMap<string, ByAddress>
  readonly byService: ShardedMultimap<string, Workload>

  constructor(
    byNetwork: ReadonlyMap<string, ByAddress> = new Map(),
    byService = new ShardedMultimap<string, Workload>(),
  ) {
    this.byNetwork = byNetwork
    this.byService = byService
  }

  /** The workload that owns an address. Of several, the likeliest; of equally likely ones, the last that came. */
  at({ network, ip }: NetworkAddress): Workload | undefined {
    const claimants = this.byNetwork.get(network)?.get(ipKey(ip)) ?? []
    if (claimants.length < 2) return claimants[0]
    return claimants.reduce((holder, workload) => (claimOf(workload) >= claimOf(holder) ? workload : holder))
  }

  /** The workloads that name a service, in the order in which they came. */
  membersOf(serviceKey: string): readonly Workload[] {
    return this.byService.get(serviceKey)
  }

  /** Something that stays the same object while the members of a service do. */
  membershipOf(serviceKey: string): object | undefined {
    return this.byService.identityOf(serviceKey)
  }
}

/** Makes the successor of a {@link WorkloadIndex}, at a cost of the workloads that change. */
export class WorkloadIndexDraft {
  readonly #base: WorkloadIndex
  readonly #byNetwork = new Map<string, ShardedMultimapDraft<IpKey, Workload>>()
  readonly #byService: ShardedMultimapDraft<string, Workload>

  constructor(base: WorkloadIndex) {
    this.#base = base
    this.#byService = new ShardedMultimapDraft(base.byService)
  }

  /** Puts `after` in the place of `before`; without the one it is new, without the other it goes. */
  replace(before: Workload | undefined, after: Workload | undefined): void {
    this.#replaceAddresses(before, after)
    const servicesAfter = after?.services
    for (const key of before?.services.keys() ?? []) {
      if (before === undefined) continue
      if (after !== undefined && servicesAfter?.has(key) === true) this.#byService.replace(key, before, after)
      else this.#byService.remove(key, before)
    }
    if (after === undefined) return
    for (const key of after.services.keys())
      if (before?.services.has(key) !== true) this.#byService.add(key, after)
  }

  /** The successor. The draft must not be written to afterwards. */
  seal(): WorkloadIndex {
    const byNetwork = new Map(this.#base.byNetwork)
    for (const [network, draft] of this.#byNetwork) byNetwork.set(network, draft.seal())
    return new WorkloadIndex(byNetwork, this.#byService.seal())
  }

  #replaceAddresses(before: Workload | undefined, after: Workload | undefined): void {
    const keysAfter = ownAddresses(after)
    const keysBefore = ownAddresses(before)
    const isSameNetwork = before?.network === after?.network
    for (const key of keysBefore) {
      if (before === undefined) continue
      const addresses = this.#addressesOf(before.network)
      if (after !== undefined && isSameNetwork && keysAfter.includes(key))
        addresses.replace(key, before, after)
      else addresses.remove(key, before)
    }
    for (const key of keysAfter) {
      if (after === undefined || (isSameNetwork && keysBefore.includes(key))) continue
      this.#addressesOf(after.network).add(key, after)
    }
  }

  #addressesOf(network: string): ShardedMultimapDraft<IpKey, Workload> {
    let draft = this.#byNetwork.get(network)
    if (draft === undefined) {
      draft = new ShardedMultimapDraft(this.#base.byNetwork.get(network) ?? new ShardedMultimap())
      this.#byNetwork.set(network, draft)
    }
    return draft
  }
}

/** The addresses that are a workload's alone: that of a host is nobody's in particular. */
function ownAddresses(workload: Workload | undefined): readonly IpKey[] {
  return workload === undefined || workload.isHostNetwork ? [] : workload.addresses.map(ipKey)
}

/** Of several that claim an address, a pod is the most likely to be there, then one that is in the mesh. */
function claimOf(workload: Workload): number {
  return (workload.uid.includes('//Pod/') ? 2 : 0) + (workload.protocol === 'hbone' ? 1 : 0)
}
