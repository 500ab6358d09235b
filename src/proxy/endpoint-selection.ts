/**
 * Which endpoints a connection tries and in what order (rules 5 and 6). Priority, availability, locality and weight
 * decide as in Envoy; the client's family decides among endpoints that are equal by those. Pure: time, chance and
 * memory come in, and equal input gives equal output.
 */
import { choosePriority } from './priority-load.ts'

import type { Family } from '../core/family.ts'
import type { Random } from '../core/random.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Endpoint } from '../mesh/endpoint.ts'
import type { Upstream } from '../mesh/upstream.ts'
import type { FamilyHealth } from './endpoint-health.ts'
import type { EndpointPools, Pool, Tier } from './endpoint-pools.ts'
import type { PriorityChoice } from './priority-load.ts'
import type { UpstreamState } from './upstream-state.ts'

const FIRST_PRIORITY: PriorityChoice = { priority: 0, from: 'healthy' }

/** Draws that may hit an endpoint that was chosen already, before the others are counted out; the shares are the same. */
const QUICK_DRAWS = 4

/** What a choice depends on beside the upstream. */
export interface SelectionContext {
  /** Families that may be used, best first; see familyOrder. Without any nothing is chosen. */
  readonly families: readonly Family[]
  readonly state: UpstreamState
  readonly health: FamilyHealth
  readonly nowMs: number
  readonly random: Random
  /** Endpoints that the connection may try. */
  readonly count: number
}

/** One address to connect to. */
export interface AttemptTarget {
  readonly endpoint: Endpoint
  readonly address: SocketAddress
  /** The family of the address. */
  readonly family: Family
}

/**
 * The endpoint that the upstream's load balancing gives a connection, and up to `count` - 1 others behind it, drawn by
 * weight: from the same priority as far as there are any, then from the others. Empty only when no endpoint has a
 * family that may be used: when none is available the rest is tried, even where Envoy with panic switched off would
 * try none. Outside of panic an endpoint that is not available never stands behind one that is.
 *
 * Costs the number of endpoints for round robin, its logarithm otherwise; `count` is taken to be small.
 */
export function selectEndpoints(upstream: Upstream, context: SelectionContext): readonly Endpoint[] {
  const { endpoints } = upstream
  const only = endpoints[0]
  if (only === undefined || context.families.length === 0 || context.count < 1) return []
  if (endpoints.length === 1) return canUse(only, context.families) ? [only] : []
  const pools = context.state.pools.of(upstream, context.state.ejection, context)
  if (pools.priorities.length === 0) return []
  const choice = drawPriority(pools, context.random)
  const chosen: number[] = []
  addFrom(chosen, poolsOf(pools, choice, context.random), upstream, context)
  if (chosen.length < context.count) addFrom(chosen, poolsBehind(pools, choice), upstream, context)
  if (chosen.length === 0) addFrom(chosen, unavailablePools(pools), upstream, context)
  const selected: Endpoint[] = []
  for (const index of chosen) {
    const endpoint = endpoints[index]
    if (endpoint !== undefined) selected.push(endpoint)
  }
  return selected
}

/**
 * The addresses of `endpoints` in the order in which a race tries them: endpoint by endpoint, the first family before
 * the other one, interleaved where the upstream asks for it. What FamilyHealth calls unhealthy comes last of all, and
 * nothing that may be used is left out.
 */
export function orderAttempts(
  endpoints: readonly Endpoint[],
  upstream: Upstream,
  { families, health, nowMs }: Pick<SelectionContext, 'families' | 'health' | 'nowMs'>,
): readonly AttemptTarget[] {
  const ordered: AttemptTarget[] = []
  const last: AttemptTarget[] = []
  for (const endpoint of endpoints) {
    for (const target of targetsOf(endpoint, families, upstream.firstFamilyCount)) {
      const isHealthy = health.isHealthy({ endpointId: endpoint.id, family: target.family }, nowMs)
      if (isHealthy) ordered.push(target)
      else last.push(target)
    }
  }
  return last.length === 0 ? ordered : ordered.concat(last)
}

function canUse(endpoint: Endpoint, families: readonly Family[]): boolean {
  return endpoint.addresses.some(({ ip }) => families.includes(ip.family))
}

function targetsOf(
  endpoint: Endpoint,
  families: readonly Family[],
  firstFamilyCount: number | undefined,
): readonly AttemptTarget[] {
  const targets: AttemptTarget[] = []
  for (const family of families) {
    for (const address of endpoint.addresses) {
      if (address.ip.family === family) targets.push({ endpoint, address, family })
    }
  }
  if (firstFamilyCount === undefined) return targets
  const firstOther = targets.findIndex(({ family }) => family !== families[0])
  if (firstOther <= firstFamilyCount) return targets
  return interleave(targets.slice(0, firstOther), targets.slice(firstOther), firstFamilyCount)
}

