/** A set of endpoints and how to reach them: what a route hands to the proxy. */
import type { FamilyPolicy } from '../core/family.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Endpoint } from './endpoint.ts'

export type LoadBalancing = 'round-robin' | 'least-request' | 'random'

/** TCP keepalive of a connected socket. An absent part keeps the default of the proxy. */
export interface Keepalive {
  readonly idleMs?: number
  readonly intervalMs?: number
  readonly probes?: number
  /** How long sent data may stay unacknowledged before the connection is given up (TCP_USER_TIMEOUT, RFC 5482). */
  readonly userTimeoutMs?: number
}

/** When repeated failures to connect take an endpoint out of the choice for a while (Envoy's outlier detection). */
export interface OutlierDetection {
  /** Failed connections in a row that eject an endpoint; 1 or more. */
  readonly consecutiveConnectFailures: number
  /** The n-th ejection lasts n times this. */
  readonly baseEjectionMs: number
  readonly maxEjectionMs: number
  /** Share of the endpoints that may be out at once, 0–100. */
  readonly maxEjectionPercent: number
  /** One may be out even where it is more than the share. */
  readonly canAlwaysEjectOne: boolean
}

/** How to reach the endpoints of an upstream. */
export interface UpstreamSettings {
  readonly loadBalancing: LoadBalancing
  /** Bounds the whole race of one connection, all endpoints and families together. */
  readonly connectTimeoutMs: number
  /**
   * Addresses to connect from, at most one per family; port 0 unless fixed. The one in the family of the upstream
   * address is used, none if there is none (Envoy's BindConfig).
   */
  readonly sourceAddresses: readonly SocketAddress[]
  /** Overrides the family policy of the proxy. */
  readonly familyPolicy?: FamilyPolicy
  /** Addresses of the first family before one of the other; absent: all of them (Envoy's happy_eyeballs_config). */
  readonly firstFamilyCount?: number
  /** Connections at once; absent: no limit (Envoy's circuit_breakers). */
  readonly maxConnections?: number
  readonly outlierDetection?: OutlierDetection
  readonly keepalive?: Keepalive
  /** Percent of a priority's endpoints that may be unhealthy-weighted before it spills over; Envoy's default 140. */
  readonly overprovisioningFactor: number
  /** Below this percentage of available endpoints a priority uses all of them; 0 turns that off; Envoy's default 50. */
  readonly panicThresholdPercent: number
  /** Localities share the load by their own weights (Envoy's locality_weighted_lb_config). */
  readonly localityWeighted: boolean
}

/** A set of endpoints and how to reach them. Immutable: a changed upstream is a new object of the same name. */
export interface Upstream extends UpstreamSettings {
  /** Names the upstream across updates; load balancing state and limits are remembered by it. */
  readonly name: string
  readonly endpoints: readonly Endpoint[]
}

/** Settings where a control plane says nothing, as Envoy has them (no limit of connections, unlike Envoy's 1024). */
export const DEFAULT_UPSTREAM_SETTINGS: UpstreamSettings = {
  loadBalancing: 'round-robin',
  connectTimeoutMs: 5_000,
  sourceAddresses: [],
  overprovisioningFactor: 140,
  panicThresholdPercent: 50,
  localityWeighted: false,
}
