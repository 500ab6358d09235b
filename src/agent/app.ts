/**
 * The composition root: builds every part of a running agent from a configuration, starts them in order, and ends them
 * in reverse. The only place that knows all of them.
 */
import { systemRandom } from '../core/random.ts'
import { ZdsClient } from '../zds-client/zds-client.ts'
import { AccessLogWriter, openAccessLogSink } from './access-log/access-log.ts'
import { AdminViews } from './admin/admin-views.ts'
import { combineObservers } from './access-log/connection-observers.ts'
import { DataPlane } from './data-plane.ts'
import { Metrics } from './metrics/metrics.ts'
import { OperatorPorts } from './admin/operator-ports.ts'
import { PodFamilyWatch } from './pod-family-watch.ts'
import { ProcessStats } from './metrics/process-stats.ts'
import { RecordCollector } from './access-log/record-collector.ts'
import { Readiness, connectionLimitCheck, podsCheck, requiredFamiliesCheck } from './admin/readiness.ts'
import { Shutdown } from './shutdown.ts'
import { VERSION } from './version.ts'
import { WorkloadMetrics } from './metrics/workload-metrics.ts'

import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { ConnectionObserver } from '../proxy/connection-record.ts'
import type { ListenerAddressStatus } from '../proxy/listener-set.ts'
import type { Proxy } from '../proxy/proxy.ts'
import type { Configuration } from './configuration.ts'
import type { Settings } from './settings/settings.ts'

/** A running agent. */
export interface App {
  readonly proxy: Proxy
  /** Asks the agent to drain and end, see Shutdown; resolves when the connections are gone. */
  stop(source: string): Promise<void>
  /** Resolves when a stop has ended, whoever asked for it. */
  readonly stopped: Promise<void>
  /** Opens the files of access logs again, after a rotation. */
  reopenLogs(): void
  /** Ends everything at once; resolves when no socket and no timer is left. Idempotent. */
  close(): Promise<void>
}

export interface AppDeps {
  readonly clock: Clock
  /** Told of every connection beside metrics and access log; needs an engine without workers. */
  readonly observer?: ConnectionObserver
}

/** Starts an agent. Resolves when every listener has been tried once and the operator's ports are open. */
export async function startApp(deps: AppDeps, configuration: Configuration): Promise<App> {
  const { clock } = deps
  const { settings, logger, engine, store, mesh, feed } = configuration
  const processStats = new ProcessStats()
  const accessLog = new AccessLogWriter(
    { clock, logger, open: openAccessLogSink },
    { target: settings.accessLog, format: settings.logFormat },
  )
  const workloadMetrics = new WorkloadMetrics({
    clock,
    hasWorkload: (uid) => store.snapshot.workload.has(uid),
  })
  const records = new RecordCollector({ clock, workloads: workloadMetrics, log: accessLog })
  const observer = combineObservers(accessLog, ...(deps.observer === undefined ? [] : [deps.observer]))
  const dataPlane = new DataPlane(
    {
      clock,
      logger,
      engine,
      store,
      records,
      observer,
      ...(feed.discovery !== undefined && { discovery: feed.discovery }),
    },
    settings,
    mesh,
  )
  const { proxy } = dataPlane
  const zds = zdsClientOf({ clock, logger }, dataPlane, settings)
  const podFamilies = podFamilyWatchOf({ clock, logger }, proxy, settings)
  const metrics = createMetrics(configuration, {
    dataPlane,
    zds,
    records,
    workloads: workloadMetrics,
    process: processStats,
    accessLog,
  })
  const shutdown = new Shutdown({ target: proxy, clock, logger }, { deadlineMs: settings.drainDeadlineMs })
  const { promise: stopped, resolve: finish } = deferred()
  const stop = (requester: string): Promise<void> => shutdown.request(requester).then(finish)
  const readiness = createReadiness(settings, {
    proxy,
    zds,
    ownPorts: () => ports.statuses,
    isDraining: () => shutdown.isDraining,
  })
  const starting = readiness.begin('proxy')
  const configuring = readiness.begin('configuration')
  const views = new AdminViews({ clock, store, proxy, feed }, { settings, mesh, version: VERSION })
  const ports: OperatorPorts = new OperatorPorts(
    {
      clock,
      logger,
      admin: {
        logger,
        configDump: () => views.configDump(),
        clusters: () => views.clusters(),
        shutdown: () => void stop('POST /quitquitquit'),
        drainListeners: () => proxy.stopAccepting(),
      },
      scrape: () => metrics.scrape(),
      readiness,
      listeners: () => proxy.listeners,
      pods: () => proxy.pods?.statuses,
    },
    settings,
  )
  const stopWatching = store.watch((change) => {
    const changed = change.get('workload')
    if (changed !== undefined) workloadMetrics.workloadsChanged(changed)
  })

  feed.start()
  await ports.start()
  await feed.firstState
  configuring()
  await dataPlane.start()
  // Pods are taken in when connections can be judged: until then another agent goes on serving them.
  zds?.start()
  podFamilies?.start()
  starting()
  return {
    proxy,
    stopped,
    stop,
    reopenLogs: () => {
      accessLog.reopen()
    },
    close: async () => {
      await feed.close()
      stopWatching()
      zds?.close()
      podFamilies?.close()
      await dataPlane.close()
      await ports.close()
      await accessLog.close()
      processStats.close()
    },
  }
}

