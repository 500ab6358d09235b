/** `twinstack demo`: the embedded mesh, its table, and the agent left running until it is stopped. */
import { systemClock } from '../../core/clock.ts'
import { FAMILIES } from '../../core/family.ts'
import { startApp } from '../app.ts'
import { loadConfiguration } from '../configuration.ts'
import { DEMO_CONFIG_PATH, renderDemoTable, runDemoCalls, startDemoApps } from '../demo/demo.ts'

import type { ConnectionRecord } from '../../proxy/connection-record.ts'
import type { App } from '../app.ts'
import type { CommandContext, Flags } from './command.ts'

/** Resolves with 0 when every line of the table is as expected. With `once` it ends then, else when it is stopped. */
export async function runDemo(context: CommandContext, flags: Flags): Promise<number> {
  // The demo is quiet and single, whatever the shell has set for an agent.
  const env = {
    TWINSTACK_CONFIG: DEMO_CONFIG_PATH,
    TWINSTACK_ACCESS_LOG: 'off',
    TWINSTACK_LOG_LEVEL: 'error',
    // The table is made of what the connections say, so they have to be in this thread.
    TWINSTACK_ENGINE: 'node',
  }
  const configuration = await loadConfiguration(
    { clock: systemClock },
    { env: { ...env, ...portsOf(context) } },
  )
  if (!configuration.ok) throw new Error(configuration.errors.join('\n'))
  const { settings } = configuration.value
  const apps = await startDemoApps()
  const records = new Map<string, ConnectionRecord>()
  const keep = (record: ConnectionRecord): void => {
    records.set(keyOf(record.listener, record.client.port), record)
  }
  const app = await startApp(
    { clock: systemClock, observer: { connected: keep, closed: keep } },
    configuration.value,
  )
  try {
    const rows = await runDemoCalls(apps.families, (listener, port) => records.get(keyOf(listener, port)))
    context.stdout(`${renderDemoTable(rows)}\n\n`)
    for (const line of unboundListeners(app)) context.stdout(`${line}\n`)
    const missing = FAMILIES.filter((family) => !apps.families.includes(family))
    if (missing.length > 0) context.stdout(`this machine has no ${missing.join()}: its lines are left out\n`)
    const unexpected = rows.filter(({ isAsExpected }) => !isAsExpected).length
    if (flags['once'] === true) return unexpected === 0 ? 0 : 1
    const isStopped = new Promise<void>((resolve) => {
      context.onStopRequest(() => {
        resolve()
      })
    })
    context.stdout(`metrics: http://127.0.0.1:${settings.ports.metrics}/metrics; Ctrl-C ends the demo\n`)
    await isStopped
    return unexpected === 0 ? 0 : 1
  } finally {
    await app.close()
    await apps.close()
  }
}

/** Ports that the operator may move when the usual ones are taken. */
function portsOf({ env }: CommandContext): Readonly<Record<string, string>> {
  const names = [
    'TWINSTACK_ADMIN_PORT',
    'TWINSTACK_METRICS_PORT',
    'TWINSTACK_READINESS_PORT',
    'TWINSTACK_LOG_LEVEL',
  ]
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = env[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

function unboundListeners(app: App): readonly string[] {
  return app.proxy.listeners
    .filter(({ state }) => state === 'failed')
    .map(({ listener, reason }) => `listener ${listener} is not bound and tried again: ${reason}`)
}

function keyOf(listener: string, clientPort: number): string {
  return `${listener} ${clientPort}`
}
