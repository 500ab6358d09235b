/**
 * The composition root: builds every part of a running agent from a configuration, starts them in order, and ends them
 * in reverse. The only place that knows all of them.
 */
import { combineObservers } from './connection-observers.ts'
import { DataPlane } from './data-plane.ts'
import { Metrics } from './metrics.ts'
import { ProcessStats } from './process-stats.ts'
import { Shutdown } from './shutdown.ts'
import { VERSION } from './version.ts'
import { WorkloadMetrics } from './workload-metrics.ts'

import type { Clock } from '../core/clock.ts'
import type { ConnectionObserver, ConnectionRecord } from '../proxy/connection-record.ts'
import type { Proxy } from '../proxy/proxy.ts'
import type { Configuration } from './configuration.ts'

/** A running agent. */
export interface App {
  readonly proxy: Proxy
  /** Asks the agent to drain and end, see Shutdown; resolves when the connections are gone. */
  stop(source: string): Promise<void>
  /** Resolves when a stop has ended, whoever asked for it. */
  readonly stopped: Promise<void>
  /** Ends everything at once; resolves when no socket and no timer is left. Idempotent. */
  close(): Promise<void>
}

export interface AppDeps {
  readonly clock: Clock
  /** Told of every connection beside metrics and access log. */
  readonly observer?: ConnectionObserver
}

/** Starts an agent. Resolves when every listener has been tried once and the operator's ports are open. */
export async function startApp(deps: AppDeps, configuration: Configuration): Promise<App> {
  const { clock } = deps
  const { settings, logger, transport, store, sourceStatus, mesh, source } = configuration
  const processStats = new ProcessStats()
  const workloadMetrics = new WorkloadMetrics({
    clock,
    liveConnections: (): readonly ConnectionRecord[] => dataPlane.proxy.connections,
  })
  const observers = [workloadMetrics, ...(deps.observer === undefined ? [] : [deps.observer])]
  const dataPlane: DataPlane = new DataPlane(
    { clock, logger, transport, store, observer: combineObservers(...observers) },
    settings,
    mesh,
  )
  const { proxy, stats } = dataPlane
  const metrics = new Metrics(
    {
      stats,
      foldStats: () => {
        proxy.foldStats()
      },
      workloads: workloadMetrics,
      unhealthyEndpoints: () => proxy.health.unhealthyCount(clock.nowMs()),
      source: () => sourceStatus.read(),
      process: processStats,
      droppedLogLines: () => 0,
    },
    { version: VERSION, families: settings.families },
  )
  void metrics
  const shutdown = new Shutdown({ target: proxy, clock, logger }, { deadlineMs: settings.drainDeadlineMs })
  let finished = (): void => undefined
  const stopped = new Promise<void>((resolve) => {
    finished = resolve
  })

  if (source === undefined) store.apply(mesh.resources)
  else source.start(mesh)
  await dataPlane.start()
  return {
    proxy,
    stopped,
    stop: (requester) => shutdown.request(requester).then(finished),
    close: async () => {
      source?.close()
      await dataPlane.close()
      processStats.close()
    },
  }
}
