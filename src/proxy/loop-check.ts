/** Finds out whether a captured connection is one of the proxy's own that a redirect has brought back (rule 4). */
import type { Clock, Timer } from '../core/clock.ts'
import type { LoopGuard } from './loop-guard.ts'
import type { ConnectionEnds } from './upstream-ends.ts'

/** How long a connection that has ended may still be known as one, to this thread or another. */
export const LOOP_RECHECK_MS = 50

/**
 * Calls `checked` at once where nothing speaks for a loop. Where the ends are those of an upstream connection it is looked again
 * a moment later: on a loop they stay so while the connection waits, else that upstream one is over, its port is in use again,
 * and its thread has not been told of the end yet. `checked` is called once more, with true, when a loop shows after that.
 *
 * @returns what is to be cancelled when the connection ends before it was checked
 */
export function checkForLoop(
  { loops, clock }: { readonly loops: Pick<LoopGuard, 'accepted'>; readonly clock: Clock },
  ends: ConnectionEnds,
  checked: (isLoop: boolean) => void,
): Timer | undefined {
  const isLoop = (): boolean =>
    !loops.accepted(ends, () => {
      checked(true)
    })
  if (!isLoop()) {
    checked(false)
    return undefined
  }
  return clock.setTimer(LOOP_RECHECK_MS, () => {
    checked(isLoop())
  })
}
