/**
 * Keeps what was worked out of a service and its workloads for as long as neither has changed. An answer that nobody can
 * ask for any more goes with the service that it is about.
 */
import { serviceKey } from './workload.ts'

import type { MeshSnapshot } from './snapshot.ts'
import type { Service } from './workload.ts'

/** What an answer is about. */
export interface ServiceAnswerKey {
  readonly snapshot: MeshSnapshot
  /** As the snapshot has it. */
  readonly service: Service
  readonly port: number
  /** What else the answer depends on; few values for each service. */
  readonly place: string
}

/** Everything of a snapshot that the answers of a service depend on. */
interface Held<Answer> {
  /** The service's, which takes longer to make than to look up. */
  readonly serviceKey: string
  readonly membership: object | undefined
  /** Host names that members have instead of addresses; `undefined` where no member has. */
  readonly hosts: MeshSnapshot['host'] | undefined
  readonly answers: Map<string, Answer>
}

export class ServiceAnswers<Answer> {
  readonly #byService = new WeakMap<Service, Held<Answer>>()

  /** The answer that is held, or what `answer` says, which is held from then on. */
  get({ snapshot, service, port, place }: ServiceAnswerKey, answer: () => Answer): Answer {
    const { answers } = this.#current(snapshot, service)
    const key = `${port} ${place}`
    let held = answers.get(key)
    if (held === undefined) {
      held = answer()
      answers.set(key, held)
    }
    return held
  }

  #current(snapshot: MeshSnapshot, service: Service): Held<Answer> {
    const held = this.#byService.get(service)
    const key = held?.serviceKey ?? serviceKey(service)
    const membership = snapshot.workloadIndex.membershipOf(key)
    const isCurrent =
      held?.membership === membership && (held?.hosts === undefined || held.hosts === snapshot.host)
    if (held !== undefined && isCurrent) return held
    const members = snapshot.workloadIndex.membersOf(key)
    const fresh: Held<Answer> = {
      serviceKey: key,
      membership,
      hosts: members.some(({ addresses }) => addresses.length === 0) ? snapshot.host : undefined,
      answers: new Map(),
    }
    this.#byService.set(service, fresh)
    return fresh
  }
}
