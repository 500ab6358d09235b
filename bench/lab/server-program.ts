/** The applications of the lab: the server program in its namespace, and what it has seen. */
import { LineProcess } from './line-process.ts'
import { ANY_ADDRESS } from '../../test/fixtures/loopback.ts'

import type { Family } from '../../src/core/family.ts'
import type { ServiceName } from './services.ts'

/** What the applications have counted since they were started. */
export interface ServerCounts {
  /** By the monotonic clock of the machine. */
  readonly atNs: number
  readonly accepted: number
  readonly open: number
  readonly receivedBytes: number
}

/** One address to listen on. */
export interface ServiceAddress {
  readonly service: ServiceName
  readonly family: Family
  readonly port: number
}

/** The arguments of the server program. */
export function serverArguments(addresses: readonly ServiceAddress[]): readonly string[] {
  return addresses.flatMap(({ service, family, port }) => [service, ANY_ADDRESS[family], String(port)])
}

export class ServerProgram {
  readonly #process: LineProcess

  private constructor(process: LineProcess) {
    this.#process = process
  }

  /** Starts it; resolves when it listens everywhere. */
  static async start(commandLine: readonly [string, ...string[]]): Promise<ServerProgram> {
    return new ServerProgram(await LineProcess.start('server', commandLine))
  }

  async counts(): Promise<ServerCounts> {
    return decodeCounts(await this.#process.ask('counts'))
  }

  /** Ends it; resolves when it is gone. Idempotent. */
  async close(): Promise<void> {
    await this.#process.close()
  }
}

/** server.c and this file are one: what it prints has this form. */
function decodeCounts(value: unknown): ServerCounts {
  return value as ServerCounts
}
