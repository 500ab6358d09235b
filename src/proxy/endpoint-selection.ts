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
 * Costs the number of endpoints for round robin and for each further endpoint, its logarithm otherwise.
 */
export function selectEndpoints(upstream: Upstream, context: SelectionContext): readonly Endpoint[] {
  const { endpoints } = upstream
  const only = endpoints[0]
  if (only === undefined || context.families.length === 0 || context.count < 1) return []
  if (endpoints.length === 1) return canUse(only, context.families) ? [only] : []
  const pools = context.state.pools.of(upstream, context.state.ejection, context)
  if (pools.priorities.length === 0) return []
  const chosen: number[] = []
  for (const pool of poolsInOrder(pools, context.random)) {
    for (const tier of pool.tiers) {
      if (chosen.length === 0) chosen.push(balance(tier, upstream, context))
      while (chosen.length < context.count) {
        const further = drawOther(tier, upstream, chosen, context.random)
        if (further === -1) break
        chosen.push(further)
      }
    }
    if (chosen.length >= context.count) break
  }
  return chosen.flatMap((index) => endpoints[index] ?? [])
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
  return ordered.concat(last)
}

function canUse(endpoint: Endpoint, families: readonly Family[]): boolean {
  return endpoint.addresses.some(({ ip }) => families.includes(ip.family))
}

/** Repeats [`firstFamilyCount` of the first family, 1 of the other] until both have run out, as Envoy does. */
function targetsOf(
  endpoint: Endpoint,
  families: readonly Family[],
  firstFamilyCount = Infinity,
): readonly AttemptTarget[] {
  const [first = [], other = []] = families.map((family) =>
    endpoint.addresses.flatMap((address) =>
      address.ip.family === family ? [{ endpoint, address, family }] : [],
    ),
  )
  if (firstFamilyCount >= first.length) return first.concat(other)
  const targets: AttemptTarget[] = []
  for (let taken = 0, round = 0; taken < first.length; taken += firstFamilyCount, round++) {
    targets.push(...first.slice(taken, taken + firstFamilyCount), ...other.slice(round, round + 1))
  }
  return targets.concat(other.slice(Math.ceil(first.length / firstFamilyCount)))
}

/** The pool that the load of the priorities and localities gives this connection, then the others that it may fall to. */
function poolsInOrder(pools: EndpointPools, random: Random): readonly Pool[] {
  const { priorities, loads } = pools
  const choice: PriorityChoice =
    loads.healthy[0] === 100 && loads.isInPanic[0] === false
      ? { priority: 0, from: 'healthy' }
      : choosePriority(loads, random.next())
  const ordered: Pool[] = []
  const add = (priority: number, from: PriorityChoice['from']): void => {
    const beside = priorities[priority]?.[from] ?? []
    const start = ordered.length === 0 ? drawPool(beside, random) : 0
    ordered.push(...beside.slice(start), ...beside.slice(0, start))
  }
  const addAll = (priority: number): void => {
    if (loads.isInPanic[priority] === true) {
      add(priority, 'all')
    } else {
      add(priority, 'healthy')
      add(priority, 'degraded')
    }
  }
  add(choice.priority, choice.from)
  if (choice.from === 'healthy') add(choice.priority, 'degraded')
  if (choice.from === 'degraded') add(choice.priority, 'healthy')
  for (const priority of priorities.keys()) if (priority !== choice.priority) addAll(priority)
  if (ordered.length === 0) for (const priority of priorities.keys()) add(priority, 'all')
  return ordered
}

function drawPool(pools: readonly Pool[], random: Random): number {
  if (pools.length < 2) return 0
  let remaining = random.next() * pools.reduce((total, { weight }) => total + weight, 0)
  const drawn = pools.findIndex(({ weight }) => (remaining -= weight) < 0)
  return Math.max(0, drawn)
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

/** A member by weight that is not in `chosen`; -1 when all are. */
function drawOther(
  { members }: Tier,
  { endpoints }: Upstream,
  chosen: readonly number[],
  random: Random,
): number {
  let total = 0
  for (const member of members) if (!chosen.includes(member)) total += endpoints[member]?.weight ?? 0
  if (total === 0) return -1
  let remaining = random.next() * total
  let drawn = -1
  for (const member of members) {
    if (chosen.includes(member)) continue
    drawn = member
    remaining -= endpoints[member]?.weight ?? 0
    if (remaining < 0) break
  }
  return drawn
}