/** Repeats [`count` of the first family, 1 of the other] until both have run out, as Envoy does. */
function interleave(
  first: readonly AttemptTarget[],
  other: readonly AttemptTarget[],
  count: number,
): readonly AttemptTarget[] {
  const rounds = Math.ceil(first.length / count)
  const targets: AttemptTarget[] = []
  for (let round = 0; round < rounds; round++) {
    targets.push(...first.slice(round * count, (round + 1) * count), ...other.slice(round, round + 1))
  }
  return targets.concat(other.slice(rounds))
}

function drawPriority({ loads }: EndpointPools, random: Random): PriorityChoice {
  return loads.healthy[0] === 100 && loads.isInPanic[0] === false
    ? FIRST_PRIORITY
    : choosePriority(loads, random.next())
}

/** The pools of a choice, the one that the weights of the localities give this connection first. */
function poolsOf({ priorities }: EndpointPools, choice: PriorityChoice, random: Random): readonly Pool[] {
  const pools = priorities[choice.priority]?.[choice.from] ?? []
  if (pools.length < 2) return pools
  const first = drawPool(pools, random)
  return [...pools.slice(first), ...pools.slice(0, first)]
}

/** What the connection may fall to when the pools of the choice have been used up. */
function poolsBehind({ priorities, loads }: EndpointPools, choice: PriorityChoice): readonly Pool[] {
  const behind: Pool[] = []
  const add = (priority: number, from: PriorityChoice['from']): void => {
    if (priority !== choice.priority || from !== choice.from)
      behind.push(...(priorities[priority]?.[from] ?? []))
  }
  const addAvailable = (priority: number): void => {
    if (loads.isInPanic[priority] === true) {
      add(priority, 'all')
    } else {
      add(priority, 'healthy')
      add(priority, 'degraded')
    }
  }
  addAvailable(choice.priority)
  for (const priority of priorities.keys()) if (priority !== choice.priority) addAvailable(priority)
  return behind
}

function unavailablePools({ priorities }: EndpointPools): readonly Pool[] {
  return priorities.flatMap(({ all }) => all)
}

/**
 * Adds the endpoint that the balancer gives, if `chosen` is empty, and then others drawn by weight. No pool has an
 * endpoint in common with one that `chosen` comes from.
 */
function addFrom(
  chosen: number[],
  pools: readonly Pool[],
  upstream: Upstream,
  context: SelectionContext,
): void {
  for (const { tiers } of pools) {
    for (const tier of tiers) {
      const before = chosen.length
      if (before >= context.count) return
      if (before === 0) chosen.push(balance(tier, upstream, context))
      const end = Math.min(context.count, before + tier.members.length)
      while (chosen.length < end) chosen.push(drawOther(tier, upstream, chosen, context.random))
    }
  }
}

function drawPool(pools: readonly Pool[], random: Random): number {
  let remaining = random.next() * pools.reduce((total, { weight }) => total + weight, 0)
  return Math.max(
    0,
    pools.findIndex(({ weight }) => (remaining -= weight) < 0),
  )
}

/** The first endpoint of a connection, by the balancer of the upstream. */
function balance(tier: Tier, upstream: Upstream, { families, state, random }: SelectionContext): number {
  switch (upstream.loadBalancing) {
    case 'round-robin':
      return state.rotationOf(upstream, families, random).take(tier.members)
    case 'random':
      return draw(tier, random)
    case 'least-request': {
      const first = draw(tier, random)
      const second = draw(tier, random)
      return load(upstream, state, second) < load(upstream, state, first) ? second : first
    }
  }
}

/** Connections per weight. */
function load({ endpoints }: Upstream, state: UpstreamState, index: number): number {
  const endpoint = endpoints[index]
  return endpoint === undefined ? Infinity : state.activeOf(endpoint.id) / endpoint.weight
}

/** A member by weight. */
function draw({ members, cumulativeWeights }: Tier, random: Random): number {
  const wanted = random.next() * (cumulativeWeights.at(-1) ?? 0)
  let low = 0
  let high = members.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if ((cumulativeWeights[middle] ?? 0) > wanted) high = middle
    else low = middle + 1
  }
  return members[low] ?? -1
}

/** A member by weight that is not in `chosen`; there must be one. */
function drawOther(tier: Tier, { endpoints }: Upstream, chosen: readonly number[], random: Random): number {
  for (let tries = 0; tries < QUICK_DRAWS; tries++) {
    const drawn = draw(tier, random)
    if (!chosen.includes(drawn)) return drawn
  }
  const others = tier.members.filter((member) => !chosen.includes(member))
  const weightOf = (member: number): number => endpoints[member]?.weight ?? 0
  let remaining = random.next() * others.reduce((total, member) => total + weightOf(member), 0)
  const drawn = others.find((member) => (remaining -= weightOf(member)) < 0) ?? others.at(-1)
  if (drawn === undefined) throw new TypeError('every endpoint of the tier was chosen already')
  return drawn
}
