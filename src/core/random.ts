/** Randomness as a collaborator: jitter and tie breaks can be driven by a test. */

/** A source of numbers in [0, 1). */
export interface Random {
  next(): number
}

/** The random numbers of the machine; not for secrets. */
export const systemRandom: Random = { next: () => Math.random() }

/** A repeatable source (mulberry32): the same seed gives the same numbers. For tests, benches and reproductions. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return {
    next: () => {
      state = (state + 0x6d2b79f5) >>> 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
    },
  }
}
