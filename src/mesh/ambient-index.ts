/** Finds workloads and services of a snapshot by what a connection knows: an address, a service, a node. */
import { cidrContains } from '../core/cidr.ts'

import type { NetworkAddress, Service, Workload } from './workload.ts'

/** Workloads by address and by service. Immutable; building it costs the number of workloads. */
export class WorkloadIndex {
  readonly #byAddress = new Map<string, Workload>()
  readonly #byService = new Map<string, Workload[]>()

  constructor(workloads: ReadonlyMap<string, Workload>) {
    for (const workload of workloads.values()) {
      // The address of a host is nobody's in particular.
      if (!workload.isHostNetwork) {
        for (const ip of workload.addresses)
          this.#claim(addressKey({ network: workload.network, ip }), workload)
      }
      for (const key of workload.services.keys()) {
        const members = this.#byService.get(key)
        if (members === undefined) this.#byService.set(key, [workload])
        else members.push(workload)
      }
    }
  }

  /** The workload that owns an address. */
  at(address: NetworkAddress): Workload | undefined {
    return this.#byAddress.get(addressKey(address))
  }

  /** The workloads that name a service, in the order of the snapshot. */
  membersOf(serviceKey: string): readonly Workload[] {
    return this.#byService.get(serviceKey) ?? []
  }

  #claim(key: string, workload: Workload): void {
    const holder = this.#byAddress.get(key)
    if (holder === undefined || claimOf(workload) >= claimOf(holder)) this.#byAddress.set(key, workload)
  }
}

/** Services by virtual address. Immutable; building it costs the number of services. */
export class ServiceIndex {
  readonly #byVip = new Map<string, Service[]>()
  readonly #byRange: (Service['cidrVips'][number] & { readonly service: Service })[] = []

  constructor(services: ReadonlyMap<string, Service>) {
    for (const service of services.values()) {
      for (const vip of service.vips) {
        const key = addressKey(vip)
        const sharers = this.#byVip.get(key)
        if (sharers === undefined) this.#byVip.set(key, [service])
        else sharers.push(service)
      }
      for (const range of service.cidrVips) this.#byRange.push({ ...range, service })
    }
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
    const exact = best((this.#byVip.get(addressKey(address)) ?? []).filter(isVisible), (service) => [
      isOwn(service),
      Number(service.isCanonical),
    ])
    if (exact !== undefined) return exact
    const ranges = this.#byRange.filter(
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

function addressKey({ network, ip }: NetworkAddress): string {
  return `${network}/${ip.text}`
}

/** Of several that claim an address, a pod is the most likely to be there, then one that is in the mesh. */
function claimOf(workload: Workload): number {
  return (workload.uid.includes('//Pod/') ? 2 : 0) + (workload.protocol === 'hbone' ? 1 : 0)
}

/** The first item of the highest rank; ranks are compared part by part. */
function best<Item>(items: readonly Item[], rankOf: (item: Item) => readonly number[]): Item | undefined {
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
