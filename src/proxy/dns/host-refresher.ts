/**
 * Keeps the host names that the mesh mentions resolved: both families together, again and again, the last good answer
 * kept while a name does not resolve. Which of the addresses are used is the router's business.
 */
import { errorMessage } from '../../core/errors.ts'
import { hostnamesOf } from '../../mesh/hostnames.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { MeshStore } from '../../mesh/store.ts'

/** Looks a host name up. */
export interface HostResolver {
  /** All addresses of both families in the order of preference. Rejects when there is none or nobody answers. */
  resolve(hostname: string): Promise<readonly IpAddress[]>
}

export interface HostRefresherDeps {
  readonly store: MeshStore
  readonly resolver: HostResolver
  readonly clock: Clock
  readonly logger: Logger
}

interface Subscription {
  refreshMs: number
  timer: Timer | undefined
  /** The message of the last failure, so that a name that stays broken is logged once. */
  failure: string | undefined
}

export class HostRefresher {
  readonly #deps: HostRefresherDeps
  readonly #names = new Map<string, Subscription>()
  #stopWatching: (() => void) | undefined

  constructor(deps: HostRefresherDeps) {
    this.#deps = deps
  }

  /** Follows the names of the mesh from now on. Resolves when each of today's has been looked up once; never rejects. */
  async start(): Promise<void> {
    this.#stopWatching = this.#deps.store.watch((change) => {
      if (change.has('cluster') || change.has('assignment') || change.has('workload')) void this.#follow()
    })
    await this.#follow()
  }

  /** Stops; answers that are under way are dropped. Idempotent. */
  close(): void {
    this.#stopWatching?.()
    for (const { timer } of this.#names.values()) timer?.cancel()
    this.#names.clear()
  }

  async #follow(): Promise<void> {
    const wanted = hostnamesOf(this.#deps.store.snapshot)
    const gone = [...this.#names.keys()].filter((hostname) => !wanted.has(hostname))
    for (const hostname of gone) {
      this.#names.get(hostname)?.timer?.cancel()
      this.#names.delete(hostname)
    }
    if (gone.length > 0) this.#deps.store.apply(gone.map((remove) => ({ kind: 'host', remove })))
    const lookups: Promise<void>[] = []
    for (const [hostname, refreshMs] of wanted) {
      const held = this.#names.get(hostname)
      if (held === undefined) {
        const subscription: Subscription = { refreshMs, timer: undefined, failure: undefined }
        this.#names.set(hostname, subscription)
        lookups.push(this.#refresh(hostname, subscription))
      } else held.refreshMs = refreshMs
    }
    await Promise.all(lookups)
  }

  async #refresh(hostname: string, subscription: Subscription): Promise<void> {
    try {
      const addresses = await this.#deps.resolver.resolve(hostname)
      if (this.#names.get(hostname) !== subscription) return
      subscription.failure = undefined
      this.#deps.store.apply([{ kind: 'host', upsert: { hostname, addresses } }])
    } catch (reason) {
      const failure = errorMessage(reason)
      if (failure !== subscription.failure) {
        this.#deps.logger.log(
          'warn',
          `cannot resolve ${hostname}; its last addresses stay in use: ${failure}`,
        )
      }
      subscription.failure = failure
    }
    if (this.#names.get(hostname) !== subscription) return
    subscription.timer = this.#deps.clock.setTimer(
      subscription.refreshMs,
      () => void this.#refresh(hostname, subscription),
    )
  }
}
