/**
 * Long work in slices that leave the event loop its turns: over the items of a list, or as steps of a generator, which
 * keeps the work itself free of clocks and promises.
 */
import type { Clock } from '../core/clock.ts'

/** How long the event loop is held before it gets its turn. */
export const SLICE_MS = 8

export interface SliceDeps {
  readonly clock: Clock
  /** Resolves in a later turn of the event loop, after those who wait for theirs. */
  readonly nextTurn: () => Promise<void>
}

/** Does the work for each item, and yields when a slice is over. */
export async function inSlices<Item>(
  { clock, nextTurn }: SliceDeps,
  items: Iterable<Item>,
  work: (item: Item) => void,
): Promise<void> {
  let sliceEndMs = clock.nowMs() + SLICE_MS
  for (const item of items) {
    if (clock.nowMs() >= sliceEndMs) {
      await nextTurn()
      sliceEndMs = clock.nowMs() + SLICE_MS
    }
    work(item)
  }
}

/** Work that yields after each step and returns its result. */
export type Steps<Result> = Generator<undefined, Result>

/** So many resources take well under a millisecond, and asking the clock in between costs nothing. */
export const ITEMS_PER_STEP = 128

/** Does the whole work at once. */
export function finishSteps<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** Does the work in slices that leave the event loop its turns; work that fits into one is done at once. */
export async function finishInSlices<Result>(
  { clock, nextTurn }: SliceDeps,
  steps: Steps<Result>,
): Promise<Result> {
  let sliceEndMs = clock.nowMs() + SLICE_MS
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    if (clock.nowMs() < sliceEndMs) continue
    await nextTurn()
    sliceEndMs = clock.nowMs() + SLICE_MS
  }
}
