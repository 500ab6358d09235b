/** One proxy, one server and one load process on loopback, and the services that connect them. */
import path from 'node:path'

import { LOOPBACK } from '../../test/fixtures/loopback.ts'
import { findFreePorts } from './ports.ts'
import { ProxyProcess } from './proxy-process.ts'
import { RoleProcess } from './role-process.ts'

import type { Family } from '../../src/core/family.ts'
import type { Target } from '../roles/load-runs.ts'
import type { LoadMethods } from '../roles/load.ts'
import type { ServerMethods, ServiceBehaviour } from '../roles/server.ts'
import type { MeshService } from './mesh-config.ts'
import type { ProxyProcessOptions } from './proxy-process.ts'

/** How clients reach an application: straight, which is the control, or through the proxy. */
export type Via = 'direct' | 'proxy'

/** A service to set up. */
export interface LabService {
  readonly name: string
  readonly behaviour: ServiceBehaviour
  /** Families that the application listens on; the mesh says both all the same. Default: all of the machine. */
  readonly boundFamilies?: readonly Family[]
}

export interface LabOptions extends ProxyProcessOptions {
  /** Families of this machine. */
  readonly families: readonly Family[]
}

/** Admin, metrics, readiness. */
const OPERATOR_PORTS = 3

const ROLES_FOLDER = path.join(import.meta.dirname, '../roles')

/** The services of most measures, one per behaviour and named like it. */
export const STANDARD_SERVICES: readonly LabService[] = (
  ['sink', 'source', 'echo', 'transfer'] satisfies readonly ServiceBehaviour[]
).map((behaviour) => ({ name: behaviour, behaviour }))

export class Lab {
  readonly families: readonly Family[]
  readonly server: RoleProcess<ServerMethods>
  readonly load: RoleProcess<LoadMethods>
  readonly proxy: ProxyProcess
  readonly #services: ReadonlyMap<string, MeshService>

  private constructor(
    parts: Pick<Lab, 'families' | 'server' | 'load' | 'proxy'>,
    services: readonly MeshService[],
  ) {
    this.families = parts.families
    this.server = parts.server
    this.load = parts.load
    this.proxy = parts.proxy
    this.#services = new Map(services.map((service) => [service.name, service]))
  }

  /** Starts the three processes; resolves when every service is reachable. The caller closes the lab. */
  static async start(services: readonly LabService[], options: LabOptions): Promise<Lab> {
    const { families } = options
    const ports = await findFreePorts(2 * services.length + OPERATOR_PORTS, families)
    const portAt = (index: number): number => ports[index] ?? 0
    const placed = services.map((service, index) => ({
      ...service,
      appPort: portAt(2 * index),
      listenPort: portAt(2 * index + 1),
    }))
    const server = new RoleProcess<ServerMethods>({
      name: 'server',
      path: path.join(ROLES_FOLDER, 'server.js'),
    })
    const load = new RoleProcess<LoadMethods>({ name: 'load', path: path.join(ROLES_FOLDER, 'load.js') })
    try {
      await server.call(
        'listen',
        placed.flatMap(({ behaviour, appPort, boundFamilies = families }) =>
          boundFamilies.map((family) => ({ behaviour, host: LOOPBACK[family], port: appPort })),
        ),
      )
      const proxy = await ProxyProcess.start(
        { services: placed, families, operatorPorts: ports.slice(-OPERATOR_PORTS) },
        options,
      )
      return new Lab({ families, server, load, proxy }, placed)
    } catch (reason) {
      await Promise.all([server.close(), load.close()])
      throw reason
    }
  }

  /** Where clients of a family find a service. */
  target(name: string, family: Family, via: Via): Target {
    const service = this.#services.get(name)
    if (service === undefined) throw new TypeError(`the lab has no service ${name}`)
    return { host: LOOPBACK[family], port: via === 'direct' ? service.appPort : service.listenPort }
  }

  /** Ends the processes. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.load.close(), this.proxy.close(), this.server.close()])
  }
}

/** Runs `use` on a lab of its own and closes it, whatever happens. */
export async function withLab<Result>(
  services: readonly LabService[],
  options: LabOptions,
  use: (lab: Lab) => Promise<Result>,
): Promise<Result> {
  const lab = await Lab.start(services, options)
  try {
    return await use(lab)
  } finally {
    await lab.close()
  }
}
