/**
 * Sorts the endpoints of an upstream into what a connection chooses from: priority, availability, locality and, inside
 * those, tiers by what is known of the families. Built when something changed, kept while nothing did.
 */
import { ByFamilyOrder } from './by-family-order.ts'
import { priorityLoads } from './priority-load.ts'

import type { Family } from '../core/family.ts'
import type { Endpoint } from '../mesh/endpoint.ts'
import type { Upstream } from '../mesh/upstream.ts'
import type { FamilyHealth } from './endpoint-health.ts'
import type { OutlierEjection } from './outlier-ejection.ts'
import type { PriorityLoads } from './priority-load.ts'

/** Endpoints that are equally good for a connection; never empty. */
export interface Tier {
  /** Places in the list of endpoints, ascending. */
  readonly members: readonly number[]
  /** The weight of each member and of all before it. */
  readonly cumulativeWeights: Float64Array
}

/** The endpoints of one locality, or all of them where localities do not share the load by weight. */
export interface Pool {
  /** Share of the load among the pools beside it; above 0. */
  readonly weight: number
  /** Best first; at least one. */
  readonly tiers: readonly Tier[]
}

/** The usable endpoints of one priority, once by availability and once all together. Empty lists where there are none. */
export interface PriorityPools {
  readonly healthy: readonly Pool[]
  readonly degraded: readonly Pool[]
  readonly all: readonly Pool[]
}

/** What connections with one order of families choose from. Best priority first; priorities without endpoints left out. */
export interface EndpointPools {
  readonly priorities: readonly PriorityPools[]
  readonly loads: PriorityLoads
}

/** What the sorting depends on beside the upstream itself. */
export interface PoolInputs {
  /** Families that may be used, best first. */
  readonly families: readonly Family[]
  readonly health: FamilyHealth
  readonly nowMs: number
}

interface Kept {
  readonly pools: EndpointPools
  readonly health: FamilyHealth
  /** Up to which generation no endpoint of the upstream has changed its health. */
  healthGeneration: number
  readonly ejectionGeneration: number
  /** When the first period that went into the sorting ends. */
  readonly validUntilMs: number
}

/** One usable endpoint with what it is sorted by. */
interface Sorted {
  readonly index: number
  readonly endpoint: Endpoint
  readonly tier: number
  readonly availability: 'healthy' | 'degraded' | 'none'
}

const TIERS = 3

/**
 * The pools of one upstream name. Building costs the number of endpoints; it is due when an update replaced the
 * upstream, one of its endpoints changed its health, or a period ended. Time must not run backwards.
 */
export class PoolCache {
  readonly #ids = new WeakMap<Upstream, ReadonlySet<string>>()
  readonly #kept = new WeakMap<Upstream, ByFamilyOrder<Kept>>()

  of(upstream: Upstream, ejection: OutlierEjection, inputs: PoolInputs): EndpointPools {
    const { families, health, nowMs } = inputs
    const byOrder = this.#kept.get(upstream) ?? new ByFamilyOrder<Kept>()
    const kept = byOrder.get(families)
    if (
      kept?.health === health &&
      this.#isUnaffected(upstream, kept) &&
      kept.ejectionGeneration === ejection.generation &&
      nowMs < kept.validUntilMs
    ) {
      return kept.pools
    }
    const { pools, validUntilMs } = buildPools(upstream, ejection, inputs)
    byOrder.set(families, {
      pools,
      health,
      healthGeneration: health.generation,
      ejectionGeneration: ejection.generation,
      validUntilMs,
    })
    this.#kept.set(upstream, byOrder)
    return pools
  }

  /** True when nothing has changed since but the health of other upstreams' endpoints. */
  #isUnaffected(upstream: Upstream, kept: Kept): boolean {
    const { health } = kept
    if (kept.healthGeneration === health.generation) return true
    const changed = health.changedSince(kept.healthGeneration)
    if (changed === undefined) return false
    const ids = this.#ids.get(upstream) ?? new Set(upstream.endpoints.map(({ id }) => id))
    this.#ids.set(upstream, ids)
    if (changed.some((id) => ids.has(id))) return false
    kept.healthGeneration = health.generation
    return true
  }
}

