/**
 * Says in the log which captured pods are without a family, for an operator who has asked for both (the dual-stack flag).
 * Pods are looked at together and at intervals: one line names all that have come since the last one, and a pod whose second
 * network comes a moment after its first is not named at all.
 */
import { FAMILIES } from '../core/family.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Family } from '../core/family.ts'
import type { PodStatus } from '../proxy/pods/pod-entry.ts'

/** How often pods are looked at. */
export const LOOK_INTERVAL_MS = 5_000
/** Pods that a line names; /config_dump has all. */
const MAX_NAMES = 5

export interface PodFamilyWatchDeps {
  readonly clock: Clock
  readonly logger: Logger
  readonly pods: () => readonly PodStatus[]
}

export class PodFamilyWatch {
  readonly #deps: PodFamilyWatchDeps
  /** UIDs of pods that have been named and are without the family still. */
  readonly #named: Record<Family, ReadonlySet<string>> = { ipv4: new Set(), ipv6: new Set() }
  #timer: Timer | undefined

  constructor(deps: PodFamilyWatchDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#timer = this.#deps.clock.setTimer(LOOK_INTERVAL_MS, () => {
      this.#look()
      this.start()
    })
  }

  close(): void {
    this.#timer?.cancel()
  }

  #look(): void {
    // One that is pending has nothing yet, and is logged for that.
    const pods = this.#deps.pods().filter(({ state }) => state === 'up')
    for (const family of FAMILIES) {
      const without = pods.filter(({ listeners }) =>
        listeners.some((listener) => listener.family === family && listener.state === 'absent'),
      )
      const fresh = without.filter(({ pod }) => !this.#named[family].has(pod.uid))
      this.#named[family] = new Set(without.map(({ pod }) => pod.uid))
      if (fresh.length > 0) this.#warn(family, fresh)
    }
  }

  #warn(family: Family, pods: readonly PodStatus[]): void {
    const names = pods.slice(0, MAX_NAMES).map(({ pod }) => `${pod.namespace}/${pod.name}`)
    const more = pods.length > MAX_NAMES ? ` and ${pods.length - MAX_NAMES} more` : ''
    this.#deps.logger.log(
      'warn',
      `captured pods without ${family}, served over the other family: ${names.join(', ')}${more}`,
    )
  }
}
