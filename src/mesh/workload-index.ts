/** Finds workloads of a snapshot by an address, by a service, or by the host name that has to be resolved. */
import { AddressMultimap, AddressMultimapDraft } from './collections/address-multimap.ts'
import { ShardedMultimap, ShardedMultimapDraft } from './collections/sharded-multimap.ts'

import type { Claim } from './collections/address-multimap.ts'
import type { NetworkAddress, Workload } from './workload.ts'

/** Workloads by address, by service and by host name. Immutable; changed through {@link WorkloadIndexDraft}. */
export class WorkloadIndex {
  /** For the draft of the successor, as are the other two. */
  readonly byAddress: AddressMultimap<Workload>
  readonly byService: ShardedMultimap<string, Workload>
  readonly byHostname: ShardedMultimap<string, Workload>

  constructor(
    byAddress = new AddressMultimap<Workload>(),
    byService = new ShardedMultimap<string, Workload>(),
    byHostname = new ShardedMultimap<string, Workload>(),
  ) {
    this.byAddress = byAddress
    this.byService = byService
    this.byHostname = byHostname
  }

  /** The workload that owns an address. Of several, the likeliest; of equally likely ones, the last that came. */
  at(address: NetworkAddress): Workload | undefined {
    const claimants = this.byAddress.get(address)
    if (claimants.length < 2) return claimants[0]
    return claimants.reduce((holder, workload) => (claimOf(workload) >= claimOf(holder) ? workload : holder))
  }

  /** The workloads that name a service, in the order in which they came. */
  membersOf(serviceKey: string): readonly Workload[] {
    return this.byService.get(serviceKey)
  }

  /** The host names of workloads that have one instead of addresses. */
  hostnames(): Iterable<string> {
    return this.byHostname.entries.keys()
  }

  /** Something that stays the same object while the members of a service do. */
  membershipOf(serviceKey: string): object | undefined {
    return this.byService.identityOf(serviceKey)
  }
}

/** Makes the successor of a {@link WorkloadIndex}, at the cost of the workloads that change. */
export class WorkloadIndexDraft {
  readonly #byAddress: AddressMultimapDraft<Workload>
  readonly #byService: ShardedMultimapDraft<string, Workload>
  readonly #byHostname: ShardedMultimapDraft<string, Workload>

  constructor(base: WorkloadIndex) {
    this.#byAddress = new AddressMultimapDraft(base.byAddress)
    this.#byService = new ShardedMultimapDraft(base.byService)
    this.#byHostname = new ShardedMultimapDraft(base.byHostname)
  }

  /** Puts `after` in the place of `before`; without the one it is new, without the other it goes. */
  replace(before: Workload | undefined, after: Workload | undefined): void {
    this.#byAddress.replace(before && ownAddresses(before), after && ownAddresses(after))
    for (const key of before?.services.keys() ?? []) {
      if (before === undefined) continue
      if (after?.services.has(key) === true) this.#byService.replace(key, before, after)
      else this.#byService.remove(key, before)
    }
    for (const key of after?.services.keys() ?? [])
      if (after !== undefined && before?.services.has(key) !== true) this.#byService.add(key, after)
    if (before !== undefined && isNamed(before)) this.#byHostname.remove(before.hostname, before)
    if (after !== undefined && isNamed(after)) this.#byHostname.add(after.hostname, after)
  }

  /** The successor. The draft must not be written to afterwards. */
  seal(): WorkloadIndex {
    return new WorkloadIndex(this.#byAddress.seal(), this.#byService.seal(), this.#byHostname.seal())
  }
}

/** The addresses that are a workload's alone: that of a host is nobody's in particular. */
function ownAddresses(workload: Workload): Claim<Workload> {
  const { isHostNetwork, addresses, network } = workload
  return { item: workload, addresses: isHostNetwork ? [] : addresses.map((ip) => ({ network, ip })) }
}

function isNamed({ hostname, addresses }: Workload): boolean {
  return hostname !== '' && addresses.length === 0
}

/** Of several that claim an address, a pod is the most likely to be there, then one that is in the mesh. */
function claimOf(workload: Workload): number {
  return (workload.uid.includes('//Pod/') ? 2 : 0) + (workload.protocol === 'hbone' ? 1 : 0)
}
