/** Items by the addresses that they claim, each in a network. Immutable; changed through {@link AddressMultimapDraft}. */
import { ipKey } from '../../core/packed-ip.ts'
import { ShardedMultimap, ShardedMultimapDraft } from './sharded-multimap.ts'

import type { IpKey } from '../../core/packed-ip.ts'
import type { NetworkAddress } from '../workload.ts'

type ByIp<Item extends object> = ShardedMultimap<IpKey, Item>

/** There are few networks, so that their names are no part of the keys. */
export class AddressMultimap<Item extends object> {
  /** For the draft of the successor. */
  readonly networks: ReadonlyMap<string, ByIp<Item>>

  constructor(networks: ReadonlyMap<string, ByIp<Item>> = new Map()) {
    this.networks = networks
  }

  /** The items that claim an address, in the order in which they came. */
  get({ network, ip }: NetworkAddress): readonly Item[] {
    return this.networks.get(network)?.get(ipKey(ip)) ?? NOTHING
  }
}

const NOTHING: readonly never[] = []

/** Makes the successor of an {@link AddressMultimap}. */
export class AddressMultimapDraft<Item extends object> {
  readonly #base: AddressMultimap<Item>
  readonly #networks = new Map<string, ShardedMultimapDraft<IpKey, Item>>()

  constructor(base: AddressMultimap<Item>) {
    this.#base = base
  }

  /** Takes an item from where it was and puts another where that is; either may be nowhere. */
  replace(before: Claim<Item> | undefined, after: Claim<Item> | undefined): void {
    for (const address of before?.addresses ?? []) {
      if (before === undefined) continue
      const items = this.#at(address.network)
      if (after !== undefined && claims(after, address))
        items.replace(ipKey(address.ip), before.item, after.item)
      else items.remove(ipKey(address.ip), before.item)
    }
    for (const address of after?.addresses ?? []) {
      if (after === undefined || (before !== undefined && claims(before, address))) continue
      this.#at(address.network).add(ipKey(address.ip), after.item)
    }
  }

  /** The successor. The draft must not be written to afterwards. */
  seal(): AddressMultimap<Item> {
    const networks = new Map(this.#base.networks)
    for (const [network, draft] of this.#networks) networks.set(network, draft.seal())
    return new AddressMultimap(networks)
  }

  #at(network: string): ShardedMultimapDraft<IpKey, Item> {
    let draft = this.#networks.get(network)
    if (draft === undefined) {
      draft = new ShardedMultimapDraft(this.#base.networks.get(network) ?? new ShardedMultimap())
      this.#networks.set(network, draft)
    }
    return draft
  }
}

/** An item and the addresses that it claims, without repetition. */
export interface Claim<Item> {
  readonly item: Item
  readonly addresses: readonly NetworkAddress[]
}

function claims({ addresses }: Claim<object>, { network, ip }: NetworkAddress): boolean {
  return addresses.some((each) => each.network === network && ipKey(each.ip) === ipKey(ip))
}