/** What is counted and read at a scrape, wherever it comes from. */
function createMetrics(
  { settings, engine, feed }: Configuration,
  parts: {
    readonly dataPlane: DataPlane
    readonly zds: ZdsClient | undefined
    readonly records: RecordCollector
    readonly workloads: WorkloadMetrics
    readonly process: ProcessStats
    readonly accessLog: AccessLogWriter
  },
): Metrics {
  const { dataPlane, zds, records, workloads, process, accessLog } = parts
  const { proxy, totals } = dataPlane
  return new Metrics(
    {
      totals,
      refresh: () => records.refresh(),
      workloads,
      unhealthyEndpoints: () => proxy.unhealthyEndpoints(),
      source: () => feed.read(),
      pods: () => {
        const { pods } = proxy
        if (zds === undefined || pods === undefined) return undefined
        return { counts: pods.counts, statuses: pods.statuses, zds: zds.status }
      },
      process,
      engine,
      workerRestarts: () => proxy.workerRestarts,
      droppedLogLines: () => accessLog.droppedLines,
    },
    {
      version: VERSION,
      families: settings.families,
      plaintextPermitted: settings.allowPlaintext.length > 0,
    },
  )
}

/** What the agent has to have to be given traffic. */
function createReadiness(
  { requiredFamilies }: Settings,
  parts: {
    readonly proxy: Proxy
    readonly zds: ZdsClient | undefined
    readonly ownPorts: () => readonly ListenerAddressStatus[]
    readonly isDraining: () => boolean
  },
): Readiness {
  const { proxy, zds, ownPorts, isDraining } = parts
  return new Readiness([
    connectionLimitCheck(() => proxy.descriptorUse),
    // Whether a pod has a family is nobody else's concern: what counts is the node, where the agent's own ports are.
    requiredFamiliesCheck(requiredFamilies, zds === undefined ? () => proxy.listeners : ownPorts),
    podsCheck(() => zds?.status),
    () => (isDraining() ? [{ name: 'draining', detail: 'the agent was asked to end' }] : []),
  ])
}

/** Only where both families are asked for: elsewhere a pod may have what it has. */
function podFamilyWatchOf(
  deps: { readonly clock: Clock; readonly logger: Logger },
  { pods }: Proxy,
  { dualStack }: Settings,
): PodFamilyWatch | undefined {
  if (pods === undefined || dualStack.mode !== 'on') return undefined
  return new PodFamilyWatch({ ...deps, pods: () => pods.statuses })
}

/** The connection to istio-cni; `undefined` where no pods are captured in their network namespaces. */
function zdsClientOf(
  deps: { readonly clock: Clock; readonly logger: Logger },
  { zdsTransport, proxy }: DataPlane,
  { podCapture }: Settings,
): ZdsClient | undefined {
  if (zdsTransport === undefined || proxy.pods === undefined || podCapture === undefined) return undefined
  return new ZdsClient(
    { ...deps, random: systemRandom, transport: zdsTransport, sink: proxy.pods },
    { path: podCapture.socketPath },
  )
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
