/** Ports of proxies that cannot take the original destination of a connection: one listener per service, fixed. */
import { FAMILIES } from '../../src/core/family.ts'
import { SERVER_ADDRESS } from '../lab/namespaces.ts'
import { SERVICE_NAMES, SERVICE_PORTS } from '../lab/services.ts'

import type { Family } from '../../src/core/family.ts'
import type { CapturePorts } from '../lab/redirection.ts'
import type { ServiceName } from '../lab/services.ts'

/** One listener with its only server. */
export interface FixedRoute {
  readonly service: ServiceName
  readonly family: Family
  readonly listenPort: number
  readonly serverAddress: string
  readonly serverPort: number
}

/** The port for each service, from `firstPort` on. */
export function fixedPorts(firstPort: number): CapturePorts {
  return { echo: firstPort, sink: firstPort + 1, source: firstPort + 2, transfer: firstPort + 3 }
}

/** Every service in both families. */
export function fixedRoutes(firstPort: number): readonly FixedRoute[] {
  const ports = fixedPorts(firstPort)
  return FAMILIES.flatMap((family) =>
    SERVICE_NAMES.map((service) => ({
      service,
      family,
      listenPort: ports[service],
      serverAddress: SERVER_ADDRESS[family],
      serverPort: SERVICE_PORTS[service],
    })),
  )
}
