/**
 * Weighted round robin over whichever endpoints a connection may use, by earliest deadline in virtual time. Endpoints
 * of equal weight take turns strictly; one that comes back after being left out does not get what it missed.
 */
import type { Endpoint } from '../mesh/endpoint.ts'

/**
 * The turns of the endpoints of one upstream. Sets of endpoints that are taken from side by side must have none in
 * common, such as priorities or localities: each then has a virtual time of its own, that of its latest turn, and one
 * that is used rarely keeps its order.
 */
export class Rotation {
  readonly #ids: readonly string[]
  /** The distance between two turns of each endpoint, in virtual time. */
  readonly #periods: Float64Array
  /** The latest turn of each endpoint, in virtual time. */
  readonly #turns: Float64Array

  /**
   * @param start where in the list to begin, in [0, 1): random, so that the proxies of a mesh do not all begin with the
   *   same endpoint
   * @param previous the rotation that this one takes the place of: endpoints in both keep their turns
   */
  constructor(endpoints: readonly Endpoint[], start: number, previous?: Rotation) {
    this.#ids = endpoints.map(({ id }) => id)
    this.#periods = Float64Array.from(endpoints, ({ weight }) => 1 / weight)
    // First turns are spread over the period of each endpoint, so that those of little weight do not come all at once.
    this.#turns = this.#periods.map((period, index) => {
      const place = (index / endpoints.length - start + 1) % 1
      return (place - 1) * period
    })
    if (previous !== undefined) this.#continue(previous)
  }

  /** Takes the next turn among `members`, places in the list of endpoints. Costs their number; -1 when there are none. */
  take(members: readonly number[]): number {
    let now = -Infinity
    for (const member of members) now = Math.max(now, this.#turns[member] ?? now)
    let next = -1
    let earliest = Infinity
    for (const member of members) {
      // A turn that is overdue is due now: being left out for a time is not made up for.
      const due = Math.max(now, (this.#turns[member] ?? Infinity) + (this.#periods[member] ?? 0))
      if (due < earliest) {
        next = member
        earliest = due
      }
    }
    if (next !== -1) this.#turns[next] = earliest
    return next
  }

  #continue(previous: Rotation): void {
    const turns = new Map(previous.#ids.map((id, index) => [id, previous.#turns[index]]))
    for (const [index, id] of this.#ids.entries()) {
      this.#turns[index] = turns.get(id) ?? this.#turns[index] ?? 0
    }
  }
}
