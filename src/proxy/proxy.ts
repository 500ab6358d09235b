/**
 * The data plane as the agent sees it, whether its connections live in the same thread (LocalProxy) or in workers.
 * What the other threads have to be asked for is a promise; the rest is known here.
 */
import type { Family } from '../core/family.ts'
import type { CloseReason } from './close-reason.ts'
import type { ConnectionRecord } from './connection-record.ts'
import type { DescriptorUse } from './descriptor-budget.ts'
import type { ListenerAddressStatus } from './listener-set.ts'
import type { PodSet } from './pods/pod-set.ts'

/** What this node has found out about endpoints by connecting to them. */
export interface EndpointReadings {
  /** False while the family of the endpoint is tried last. */
  readonly isFamilyHealthy: (endpointId: string, family: Family) => boolean
  /** True while the endpoint is left out after repeated failures (outlier detection). */
  readonly isEjected: (upstreamName: string, endpointId: string) => boolean
  /** Connections to the endpoint that are open now. */
  readonly activeConnections: (upstreamName: string, endpointId: string) => number
}

export interface Proxy {
  /** Binds the listeners of the mesh and follows their changes. Resolves when each address has been tried once. */
  start(): Promise<void>
  /** Every address that is to be bound, with what became of it. */
  readonly listeners: readonly ListenerAddressStatus[]
  /** The pods that are captured in their own network namespaces; absent where none can be. */
  readonly pods: PodSet | undefined
  readonly connectionCount: number
  readonly descriptorUse: DescriptorUse
  /** How many workers have died and been started again; 0 without workers. */
  readonly workerRestarts: number
  /** How many endpoints have a family unhealthy now. */
  unhealthyEndpoints(): Readonly<Record<Family, number>>
  /** The live connections as they are now, oldest first. */
  connections(): Promise<readonly ConnectionRecord[]>
  /** What is known of endpoints now. */
  endpoints(): Promise<EndpointReadings>
  /** Closes the listeners for good. Live connections go on. Idempotent. */
  stopAccepting(): Promise<void>
  /** Resolves when no connection is left, at once if there is none. */
  whenIdle(): Promise<void>
  /** Ends every live connection for a reason. */
  closeConnections(reason: CloseReason): void
  /** Ends everything; resolves when no socket and no timer is left. Idempotent. */
  close(): Promise<void>
}
