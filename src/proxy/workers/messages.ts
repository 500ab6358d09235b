/**
 * Everything that crosses between the main thread and a worker. All of it can be cloned structurally, and each direction
 * arrives in the order in which it was sent.
 */
import type { SocketAddress } from '../../core/address.ts'
import type { LogFields, LogLevel } from '../../core/logger.ts'
import type { Listener, TrafficDirection } from '../../mesh/listener.ts'
import type { CloseReason } from '../close-reason.ts'
import type { ConnectionOptions } from '../connection-options.ts'
import type { ConnectionRecord } from '../connection-record.ts'
import type { LiveFacts } from '../connections.ts'
import type { HealthChange } from '../endpoint-health.ts'
import type { PodMessage, PodReleased } from '../pods/pod-messages.ts'
import type { RecordMessage, RecordRequest } from '../record-batch.ts'
import type { CrossingFacts, PlanRequest, PlanUpdate } from './plan-messages.ts'

/** What a worker is born with. */
export interface WorkerInit {
  /** Its place among the workers, from 0. One that takes the place of a dead one has the same. */
  readonly worker: number
  /** How many workers there are. */
  readonly workers: number
  /** The id of its first connection. */
  readonly firstConnectionId: number
  readonly options: ConnectionOptions
  readonly descriptorLimit: number
  readonly shared: SharedMemory
}

/** Memory that all threads look at. Each array or row has one writer. */
export interface SharedMemory {
  /** The counters of this worker, see ProxyTotals.open. */
  readonly stats: SharedArrayBuffer
  /** The source addresses of upstream connections, by worker, see UpstreamEnds. */
  readonly upstreamEnds: readonly SharedArrayBuffer[]
  /** See ConnectionSlots. */
  readonly slots: SharedArrayBuffer
  /** See ConnectionCounts. */
  readonly counts: SharedArrayBuffer
}

/** One listening socket as a worker gets it; the main thread owns the descriptor. */
export interface CrossingSocket {
  readonly id: number
  readonly fd: number
  /** Without its filter chains: those are the router's matter. */
  readonly listener: Listener
  /** Where the counters have the listener, see ListenerLedger. */
  readonly entry: number
}

/** From the main thread to a worker. */
export type ToWorker =
  | { readonly kind: 'listen'; readonly socket: CrossingSocket }
  /** The answer is `unlistened`; then the descriptor may be closed. */
  | { readonly kind: 'unlisten'; readonly socket: number }
  /** A listener has changed and keeps its sockets. */
  | { readonly kind: 'listener'; readonly listener: Listener }
  | PodMessage
  | { readonly kind: 'plans'; readonly update: PlanUpdate }
  /** What others have learnt about families of endpoints. */
  | { readonly kind: 'health'; readonly changes: readonly HealthChange[] }
  /** Where the proxy listens now. */
  | { readonly kind: 'own-addresses'; readonly addresses: readonly SocketAddress[] }
  | { readonly kind: 'close'; readonly ids: readonly number[]; readonly reason: CloseReason }
  | { readonly kind: 'close-all'; readonly reason: CloseReason }
  /** Policies may have changed: the answer is `live`. */
  | { readonly kind: 'recheck'; readonly directions: readonly TrafficDirection[] }
  /** The answer is `told` with the same number. */
  | { readonly kind: 'tell'; readonly request: number; readonly what: Told['what'] }
  | RecordRequest
  /** Ends the thread; what is still open is reset. */
  | { readonly kind: 'stop' }

/** From a worker to the main thread. */
export type FromWorker =
  /** It has begun to take messages. */
  | { readonly kind: 'started' }
  | { readonly kind: 'unlistened'; readonly socket: number }
  | PodReleased
  | { readonly kind: 'routes'; readonly requests: readonly PlanRequest[] }
  | { readonly kind: 'health'; readonly changes: readonly HealthChange[] }
  /** Live connections of the directions that were asked for, some at a time. */
  | { readonly kind: 'live'; readonly connections: readonly CrossingConnection[] }
  | { readonly kind: 'told'; readonly request: number; readonly told: Told }
  | RecordMessage
  | {
      readonly kind: 'log'
      readonly level: LogLevel
      readonly message: string
      readonly fields?: LogFields
    }

export interface CrossingConnection extends Omit<LiveFacts, 'facts'> {
  readonly facts: CrossingFacts
}

/** What a worker tells when it is asked. */
export type Told =
  | { readonly what: 'records'; readonly records: readonly ConnectionRecord[] }
  | { readonly what: 'endpoints'; readonly endpoints: readonly EndpointUse[] }
  /** Told when no connection is left, however long that takes. */
  | { readonly what: 'idle' }

/** An endpoint of an upstream in one worker. Endpoints without anything to say are left out. */
export interface EndpointUse {
  readonly upstream: string
  readonly endpointId: string
  readonly active: number
  readonly isEjected: boolean
}
