/**
 * How the priorities of an upstream share the load when endpoints are not available: Envoy's spillover and panic, in
 * the same integer arithmetic, so that both proxies of a mesh send the same shares.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
 */

/** The endpoints of one priority. */
export interface PriorityCounts {
  readonly healthy: number
  readonly degraded: number
  /** All of them, those that are not available included. */
  readonly total: number
}

export interface PriorityLoadSettings {
  /** Percent; see {@link UpstreamSettings.overprovisioningFactor}. */
  readonly overprovisioningFactor: number
  /** Percent; 0 turns panic off. */
  readonly panicThresholdPercent: number
}

/** Shares by place in the list of priorities. All of `healthy` and `degraded` together are 100. */
export interface PriorityLoads {
  /** Percent that goes to the healthy endpoints of the priority, or to all of them where it is in panic. */
  readonly healthy: readonly number[]
  /** Percent that goes to the degraded endpoints of the priority, or to all of them where it is in panic. */
  readonly degraded: readonly number[]
  /** True where so few are available that the priority uses all of its endpoints. */
  readonly isInPanic: readonly boolean[]
}

/** Which endpoints of which priority a connection goes to. `priority` is the place in the list, not the number. */
export interface PriorityChoice {
  readonly priority: number
  readonly from: 'healthy' | 'degraded' | 'all'
}

/**
 * Shares out the load over `priorities`, given best first. When next to nothing is available and panic is off, all of
 * it goes to the first priority, as in Envoy; what to do with its unavailable endpoints is the caller's decision.
 */
export function priorityLoads(
  priorities: readonly PriorityCounts[],
  settings: PriorityLoadSettings,
): PriorityLoads {
  const factor = settings.overprovisioningFactor
  const threshold = Math.min(100, settings.panicThresholdPercent)
  const healthy = priorities.map((counts) => availability(counts.healthy, counts.total, factor))
  const degraded = priorities.map((counts) => availability(counts.degraded, counts.total, factor))
  const available = Math.min(100, sum(healthy) + sum(degraded))
  // A priority is left alone while the others make up for it, however few of its own endpoints are available.
  const isInPanic = priorities.map((counts) => available < 100 && availablePercent(counts) < threshold)
  if (isInPanic.every(Boolean)) return { ...shareByCount(priorities), isInPanic }
  if (available === 0) return { ...allToFirst(priorities.length), isInPanic }
  return { ...shareByAvailability(healthy, degraded, available), isInPanic }
}

/** The priority for a random number in [0, 1). */
export function choosePriority(loads: PriorityLoads, random: number): PriorityChoice {
  const percent = Math.floor(random * 100) + 1
  let reached = 0
  for (const from of ['healthy', 'degraded'] as const) {
    for (const [priority, load] of loads[from].entries()) {
      reached += load
      if (percent <= reached) return { priority, from: loads.isInPanic[priority] === true ? 'all' : from }
    }
  }
  throw new TypeError(`the loads of the priorities make ${reached} %, not 100 %`)
}

function availability(count: number, total: number, factor: number): number {
  return total === 0 ? 0 : Math.min(100, Math.floor((factor * count) / total))
}

function availablePercent({ healthy, degraded, total }: PriorityCounts): number {
  return total === 0 ? 0 : (100 * healthy) / total + (100 * degraded) / total
}

function shareByAvailability(
  healthy: readonly number[],
  degraded: readonly number[],
  available: number,
): Pick<PriorityLoads, 'healthy' | 'degraded'> {
  let remaining = 100
  const share = (percent: number): number => {
    const load = Math.min(remaining, Math.floor((percent * 100) / available))
    remaining -= load
    return load
  }
  const healthyLoads = healthy.map(share)
  const degradedLoads = degraded.map(share)
  // What is left over is what the divisions cut off.
  if (!giveTo(healthyLoads, healthy, remaining)) giveTo(degradedLoads, degraded, remaining)
  return { healthy: healthyLoads, degraded: degradedLoads }
}

/** Everything is in panic: the number of endpoints decides, whatever their health. */
function shareByCount(priorities: readonly PriorityCounts[]): Pick<PriorityLoads, 'healthy' | 'degraded'> {
  const totals = priorities.map(({ total }) => total)
  const all = sum(totals)
  if (all === 0) return allToFirst(priorities.length)
  const healthy = totals.map((total) => Math.floor((100 * total) / all))
  giveTo(healthy, totals, 100 - sum(healthy))
  return { healthy, degraded: priorities.map(() => 0) }
}

function allToFirst(length: number): Pick<PriorityLoads, 'healthy' | 'degraded'> {
  return {
    healthy: Array.from({ length }, (_, priority) => (priority === 0 ? 100 : 0)),
    degraded: Array.from({ length }, () => 0),
  }
}

/** Adds a remainder to the first place that has anything; false when there is none. */
function giveTo(loads: number[], has: readonly number[], remainder: number): boolean {
  const first = has.findIndex((amount) => amount > 0)
  if (first === -1) return false
  loads[first] = (loads[first] ?? 0) + remainder
  return true
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
