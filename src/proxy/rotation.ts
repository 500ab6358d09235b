/**
 * Weighted round robin over whichever endpoints a connection may use, by earliest deadline in virtual time. Endpoints
 * of equal weight take turns strictly; one that comes back after being left out does not get what it missed.
 */
import type { Endpoint } from '../mesh/endpoint.ts'

/**
 * The turns of the endpoints of one upstream. All clients share them, whatever their family, so that an endpoint that
 * serves both families is not given twice its share where others can take the rest.
 *
 * Invariant: no turn is further ahead of the virtual time than one over the weight of its endpoint.
 */
export class Rotation {
  readonly #endpoints: readonly Endpoint[]
  /** When the next turn of each endpoint is due, in virtual time. */
  readonly #turns: Float64Array
  #now: number

  /**
   * @param start where in the list to begin, in [0, 1): random, so that the proxies of a mesh do not all begin with the
   *   same endpoint
   * @param previous the rotation that this one takes the place of: endpoints in both keep their turns
   */
  constructor(endpoints: readonly Endpoint[], start: number, previous?: Rotation) {
    this.#endpoints = endpoints
    this.#now = previous === undefined ? 0 : previous.#now
    const known = previous === undefined ? new Map<string, number>() : previous.#distanceById()
    this.#turns = Float64Array.from(endpoints, ({ id, weight }, index) => {
      // New endpoints are spread over the distance between two turns, so that they do not come all at once.
      const place = (index / endpoints.length - start + 1) % 1
      return this.#now + Math.min(1, known.get(id) ?? place) / weight
    })
  }

  /** Takes the next turn among `members`, places in the list of endpoints. Costs their number; -1 when there are none. */
  take(members: readonly number[]): number {
    let next = -1
    let earliest = Infinity
    for (const member of members) {
      // A turn that is overdue is due now: being left out for a time is not made up for.
      const due = Math.max(this.#turns[member] ?? Infinity, this.#now)
      if (due < earliest) {
        next = member
        earliest = due
      }
    }
    if (next === -1) return -1
    this.#now = earliest
    this.#turns[next] = earliest + 1 / (this.#endpoints[next]?.weight ?? 1)
    return next
  }

  /** How far off the next turn of each endpoint is, as a share of the distance between two of its turns. */
  #distanceById(): Map<string, number> {
    return new Map(
      this.#endpoints.map(({ id, weight }, index) => [
        id,
        Math.max(0, (this.#turns[index] ?? 0) - this.#now) * weight,
      ]),
    )
  }
}
