/** Has the sink do what a message asks for, in the time that istio-cni gives an answer. */
import type { Clock, Timer } from '../core/clock.ts'
import type { LogFields, Logger } from '../core/logger.ts'
import type { PodOutcome } from '../mesh/pod.ts'
import type { PodSink } from './pod-sink.ts'
import type { Task } from './zds-session.ts'
import type { ZdsMessageResult } from './zds-status.ts'

/** istio-cni takes an answer that comes later than 5 s for the one to its next message. */
export const ANSWER_LIMIT_MS = 4_000

/** How a message ended. */
export type Settled =
  | { readonly result: 'accepted' }
  | { readonly result: Exclude<ZdsMessageResult, 'accepted'>; readonly problem: string }

const ACCEPTED: Settled = { result: 'accepted' }

export class SinkCalls {
  readonly #sink: PodSink
  readonly #clock: Clock
  readonly #logger: Logger
  #deadline: Timer | undefined

  constructor(deps: { readonly sink: PodSink; readonly clock: Clock; readonly logger: Logger }) {
    this.#sink = deps.sink
    this.#clock = deps.clock
    this.#logger = deps.logger
  }

  /** Resolves when it is done, or time is up; then the sink goes on by itself. One at a time. */
  async carryOut(task: Task): Promise<Settled> {
    switch (task.kind) {
      case 'add':
        return await this.#inTime(task, this.#sink.add(task.pod, task.namespaceFd))
      case 'delete':
        return await this.#inTime(task, this.#sink.remove(task.uid).then(removalOutcome))
      case 'keep':
        if (this.#sink.has(task.uid)) return ACCEPTED
        return {
          result: 'failed',
          problem: 'it is not served here, and nothing says in which namespace it is',
        }
      case 'reconcile':
        if (task.isComplete) this.#sink.retain(task.uids)
        else
          this.#logger.log(
            'warn',
            'a message of the snapshot could not be used: pods that were not named stay',
          )
        return ACCEPTED
      case 'refuse':
        return { result: 'refused', problem: task.problem }
    }
  }

  /** Nobody waits any more: the task that is under way may never resolve. */
  abandon(): void {
    this.#deadline?.cancel()
  }

  #inTime(task: Task & { readonly kind: 'add' | 'delete' }, work: Promise<PodOutcome>): Promise<Settled> {
    return new Promise((resolve, reject) => {
      let isLate = false
      const deadline = this.#clock.setTimer(ANSWER_LIMIT_MS, () => {
        isLate = true
        resolve({ result: 'timeout', problem: `it has not been done within ${ANSWER_LIMIT_MS} ms` })
      })
      this.#deadline = deadline
      work.then((outcome) => {
        deadline.cancel()
        if (isLate) this.#reportLate(task, outcome)
        else resolve(outcome.ok ? ACCEPTED : { result: 'failed', problem: reasonOf(outcome) })
      }, reject)
    })
  }

  #reportLate(task: Task, outcome: PodOutcome): void {
    const end = outcome.ok ? 'done' : `not done: ${reasonOf(outcome)}`
    this.#logger.log(
      'info',
      `${task.kind} of a pod took too long for its answer and is now ${end}`,
      podFields(task),
    )
  }
}

/** The pod that a task is about, for the log. */
export function podFields(task: Task): LogFields | undefined {
  if (task.kind === 'add') {
    const { uid, name, namespace } = task.pod
    return { uid, name, namespace }
  }
  return 'uid' in task ? { uid: task.uid } : undefined
}

function removalOutcome(wasServed: boolean): PodOutcome {
  return wasServed ? { ok: true } : { ok: false, problem: 'it is not served here' }
}

/** An empty error would say that all is well. */
function reasonOf({ problem }: PodOutcome & { readonly ok: false }): string {
  return problem === '' ? 'no reason is known' : problem
}
