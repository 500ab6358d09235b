/** What the bench has to know about a proxy to run it. One file beside this one per proxy. */
import type { ServiceName } from '../lab/services.ts'

/** A service on a port of the node, with one endpoint that has an address of each family. */
export interface StaticService {
  readonly name: string
  readonly listenPort: number
  readonly appPort: number
}

/** Where a proxy runs and what it is given. */
export interface ProxyPlace {
  /** A folder of its own for its files. */
  readonly folder: string
  /** The first of 100 ports on the node that nobody else uses. */
  readonly firstPort: number
  readonly workers: number
  /** Metrics are scraped and an access log is written. */
  readonly isObserved: boolean
  /** For proxies that know both families of an endpoint; beside what is redirected. */
  readonly staticServices: readonly StaticService[]
}

/** A program that is to be started in the node's namespace. */
export interface ProxyCommand {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Written into the folder before the start: text by file name. */
  readonly files: Readonly<Record<string, string>>
  /** The port that takes the connections to each service. */
  readonly capturePorts: Readonly<Record<ServiceName, number>>
  /** The port of its metrics, where it has one. */
  readonly metricsPort?: number
}

export interface ProxyProgram {
  /** Short, for columns and `--peers`. */
  readonly name: string
  /** Knows endpoints with an address of each family, and goes on to the other one when a connect fails. */
  readonly canFallBack: boolean
  /** Serves with as many threads as it is told; the others have one. */
  readonly hasWorkers: boolean
  /** With the version where it is known. */
  describe(): Promise<string>
  /** What is missing here, and where it comes from; `undefined` when it can run. */
  missing(): Promise<string | undefined>
  prepare(place: ProxyPlace): ProxyCommand
}
