/**
 * Keeps the proxy below its limit of open descriptors: at 90 % new connections are refused, so that accept, DNS, logs
 * and the control plane never meet EMFILE (rule 14). Recovers by itself.
 */
import type { Clock } from '../core/clock.ts'

/** Share of the descriptors beyond which connections are refused. */
export const REFUSE_AT_SHARE = 0.9
/** A downstream and an upstream socket. */
const DESCRIPTORS_PER_CONNECTION = 2
const SAMPLE_INTERVAL_MS = 1_000

export interface DescriptorBudgetDeps {
  readonly clock: Clock
  /** Counts the open descriptors of the process; `undefined` where the platform does not tell. Costs O(descriptors). */
  readonly countOpen: () => number | undefined
}

/** What the budget is and how much of it is used. */
export interface DescriptorUse {
  readonly open: number
  readonly limit: number
  readonly isExhausted: boolean
}

export class DescriptorBudget {
  readonly #deps: DescriptorBudgetDeps
  readonly #limit: number
  #sampledAtMs = -Infinity
  /** Descriptors that are no connection's: files, listeners, the control plane. */
  #others = 0

  /** @param options.limit hard limit of the process (RLIMIT_NOFILE); Infinity turns the budget off */
  constructor(deps: DescriptorBudgetDeps, options: { readonly limit: number }) {
    this.#deps = deps
    this.#limit = options.limit
  }

  get limit(): number {
    return this.#limit
  }

  /** Whether one more connection fits beside those that `count` tells. Samples the process at most once a second. */
  use(count: () => number): DescriptorUse {
    if (this.#deps.clock.nowMs() - this.#sampledAtMs >= SAMPLE_INTERVAL_MS) this.sample(count)
    const connections = count()
    return {
      open: this.#others + connections * DESCRIPTORS_PER_CONNECTION,
      limit: this.#limit,
      isExhausted: isExhausted({ others: this.#others, connections, limit: this.#limit }),
    }
  }

  /**
   * Samples the process now, and gives the descriptors that are no connection's. Other threads open and close some while
   * it counts; those must not be taken for something else, which would refuse connections that fit.
   */
  sample(count: () => number): number {
    this.#sampledAtMs = this.#deps.clock.nowMs()
    const before = count()
    const open = this.#deps.countOpen()
    const connections = Math.max(before, count())
    if (open !== undefined) this.#others = Math.max(0, open - connections * DESCRIPTORS_PER_CONNECTION)
    return this.#others
  }
}

/** True when one more connection would go beyond the share of the limit that connections may have. */
export function isExhausted(use: {
  readonly others: number
  readonly connections: number
  readonly limit: number
}): boolean {
  const open = use.others + (use.connections + 1) * DESCRIPTORS_PER_CONNECTION
  return open > use.limit * REFUSE_AT_SHARE
}
