/** Exponential backoff with jitter, as a pure sequence of delays. The caller owns the timer. */
import type { Random } from './random.ts'

export interface BackoffOptions {
  /** The first delay before jitter, in milliseconds; greater than 0. */
  readonly initialMs: number
  /** No delay is longer than this, in milliseconds. */
  readonly maxMs: number
  /**
   * What is drawn from the range, which is initialMs × 2^n, capped. `half` (the default): [0.5, 1) of it, so that there is
   * always a pause. `full`: [0, 1) of it, which spreads many agents best that lost one server at the same moment.
   */
  readonly jitter?: 'half' | 'full'
}

/** Delays that double. Jitter keeps many agents from retrying in step. */
export class Backoff {
  readonly #random: Random
  readonly #options: BackoffOptions
  #attempts = 0

  constructor(deps: { readonly random: Random }, options: BackoffOptions) {
    if (!(options.initialMs > 0) || options.maxMs < options.initialMs) {
      throw new TypeError(
        `backoff needs 0 < initialMs <= maxMs, not ${options.initialMs} and ${options.maxMs}`,
      )
    }
    this.#random = deps.random
    this.#options = options
  }

  /** The delay before the next attempt, in milliseconds. Each call doubles the range until the cap. */
  nextDelayMs(): number {
    const rangeMs = Math.min(this.#options.maxMs, this.#options.initialMs * 2 ** this.#attempts)
    this.#attempts++
    const drawn = this.#random.next()
    return rangeMs * (this.#options.jitter === 'full' ? drawn : 0.5 + drawn / 2)
  }

  /** Starts over after a success. */
  reset(): void {
    this.#attempts = 0
  }
}
