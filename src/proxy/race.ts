/**
 * The happy-eyeballs race over an ordered list of addresses, as a pure state machine: events in, actions out, no
 * clock, no sockets. Attempts start one after the other and run side by side; the first to connect wins.
 *
 * RFC 8305 section 5: https://www.rfc-editor.org/rfc/rfc8305#section-5
 */

/** What the caller has to do, in the order of the list. `index` is the place of an address in the list. */
export type RaceAction =
  /** Start connecting to an address. */
  | { readonly kind: 'start'; readonly index: number }
  /** Give up an attempt that is under way: another one won, the deadline passed or the client left. */
  | { readonly kind: 'abort'; readonly index: number; readonly why: 'lost_race' | 'timeout' | 'cancelled' }
  /** Call `delayPassed` after the attempt delay; replaces a timer that is running. */
  | { readonly kind: 'arm' }
  /** Stop the timer of the attempt delay. */
  | { readonly kind: 'disarm' }
  /** The race is over: this attempt is the connection. */
  | { readonly kind: 'won'; readonly index: number }
  /** The race is over: every address failed, or the deadline passed. */
  | { readonly kind: 'lost' }

/**
 * One race. The caller reports what happened through the methods and carries out the actions that each returns. After
 * `won` or `lost`, or after `cancel`, every further event is answered with no action.
 *
 * Invariants, held by property tests: at most one `won` or `lost`; each address is started at most once; whatever is
 * started is aborted, failed or the winner; if any address connects before the deadline the race is won.
 */
export class Race {
  readonly #count: number
  /** In the order in which they were started: few, and one nearly always. */
  #pending: readonly number[] = []
  #next = 0
  #isOver = false

  /** @param count how many addresses there are; 0 is a race that is lost at once */
  constructor(count: number) {
    this.#count = count
  }

  begin(): readonly RaceAction[] {
    return this.#startNext()
  }

  /** The attempt delay passed since the last `arm`. */
  delayPassed(): readonly RaceAction[] {
    return this.#isOver ? [] : this.#startNext()
  }

  /** An attempt failed: the next one starts without waiting for the delay. */
  failed(index: number): readonly RaceAction[] {
    return this.#takePending(index) ? this.#startNext() : []
  }

  connected(index: number): readonly RaceAction[] {
    return this.#takePending(index) ? [...this.#end('lost_race'), { kind: 'won', index }] : []
  }

  /**
   * The other end accepted an attempt and cut it. That is an answer, and as final as it is after the connection was reported:
   * whether it comes before or after that is chance.
   */
  wasReset(index: number): readonly RaceAction[] {
    if (!this.#takePending(index)) return []
    return [...this.#end('lost_race'), { kind: 'lost' }]
  }

  /** The time for the whole race is over. */
  deadlinePassed(): readonly RaceAction[] {
    return this.#isOver ? [] : [...this.#end('timeout'), { kind: 'lost' }]
  }

  /** Nobody wants the result any more. */
  cancel(): readonly RaceAction[] {
    return this.#isOver ? [] : this.#end('cancelled')
  }

  #startNext(): readonly RaceAction[] {
    if (this.#next >= this.#count) {
      if (this.#pending.length > 0) return [{ kind: 'disarm' }]
      this.#isOver = true
      return [{ kind: 'disarm' }, { kind: 'lost' }]
    }
    const index = this.#next++
    this.#pending = [...this.#pending, index]
    return this.#next < this.#count
      ? [{ kind: 'start', index }, { kind: 'arm' }]
      : [{ kind: 'start', index }, { kind: 'disarm' }]
  }

  #end(why: 'lost_race' | 'timeout' | 'cancelled'): RaceAction[] {
    this.#isOver = true
    const aborted = this.#pending
    this.#pending = []
    return [{ kind: 'disarm' }, ...aborted.map((index): RaceAction => ({ kind: 'abort', index, why }))]
  }

  /** False when the attempt is not under way in a race that goes on. */
  #takePending(index: number): boolean {
    if (this.#isOver || !this.#pending.includes(index)) return false
    this.#pending = this.#pending.filter((each) => each !== index)
    return true
  }
}
