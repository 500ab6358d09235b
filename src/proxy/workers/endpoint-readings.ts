/** What all workers together know of endpoints. Pure. */
import type { FamilyHealth } from '../endpoint-health.ts'
import type { EndpointReadings } from '../proxy.ts'
import type { EndpointUse } from './messages.ts'

/** Adds up what the workers have told; an endpoint that one of them has ejected counts as ejected. */
export function readingsOf(
  uses: readonly EndpointUse[],
  health: FamilyHealth,
  nowMs: number,
): EndpointReadings {
  const active = new Map<string, number>()
  const ejected = new Set<string>()
  for (const use of uses) {
    const key = endpointKey(use.upstream, use.endpointId)
    active.set(key, (active.get(key) ?? 0) + use.active)
    if (use.isEjected) ejected.add(key)
  }
  return {
    isFamilyHealthy: (endpointId, family) => health.isHealthy({ endpointId, family }, nowMs),
    isEjected: (upstream, endpointId) => ejected.has(endpointKey(upstream, endpointId)),
    activeConnections: (upstream, endpointId) => active.get(endpointKey(upstream, endpointId)) ?? 0,
  }
}

function endpointKey(upstream: string, endpointId: string): string {
  return `${upstream} ${endpointId}`
}
