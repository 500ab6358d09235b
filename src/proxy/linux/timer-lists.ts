/**
 * Timers in one list per duration: nearly all timers of a proxy have one of a few durations and are cancelled, which
 * costs O(1) here. The next one due is the first of some list, so finding it costs the number of durations.
 */
import type { Timer } from '../../core/clock.ts'

interface Node {
  previous: Node
  next: Node
}

class PendingTimer implements Node, Timer {
  previous: Node = this
  next: Node = this
  readonly dueMs: number
  readonly callback: () => void

  constructor(dueMs: number, callback: () => void) {
    this.dueMs = dueMs
    this.callback = callback
  }

  cancel(): void {
    this.previous.next = this.next
    this.next.previous = this.previous
    this.previous = this.next = this
  }
}

/** A ring whose head is no timer. */
class TimerList implements Node {
  previous: Node = this
  next: Node = this

  get first(): PendingTimer | undefined {
    return this.next instanceof PendingTimer ? this.next : undefined
  }

  append(timer: PendingTimer): void {
    timer.previous = this.previous
    timer.next = this
    this.previous.next = timer
    this.previous = timer
  }
}

/** Durations that nobody waits for are dropped when there are this many. */
const MAX_IDLE_LISTS = 64

export class TimerLists {
  readonly #lists = new Map<number, TimerList>()
  /** The same lists, to be walked in each turn without making an iterator. */
  #all: readonly TimerList[] = []

  add(nowMs: number, delayMs: number, callback: () => void): Timer {
    let list = this.#lists.get(delayMs)
    if (list === undefined) {
      if (this.#lists.size >= MAX_IDLE_LISTS) this.#dropEmpty()
      list = new TimerList()
      this.#lists.set(delayMs, list)
      this.#all = [...this.#lists.values()]
    }
    const timer = new PendingTimer(nowMs + delayMs, callback)
    list.append(timer)
    return timer
  }

  /** When the next timer is due; `Infinity` when there is none. */
  get nextDueMs(): number {
    let next = Infinity
    for (const { first } of this.#all) {
      if (first !== undefined && first.dueMs < next) next = first.dueMs
    }
    return next
  }

  /** Calls what is due, in the order in which it is due. Timers that are set meanwhile wait for the next call. */
  run(nowMs: number): void {
    if (nowMs < this.nextDueMs) return
    const due: PendingTimer[] = []
    for (const list of this.#all) {
      for (let node = list.next; node instanceof PendingTimer && node.dueMs <= nowMs; node = node.next)
        due.push(node)
    }
    due.sort((a, b) => a.dueMs - b.dueMs)
    for (const timer of due) {
      // One that an earlier one has cancelled is in no list any more.
      if (timer.next === timer) continue
      timer.cancel()
      timer.callback()
    }
  }

  #dropEmpty(): void {
    for (const [delayMs, list] of this.#lists) if (list.first === undefined) this.#lists.delete(delayMs)
    this.#all = [...this.#lists.values()]
  }
}
