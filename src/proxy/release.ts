/** How descriptors that several workers use come to be closed. */
import type { Clock } from '../core/clock.ts'
import type { PendingAnswers } from '../core/pending-answers.ts'

/** How long whoever closes waits for the workers. One that hangs delays no more than the descriptors that it has. */
export const RELEASE_DEADLINE_MS = 1_000

export interface ReleaseSteps {
  /** Time is up: from here on the sockets must not listen any more. */
  readonly late: () => void
  /** Nobody uses the descriptors any more. */
  readonly released: () => void
}

/**
 * Calls `released` when every worker has answered or died, however long that takes: the number of a closed descriptor can
 * be another's by the time that a hung worker uses it. Resolves then, or after {@link RELEASE_DEADLINE_MS}.
 */
export function releaseBy(
  clock: Clock,
  answers: PendingAnswers<unknown>,
  { late, released }: ReleaseSteps,
): Promise<void> {
  return new Promise((resolve) => {
    const deadline = clock.setTimer(RELEASE_DEADLINE_MS, () => {
      late()
      resolve()
    })
    void answers.done.then(() => {
      deadline.cancel()
      released()
      resolve()
    })
  })
}
