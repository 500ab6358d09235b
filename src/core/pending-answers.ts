/** Waits until each of several has answered or is gone, or until their time is up: whoever hangs delays, no more. */
import type { Clock } from './clock.ts'

export class PendingAnswers<Who> {
  /** Resolves when nobody is waited for any more: with true, or with false when time was up. */
  readonly done: Promise<boolean>
  readonly #waiting: Set<Who>
  #finish: (isComplete: boolean) => void = () => undefined

  /** @param deadlineMs how long all of them have together; absent: as long as it takes */
  constructor(clock: Clock, who: Iterable<Who>, deadlineMs?: number) {
    this.#waiting = new Set(who)
    if (this.#waiting.size === 0) {
      this.done = Promise.resolve(true)
      return
    }
    this.done = new Promise((resolve) => {
      this.#finish = resolve
    })
    if (deadlineMs === undefined) return
    const deadline = clock.setTimer(deadlineMs, () => {
      this.#waiting.clear()
      this.#finish(false)
    })
    void this.done.then(() => {
      deadline.cancel()
    })
  }

  /** One has answered, or is gone. False when it was not waited for, or not any more. */
  settle(who: Who): boolean {
    if (!this.#waiting.delete(who)) return false
    if (this.#waiting.size === 0) this.#finish(true)
    return true
  }
}
