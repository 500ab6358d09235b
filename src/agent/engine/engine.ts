/** What carries connections: the seam between the agent and the two ways of doing it. */
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { Router } from '../../mesh/router.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { ConnectionOptions } from '../../proxy/connection-options.ts'
import type { ConnectionObserver } from '../../proxy/connection-record.ts'
import type { DescriptorBudget } from '../../proxy/descriptor-budget.ts'
import type { PodSetOptions } from '../../proxy/pods/pod-set.ts'
import type { Proxy } from '../../proxy/proxy.ts'
import type { Discovery } from '../../proxy/route-source.ts'
import type { ProxyTotals } from '../../proxy/proxy-totals.ts'
import type { Transport } from '../../proxy/transport.ts'
import type { ZdsTransport } from '../../zds-client/zds-transport.ts'
import type { AccessLogOptions } from '../access-log/access-log-printer.ts'
import type { RecordCollector } from '../access-log/record-collector.ts'

/** What carries connections, and what it can do on this machine. */
export interface Engine extends Pick<Transport, 'engine' | 'capabilities'> {
  createProxy(deps: EngineProxyDeps, options: EngineProxyOptions): EngineProxy
}

/** A proxy with what belongs to it. */
export interface EngineProxy {
  readonly proxy: Proxy
  /** The way to istio-cni, where the proxy captures pods in their network namespaces. */
  readonly zdsTransport?: ZdsTransport
  /** Ends every connection and sends what has been gathered about them. Idempotent. */
  close(): Promise<void>
}

export interface EngineProxyDeps {
  readonly store: MeshStore
  readonly router: Router
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly totals: ProxyTotals
  readonly descriptors: DescriptorBudget
  readonly records: RecordCollector
  /** Learns of addresses that the mesh does not know yet; absent where the mesh is known as a whole. */
  readonly discovery?: Discovery
  /**
   * Told of every connection by an engine that has them in this thread: the access log above all. One with workers
   * prints lines there and gives them to `records`.
   */
  readonly observer: ConnectionObserver
}

export interface EngineProxyOptions {
  readonly connections: ConnectionOptions
  /** Threads, where the engine has any. */
  readonly workers: number
  /** What captured pods listen on; absent where none are captured. Needs the capability `networkNamespaces`. */
  readonly pods?: Pick<PodSetOptions, 'listeners' | 'reusePort'>
  /** How lines are printed where the connections are. */
  readonly accessLog: AccessLogOptions
}
