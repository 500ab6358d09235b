/** The routes of the three HTTP servers: admin, metrics and readiness, with the paths and answers of ztunnel and Envoy. */
import { LOG_LEVELS } from '../logging.ts'
import { describeListener, describePods } from './readiness.ts'
import { logLevelOf } from '../settings/settings.ts'

import type { LogLevel } from '../../core/logger.ts'
import type { ListenerAddressStatus } from '../../proxy/listener-set.ts'
import type { HttpResponse, HttpRoute } from './http-server.ts'
import type { PodStatus } from '../../proxy/pods/pod-entry.ts'
import type { Scrape } from '../metrics/metrics.ts'
import type { Readiness } from './readiness.ts'

const JSON_TYPE = 'application/json; charset=utf-8'

export interface AdminDeps {
  /** The state of the agent as istioctl reads it. */
  readonly configDump: () => Promise<unknown>
  /** envoy.admin.v3.Clusters. */
  readonly clusters: () => Promise<unknown>
  /** Asks the agent to drain and end. */
  readonly shutdown: () => void
  /** Stops accepting; live connections and the admin server go on. */
  readonly drainListeners: () => Promise<void>
  readonly logger: { readonly level: LogLevel; setLevel(level: LogLevel): void }
}

/** The routes of the admin server. `more` are listed with them; a route of its own wins over the list on `/`. */
export function adminRoutes(deps: AdminDeps, more: readonly HttpRoute[] = []): readonly HttpRoute[] {
  const initialLevel = deps.logger.level
  const routes: readonly HttpRoute[] = [
    {
      path: '/config_dump',
      method: 'GET',
      help: 'the configuration in force, as istioctl ztunnel-config and proxy-config read it',
      answer: async () => json(await deps.configDump()),
    },
    {
      path: '/clusters',
      method: 'GET',
      help: 'endpoints by cluster with their health per family (always JSON)',
      answer: async () => json(await deps.clusters()),
    },
    {
      path: '/logging',
      method: 'POST',
      help: 'tells the log level; ?level=error|warn|info|debug changes it, ?reset puts it back',
      answer: ({ query }) => changeLevel(deps, initialLevel, query),
    },
    {
      path: '/drain_listeners',
      method: 'POST',
      help: 'stops accepting connections for good; live ones go on',
      answer: async () => {
        await deps.drainListeners()
        return { body: 'OK\n' }
      },
    },
    {
      path: '/quitquitquit',
      method: 'POST',
      help: 'drains and ends the agent',
      answer: () => {
        deps.shutdown()
        return { body: 'shutdown now\n' }
      },
    },
    ...more,
  ]
  const list = (): HttpResponse => ({ body: renderList(routes) })
  const help = { path: '/help', method: 'GET', help: 'this list', answer: list } as const
  const isRootTaken = more.some(({ path }) => path === '/')
  return isRootTaken ? [...routes, help] : [...routes, help, { ...help, path: '/' }]
}

/** The routes of the metrics server. */
export function metricsRoutes(scrape: () => Promise<Scrape>): readonly HttpRoute[] {
  return ['/metrics', '/stats/prometheus'].map((path) => ({
    path,
    method: 'GET',
    help: 'metrics in the Prometheus text format',
    answer: async () => {
      const { contentType, text } = await scrape()
      return { contentType, body: text }
    },
  }))
}

export interface ReadinessDeps {
  readonly readiness: Readiness
  /** Every address that the agent listens on: the mesh's listeners and its own servers. */
  readonly listeners: () => readonly ListenerAddressStatus[]
  /** `undefined` where no pods are captured in their network namespaces. */
  readonly pods: () => readonly PodStatus[] | undefined
}

/** The routes of the readiness server. */
export function readinessRoutes({ readiness, listeners, pods }: ReadinessDeps): readonly HttpRoute[] {
  return [
    {
      path: '/healthz/ready',
      method: 'GET',
      help: '200 when ready, 500 with what is pending, as ztunnel',
      answer: () => {
        const names = [...new Set(readiness.reasons.map(({ name }) => name))]
        return names.length === 0
          ? { body: 'ready\n' }
          : { status: 500, body: `not ready, pending: ${names.join(', ')}\n` }
      },
    },
    {
      path: '/readyz',
      method: 'GET',
      help: 'the same with the reasons, and every listener with its state per family',
      answer: () => {
        const { reasons } = readiness
        const lines = [
          reasons.length === 0 ? 'ready' : 'not ready',
          ...reasons.map(({ name, detail }) => `  ${name}: ${detail}`),
          'listeners',
          ...listeners().map((status) => `  ${describeListener(status)}`),
          ...section('pods', describePodsOf(pods())),
        ]
        return { status: reasons.length === 0 ? 200 : 500, body: `${lines.join('\n')}\n` }
      },
    },
  ]
}

function describePodsOf(pods: readonly PodStatus[] | undefined): readonly string[] {
  return pods === undefined ? [] : describePods(pods)
}

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)]
}

function changeLevel({ logger }: AdminDeps, initialLevel: LogLevel, query: URLSearchParams): HttpResponse {
  const text = query.get('level')
  if (query.has('reset')) logger.setLevel(initialLevel)
  if (text !== null) {
    const level = logLevelOf(text)
    if (level === undefined) {
      return {
        status: 400,
        body: `invalid level '${text}': write ${LOG_LEVELS.join(', ')}; there are no levels per scope\n`,
      }
    }
    logger.setLevel(level)
  }
  return { body: `current log level is ${logger.level}\n` }
}

function renderList(routes: readonly HttpRoute[]): string {
  return routes.map(({ method, path, help }) => `${method.padEnd(4)} ${path.padEnd(18)} ${help}\n`).join('')
}

function json(value: unknown): HttpResponse {
  return { contentType: JSON_TYPE, body: `${JSON.stringify(value, undefined, 2)}\n` }
}
