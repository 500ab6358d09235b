/** The place where every proxy is measured: three namespaces, the applications, and clients to start. */
import { FAMILIES } from '../../src/core/family.ts'
import { ClientRun } from './client-run.ts'
import { LineProcess } from './line-process.ts'
import { buildLoadPrograms } from './load-programs.ts'
import { Namespaces, NODE_ADDRESS, SERVER_ADDRESS } from './namespaces.ts'
import { ServerProgram, serverArguments } from './server-program.ts'
import { SERVICE_NAMES, SERVICE_PORTS } from './services.ts'

import type { Family } from '../../src/core/family.ts'
import type { LoadName } from './client-run.ts'
import type { LoadPrograms } from './load-programs.ts'
import type { ServiceAddress } from './server-program.ts'
import type { ServiceName } from './services.ts'

/** A load to start. */
export interface LoadPlan {
  readonly load: LoadName
  readonly service: ServiceName
  readonly family: Family
  /** How many connections; those of one client where there are several. */
  readonly count: number
  /** What `rate` and `slow` need beside. */
  readonly number?: number
}

/** Ports of the node that one proxy may use. */
export interface PortRange {
  readonly first: number
  /** Gives them back. Idempotent. */
  release(): void
}

/** Below the ports that the node's kernel gives to outgoing connections. */
const FIRST_PROXY_PORT = 10_000
const PORTS_PER_PROXY = 100

export class Lab {
  readonly namespaces: Namespaces
  readonly server: ServerProgram
  readonly #programs: LoadPrograms
  readonly #takenPorts = new Set<number>()

  private constructor(parts: { namespaces: Namespaces; server: ServerProgram; programs: LoadPrograms }) {
    this.namespaces = parts.namespaces
    this.server = parts.server
    this.#programs = parts.programs
  }

  /** Builds all of it; resolves when every application listens. The caller closes the lab. */
  static async start(): Promise<Lab> {
    const programs = await buildLoadPrograms()
    let namespaces: Namespaces | undefined
    try {
      namespaces = await Namespaces.create()
      const server = await ServerProgram.start(
        namespaces.within('server', programs.serverPath, serverArguments(everyService())),
      )
      return new Lab({ namespaces, server, programs })
    } catch (reason) {
      await namespaces?.close()
      await programs.close()
      throw reason
    }
  }

  /** Takes ports that no other proxy of the lab has now. */
  takePorts(): PortRange {
    let first = FIRST_PROXY_PORT
    while (this.#takenPorts.has(first)) first += PORTS_PER_PROXY
    this.#takenPorts.add(first)
    return { first, release: () => this.#takenPorts.delete(first) }
  }

  /** Starts a load towards an application; resolves when it is up. The caller stops it. */
  startClient({ load, service, family, count, number }: LoadPlan): Promise<ClientRun> {
    return ClientRun.start(
      this.#clientCommand(load, SERVER_ADDRESS[family], SERVICE_PORTS[service], count, number),
    )
  }

  /** Microseconds from connect to the answer of `count` connections, one after the other. */
  async timeConnections(
    address: 'server' | 'node',
    family: Family,
    port: number,
    count: number,
  ): Promise<readonly number[]> {
    const host = address === 'server' ? SERVER_ADDRESS[family] : NODE_ADDRESS[family]
    const result = await this.#runClient(this.#clientCommand('times', host, port, count))
    return (result as { readonly latenciesUs: readonly number[] }).latenciesUs
  }

  /** Seconds that `bytes` each way take over one connection. Rejects with the first byte that is not as it was sent. */
  async transfer(family: Family, bytes: number): Promise<number> {
    const command = this.#clientCommand('transfer', SERVER_ADDRESS[family], SERVICE_PORTS.transfer, 1, bytes)
    const result = await this.#runClient(command)
    return (result as { readonly seconds: number }).seconds
  }

  /** Starts applications beside the standard ones. The caller closes them. */
  startServer(addresses: readonly ServiceAddress[]): Promise<ServerProgram> {
    const { serverPath } = this.#programs
    return ServerProgram.start(this.namespaces.within('server', serverPath, serverArguments(addresses)))
  }

  /** Ends everything in the lab. Idempotent; clients and proxies are their starters'. */
  async close(): Promise<void> {
    await this.server.close()
    await this.namespaces.close()
    await this.#programs.close()
  }

  async #runClient(command: readonly [string, ...string[]]): Promise<unknown> {
    const client = new LineProcess('client', command)
    try {
      return await client.next()
    } finally {
      await client.close()
    }
  }

  #clientCommand(
    load: string,
    host: string,
    port: number,
    ...numbers: readonly (number | undefined)[]
  ): readonly [string, ...string[]] {
    const given = numbers.filter((number) => number !== undefined)
    return this.namespaces.within('client', this.#programs.clientPath, [
      load,
      host,
      ...[port, ...given].map(String),
    ])
  }
}

function everyService(): readonly ServiceAddress[] {
  return FAMILIES.flatMap((family) =>
    SERVICE_NAMES.map((service) => ({ service, family, port: SERVICE_PORTS[service] })),
  )
}
