/** One load under way: the client program and what it counts. */
import { LineProcess } from './line-process.ts'

/** The loads that go on until they are stopped; bench/load/client.c says what each does. */
export type LoadName = 'send' | 'receive' | 'requests' | 'connections' | 'rate' | 'hold' | 'slow'

/** What a client has counted since it was started; the latencies since the last `mark`. */
export interface ClientCounts {
  /** By the monotonic clock of the machine. */
  readonly atNs: number
  readonly completed: number
  readonly sentBytes: number
  readonly receivedBytes: number
  readonly errors: number
  readonly firstError: string
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
}

export class ClientRun {
  readonly #process: LineProcess

  private constructor(process: LineProcess) {
    this.#process = process
  }

  /** Starts a load; resolves when it is up. */
  static async start(commandLine: readonly [string, ...string[]]): Promise<ClientRun> {
    return new ClientRun(await LineProcess.start('client', commandLine))
  }

  /** Reads the counts, and begins anew with latencies. */
  async mark(): Promise<ClientCounts> {
    return decodeCounts(await this.#process.ask('mark'))
  }

  /** Of `hold`: asks on every connection and waits for all answers. */
  async askAll(): Promise<ClientCounts> {
    return decodeCounts(await this.#process.ask('ask'))
  }

  /** Reads the counts for the last time and resets every connection. */
  async stop(): Promise<ClientCounts> {
    const counts = decodeCounts(await this.#process.ask('stop'))
    await this.#process.close()
    return counts
  }

  /** Ends the client without asking. Idempotent. */
  async close(): Promise<void> {
    await this.#process.close()
  }
}

/** client.c and this file are one: what it prints has this form. */
function decodeCounts(value: unknown): ClientCounts {
  return value as ClientCounts
}
