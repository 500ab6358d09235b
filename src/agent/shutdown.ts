/**
 * How the agent ends (rule 13): listeners close, connections have until the deadline, what is left gets FIN, and the log
 * says how many that were and whose. A second request ends everything at once.
 */
import { Drain } from '../core/drain.ts'

import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { ConnectionRecord } from '../proxy/connection-record.ts'

/** What a shutdown ends. */
export interface Drainable {
  stopAccepting(): Promise<void>
  whenIdle(): Promise<void>
  closeConnections(reason: 'drained'): void
  connections(): Promise<readonly ConnectionRecord[]>
}

/** How many workloads or upstreams the log names when connections are cut. */
const NAMED_AT_MOST = 20
/** FIN is sent to what is left, and then nobody waits for an answer any longer than this. */
const FIN_GRACE_MS = 2_000

export interface ShutdownDeps {
  readonly target: Drainable
  readonly clock: Clock
  readonly logger: Logger
}

export class Shutdown {
  readonly #deps: ShutdownDeps
  readonly #deadlineMs: number
  readonly #drain = new Drain()
  #done: Promise<void> | undefined

  /** @param options.deadlineMs how long connections may go on after the request */
  constructor(deps: ShutdownDeps, options: { readonly deadlineMs: number }) {
    this.#deps = deps
    this.#deadlineMs = options.deadlineMs
  }

  /** True from the first request on: the agent is not ready any more. */
  get isDraining(): boolean {
    return this.#drain.mode !== undefined
  }

  /**
   * Asks the agent to end, `source` says who did. The first request drains, the second ends at once. Resolves when the
   * connections are gone.
   */
  request(source: string): Promise<void> {
    if (this.#done === undefined) {
      this.#deps.logger.log('info', `${source}: draining for at most ${this.#deadlineMs / 1_000} s`)
      this.#drain.begin('graceful')
      this.#done = this.#run()
    } else {
      this.#deps.logger.log('warn', `${source}: ending at once`)
      this.#drain.begin('immediate')
    }
    return this.#done
  }

  async #run(): Promise<void> {
    const { target, clock, logger } = this.#deps
    await target.stopAccepting()
    await this.#untilIdleOr((expired) => {
      const deadline = clock.setTimer(this.#deadlineMs, expired)
      const unwatch = this.#drain.watch(expired)
      // The second request can come while the listeners are being closed.
      if (this.#drain.mode === 'immediate') expired()
      return () => {
        deadline.cancel()
        unwatch()
      }
    })
    const connections = await target.connections()
    if (connections.length === 0) {
      logger.log('info', 'every connection has ended')
      return
    }
    logger.log(
      'warn',
      `${connections.length} connections are left and get FIN: ${describeOwners(connections)}`,
    )
    target.closeConnections('drained')
    await this.#untilIdleOr((expired) => {
      const grace = clock.setTimer(FIN_GRACE_MS, expired)
      return () => {
        grace.cancel()
      }
    })
  }

  async #untilIdleOr(arm: (expired: () => void) => () => void): Promise<void> {
    let disarm = (): void => undefined
    const expired = new Promise<void>((resolve) => {
      disarm = arm(resolve)
    })
    await Promise.race([this.#deps.target.whenIdle(), expired])
    disarm()
  }
}

/** `3 of default/sleep, 1 of outbound|9000||…`: by workload where one is known, else by upstream. */
function describeOwners(connections: readonly ConnectionRecord[]): string {
  const counts = new Map<string, number>()
  for (const { labels, upstream, listener } of connections) {
    const workload = labels.source ?? upstream?.endpoint?.workload
    const owner =
      workload === undefined ? (upstream?.name ?? listener) : `${workload.namespace}/${workload.name}`
    counts.set(owner, (counts.get(owner) ?? 0) + 1)
  }
  const owners = [...counts].sort(([, a], [, b]) => b - a)
  const named = owners.slice(0, NAMED_AT_MOST).map(([owner, count]) => `${count} of ${owner}`)
  const others = owners.length - named.length
  return others > 0 ? `${named.join(', ')} and ${others} more` : named.join(', ')
}
