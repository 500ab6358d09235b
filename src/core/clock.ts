/** Time as a collaborator, so that every timer of the program can be driven by a test. */

/** A timer that has been set. Who sets it cancels it. */
export interface Timer {
  /** Stops the timer; does nothing when it has fired or been cancelled. */
  cancel(): void
}

/** The only way in which the program reads time or waits. */
export interface Clock {
  /** Milliseconds on a monotonic scale without meaning of its own. */
  nowMs(): number
  /** Milliseconds since 1970-01-01T00:00:00Z, for logs. Can jump. */
  wallTimeMs(): number
  /** Calls `callback` once, not before `delayMs` have passed. A pending timer does not keep the process alive. */
  setTimer(delayMs: number, callback: () => void): Timer
}

/** The clock of the machine. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallTimeMs: () => Date.now(),
  setTimer: (delayMs, callback) => {
    const timeout = setTimeout(callback, delayMs)
    timeout.unref()
    return {
      cancel: () => {
        clearTimeout(timeout)
      },
    }
  },
}
