/** What every agent of a bench is started with: ports of its own, and no log that costs anything. */

export interface AgentEnvironmentOptions {
  /** Value of TWINSTACK_ENGINE; linux when absent. */
  readonly engine?: string
  readonly workers: number
  readonly adminPort: number
  readonly metricsPort: number
  readonly readinessPort: number
  /** A file; off when absent. */
  readonly accessLog?: string
}

export function agentEnvironment(options: AgentEnvironmentOptions): Readonly<Record<string, string>> {
  return {
    TWINSTACK_ENGINE: options.engine ?? 'linux',
    TWINSTACK_WORKERS: String(options.workers),
    TWINSTACK_ADMIN_PORT: String(options.adminPort),
    TWINSTACK_METRICS_PORT: String(options.metricsPort),
    TWINSTACK_READINESS_PORT: String(options.readinessPort),
    TWINSTACK_ACCESS_LOG: options.accessLog ?? 'off',
    TWINSTACK_LOG_LEVEL: 'error',
  }
}
