/** Chooses the engine that carries connections, and says once what it cannot do. */
import { loadLinuxEngine } from './linux-engine.ts'
import { loadNodeEngine } from './node-engine.ts'

import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Capability } from '../../proxy/transport.ts'
import type { Engine } from './engine.ts'
import type { EngineChoice } from '../settings/settings-schema.ts'

export type EngineResult =
  | {
      readonly ok: true
      readonly engine: Engine
      /** Why it is not the one that is preferred. */
      readonly warning?: string
    }
  | { readonly ok: false; readonly reason: string }

/**
 * The engine of a choice. `auto` is always possible: the Linux engine where it loads, else the portable one.
 *
 * @param loadLinux loads the Linux engine
 */
export async function chooseEngine(
  deps: { readonly clock: Clock },
  choice: EngineChoice,
  loadLinux = loadLinuxEngine,
): Promise<EngineResult> {
  if (choice === 'node') return { ok: true, engine: await loadNodeEngine(deps) }
  const linux = await loadLinux()
  if (linux.ok) return linux
  if (choice === 'linux')
    return { ok: false, reason: `TWINSTACK_ENGINE=linux is not possible: ${linux.reason}` }
  return {
    ok: true,
    engine: await loadNodeEngine(deps),
    warning: `the Linux engine is not possible (${linux.reason}); node carries the connections, which costs more`,
  }
}

/** What the engine that `auto` chooses can do. */
export async function autoCapabilities(deps: { readonly clock: Clock }): Promise<Engine['capabilities']> {
  const chosen = await chooseEngine(deps, 'auto')
  if (!chosen.ok) throw new TypeError(chosen.reason)
  return chosen.engine.capabilities
}

/** Names everything that the engine cannot do, one line each. A listener that needs one of them is refused. */
export function logEngine(logger: Logger, { engine, capabilities }: Engine): void {
  logger.log('info', `connections are carried by the ${engine} engine`)
  const all: Readonly<Record<string, Capability>> = { ...capabilities }
  for (const [name, capability] of Object.entries(all)) {
    if (!capability.isAvailable) logger.log('info', `not available: ${name} (${capability.reason})`)
  }
}
