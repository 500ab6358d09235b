/** `twinstack agent`: settings, mesh, app; then serve until asked to end. Reports every problem of a start at once. */
import { systemClock } from '../../core/clock.ts'
import { startApp } from '../app.ts'
import { loadConfiguration } from '../configuration.ts'

import type { CommandContext, Flags } from './command.ts'

/** Resolves with 0 after a drain, or when asked to end before anything was served; 1 when the agent could not start. */
export async function runAgent(context: CommandContext, flags: Flags): Promise<number> {
  let stop: (source: string) => void = () => undefined
  const endedEarly = new Promise<number>((resolve) => {
    stop = (source) => {
      context.stderr(`twinstack agent: ${source} during the start, nothing was served\n`)
      resolve(0)
    }
  })
  // Asked for before anything else: in a container the kernel drops a SIGTERM that nobody waits for.
  context.onStopRequest((source) => {
    stop(source)
  })
  const served = serve(context, flags, (callback) => {
    stop = callback
  })
  // A start that has been ended goes on until the process exits.
  return Promise.race([served, endedEarly])
}

async function serve(
  context: CommandContext,
  flags: Flags,
  onStopRequest: (callback: (source: string) => void) => void,
): Promise<number> {
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
  onStopRequest((source) => void app.stop(source))
  await app.stopped
  await app.close()
  return 0
}
