/** Finds services of a snapshot by the virtual address that a connection asks for. */
import { cidrContains } from '../core/cidr.ts'
import { AddressMultimap, AddressMultimapDraft } from './collections/address-multimap.ts'

import type { Claim } from './collections/address-multimap.ts'
import type { NetworkAddress, Service } from './workload.ts'

type Range = Service['cidrVips'][number] & { readonly service: Service }

/** Services by virtual address. Immutable; changed through {@link ServiceIndexDraft}. */
export class ServiceIndex {
  /** For the draft of the successor, as is `ranges`. */
  readonly byVip: AddressMultimap<Service>
  readonly ranges: readonly Range[]

  constructor(byVip = new AddressMultimap<Service>(), ranges: readonly Range[] = []) {
    this.byVip = byVip
    this.ranges = ranges
  }

  /** True when some service has the address, whoever may see it. */
  has(address: NetworkAddress): boolean {
    return (
      this.byVip.get(address).length > 0 ||
      this.ranges.some(({ network, cidr }) => network === address.network && cidrContains(cidr, address.ip))
    )
  }

  /**
   * The service that an address means to a client of a namespace: one that it may see; among those its own
   * namespace's, then a canonical one, then the first. An exact address goes before a range, and among ranges the
   * client's own namespace, then the longest. Costs the number of ranges when no exact address fits.
   */
  at(address: NetworkAddress, clientNamespace: string | undefined): Service | undefined {
    const isVisible = (service: Service): boolean =>
      service.visibility === 'public' || service.namespace === clientNamespace
    const isOwn = (service: Service): number => Number(service.namespace === clientNamespace)
    const exact = best(this.byVip.get(address).filter(isVisible), (service) => [
      isOwn(service),
      Number(service.isCanonical),
    ])
    if (exact !== undefined) return exact
    const ranges = this.ranges.filter(
      ({ network, cidr, service }) =>
        network === address.network && cidrContains(cidr, address.ip) && isVisible(service),
    )
    return best(ranges, ({ cidr, service }) => [
      isOwn(service),
      cidr.prefixLength,
      Number(service.isCanonical),
    ])?.service
  }
}

/** Makes the successor of a {@link ServiceIndex}, at a cost of the services that change, and of all ranges if any does. */
export class ServiceIndexDraft {
  readonly #byVip: AddressMultimapDraft<Service>
  readonly #ranges: readonly Range[]
  readonly #goneRanges = new Set<Service>()
  readonly #newRanges = new Set<Service>()

  constructor(base: ServiceIndex) {
    this.#byVip = new AddressMultimapDraft(base.byVip)
    this.#ranges = base.ranges
  }

  /** Puts `after` in the place of `before`; without the one it is new, without the other it goes. */
  replace(before: Service | undefined, after: Service | undefined): void {
    this.#byVip.replace(before && vipsOf(before), after && vipsOf(after))
    if (before !== undefined && before.cidrVips.length > 0 && !this.#newRanges.delete(before))
      this.#goneRanges.add(before)
    if (after !== undefined && after.cidrVips.length > 0 && !this.#goneRanges.delete(after))
      this.#newRanges.add(after)
  }

  /** The successor. The draft must not be written to afterwards. */
  seal(): ServiceIndex {
    return new ServiceIndex(this.#byVip.seal(), this.#sealedRanges())
  }

  #sealedRanges(): readonly Range[] {
    if (this.#goneRanges.size + this.#newRanges.size === 0) return this.#ranges
    return [
      ...this.#ranges.filter(({ service }) => !this.#goneRanges.has(service)),
      ...[...this.#newRanges].flatMap((service) => service.cidrVips.map((range) => ({ ...range, service }))),
    ]
  }
}

function vipsOf(service: Service): Claim<Service> {
  return { item: service, addresses: service.vips }
}

/** The first item of the highest rank; ranks are compared part by part. */
function best<Item>(items: readonly Item[], rankOf: (item: Item) => readonly number[]): Item | undefined {
  if (items.length < 2) return items[0]
  let chosen: Item | undefined
  let chosenRank: readonly number[] = []
  for (const item of items) {
    const rank = rankOf(item)
    if (chosen === undefined || isHigher(rank, chosenRank)) {
      chosen = item
      chosenRank = rank
    }
  }
  return chosen
}

function isHigher(rank: readonly number[], than: readonly number[]): boolean {
  const differing = rank.findIndex((part, index) => part !== than[index])
  return differing >= 0 && (rank[differing] ?? 0) > (than[differing] ?? 0)
}
