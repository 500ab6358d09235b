/** Chooses the engine that carries connections, and says once what it cannot do. */
import { NodeTransport } from '../proxy/node/node-transport.ts'
import { loadOriginalDestination } from '../proxy/linux/original-destination.ts'

import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Capability, Transport } from '../proxy/transport.ts'

/** The portable engine, with original destinations where this platform has them. */
export async function createEngine(deps: { readonly clock: Clock }): Promise<Transport> {
  return new NodeTransport({ ...deps, originalDestination: await loadOriginalDestination(process.platform) })
}

/** Names everything that the engine cannot do, one line each. A listener that needs one of them is refused. */
export function logEngine(logger: Logger, transport: Transport): void {
  logger.log('info', `connections are carried by the ${transport.engine} engine`)
  const capabilities: Readonly<Record<string, Capability>> = { ...transport.capabilities }
  for (const [name, capability] of Object.entries(capabilities)) {
    if (!capability.isAvailable) logger.log('info', `not available: ${name} (${capability.reason})`)
  }
}
