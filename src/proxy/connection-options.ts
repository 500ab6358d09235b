/** What a connection is treated by where neither its route nor its upstream says. */
import type { Family, FamilyPolicy } from '../core/family.ts'
import type { Keepalive } from '../mesh/upstream.ts'

export interface ConnectionOptions {
  readonly familyPolicy: FamilyPolicy
  readonly families: readonly Family[]
  readonly attemptDelayMs: number
  /** Endpoints that one connection may try where the route does not say. */
  readonly maxEndpoints: number
  /** 0: no limit. */
  readonly idleTimeoutMs: number
  /** 0: no limit. */
  readonly halfClosedTimeoutMs: number
  readonly keepalive: Keepalive
  /** Marks the packets of upstream connections (SO_MARK), so that redirection lets them pass; absent: no mark. */
  readonly packetMark?: number
}

export const DEFAULT_CONNECTION_OPTIONS: ConnectionOptions = {
  familyPolicy: 'native-first',
  families: ['ipv4', 'ipv6'],
  attemptDelayMs: 250,
  maxEndpoints: 3,
  idleTimeoutMs: 0,
  halfClosedTimeoutMs: 300_000,
  keepalive: { idleMs: 180_000, intervalMs: 180_000, probes: 9 },
}