function buildPools(
  upstream: Upstream,
  ejection: OutlierEjection,
  { families, health, nowMs }: PoolInputs,
): Pick<Kept, 'pools' | 'validUntilMs'> {
  let validUntilMs = Infinity
  const isOver = (untilMs: number): boolean => {
    if (nowMs >= untilMs) return true
    validUntilMs = Math.min(validUntilMs, untilMs)
    return false
  }
  const byPriority = new Map<number, Sorted[]>()
  for (const [index, endpoint] of upstream.endpoints.entries()) {
    let tier = Infinity
    for (const [place, family] of families.entries()) {
      if (!hasFamily(endpoint, family)) continue
      const isHealthy = isOver(health.unhealthyUntilMs({ endpointId: endpoint.id, family }))
      tier = Math.min(tier, isHealthy ? Math.min(place, 1) : TIERS - 1)
    }
    if (tier === Infinity) continue
    const isIn = upstream.outlierDetection === undefined || isOver(ejection.ejectedUntilMs(endpoint.id))
    const availability = endpoint.health === 'unhealthy' || !isIn ? 'none' : endpoint.health
    const sorted: Sorted = { index, endpoint, tier, availability }
    const beside = byPriority.get(endpoint.priority)
    if (beside === undefined) byPriority.set(endpoint.priority, [sorted])
    else beside.push(sorted)
  }
  const inOrder = [...byPriority].sort(([a], [b]) => a - b).map(([, endpoints]) => endpoints)
  const counts = inOrder.map((endpoints) => ({
    healthy: countOf(endpoints, 'healthy'),
    degraded: countOf(endpoints, 'degraded'),
    total: endpoints.length,
  }))
  const priorities = inOrder.map((all): PriorityPools => ({
    healthy: poolsOf(all, 'healthy', upstream),
    degraded: poolsOf(all, 'degraded', upstream),
    // Endpoints that are not available are used when nothing else is left, and then localities do not matter.
    all: [{ weight: 1, tiers: tiersOf(all) }],
  }))
  return { pools: { priorities, loads: priorityLoads(counts, upstream) }, validUntilMs }
}

function hasFamily(endpoint: Endpoint, family: Family): boolean {
  for (const { ip } of endpoint.addresses) if (ip.family === family) return true
  return false
}

function countOf(endpoints: readonly Sorted[], availability: Sorted['availability']): number {
  let count = 0
  for (const endpoint of endpoints) if (endpoint.availability === availability) count++
  return count
}

function poolsOf(
  all: readonly Sorted[],
  availability: Sorted['availability'],
  upstream: Upstream,
): readonly Pool[] {
  const chosen = all.filter((endpoint) => endpoint.availability === availability)
  if (chosen.length === 0) return []
  const byLocality = upstream.localityWeighted ? localityPools(all, availability, upstream) : []
  return byLocality.length > 0 ? byLocality : [{ weight: 1, tiers: tiersOf(chosen) }]
}

/** One pool per locality that has a weight; what a locality lacks in available endpoints goes to the others, as in Envoy. */
function localityPools(
  all: readonly Sorted[],
  availability: Sorted['availability'],
  { overprovisioningFactor }: Upstream,
): readonly Pool[] {
  const localities = new Map<string, Sorted[]>()
  for (const sorted of all) {
    const { region = '', zone = '', subzone = '' } = sorted.endpoint.locality ?? {}
    const key = `${region}/${zone}/${subzone}`
    const beside = localities.get(key)
    if (beside === undefined) localities.set(key, [sorted])
    else beside.push(sorted)
  }
  const pools: Pool[] = []
  for (const members of localities.values()) {
    const chosen = members.filter((endpoint) => endpoint.availability === availability)
    const localityWeight = members[0]?.endpoint.localityWeight ?? 0
    const percent = Math.min(100, (overprovisioningFactor * chosen.length) / members.length)
    const weight = localityWeight * percent
    if (weight > 0) pools.push({ weight, tiers: tiersOf(chosen) })
  }
  return pools
}

function tiersOf(endpoints: readonly Sorted[]): readonly Tier[] {
  const tiers: Tier[] = []
  for (let tier = 0; tier < TIERS; tier++) {
    const inTier = endpoints.filter((endpoint) => endpoint.tier === tier)
    if (inTier.length === 0) continue
    let total = 0
    tiers.push({
      members: inTier.map(({ index }) => index),
      cumulativeWeights: Float64Array.from(inTier, ({ endpoint }) => (total += endpoint.weight)),
    })
  }
  return tiers
}
