/** `twinstack agent`: settings, mesh, app; then serve until asked to end. Reports every problem of a start at once. */
import { systemClock } from '../../core/clock.ts'
import { startApp } from '../app.ts'
import { loadConfiguration } from '../configuration.ts'

import type { CommandContext, Flags } from './command.ts'

/** Resolves with 0 after a drain, 1 when the agent could not start. */
export async function runAgent(context: CommandContext, flags: Flags): Promise<number> {
  const configuration = await loadConfiguration({ clock: systemClock }, { env: context.env, flags })
  if (!configuration.ok) {
    for (const line of configuration.errors) context.stderr(`${line}\n`)
    context.stderr(`twinstack agent: not started, problems: ${configuration.errors.length}\n`)
    return 1
  }
  const app = await startApp({ clock: systemClock }, configuration.value)
  context.onReopenRequest(() => {
    app.reopenLogs()
  })
  await new Promise<void>((resolve) => {
    context.onStopRequest((source) => {
      void app.stop(source).then(resolve)
    })
    void app.stopped.then(resolve)
  })
  await app.close()
  return 0
}
