/**
 * Lets connections into a pod wait until the mesh says who the pod is: istio-cni tells of it before the control plane does,
 * and without its workload nobody can say what its policies allow. Where the mesh is asked for meanwhile, that is how it
 * gets to know the pod.
 */
import type { Clock } from '../../core/clock.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { CapturedPod } from '../../mesh/pod.ts'
import type { RouteFacts } from '../../mesh/router.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { Discovery } from '../route-source.ts'

/** How long a connection waits; less than a worker waits for its answer (ANSWER_TIMEOUT_MS). */
export const POD_WAIT_MS = 4_000

export interface PodDiscoveryDeps {
  readonly store: MeshStore
  readonly clock: Clock
  readonly knowsPod: (pod: CapturedPod) => boolean
  /** Asked at the same time; absent where the mesh is known as a whole. */
  readonly next?: Discovery | undefined
}

interface Waiter {
  readonly pod: CapturedPod
  readonly goOn: () => void
}

export class PodDiscovery implements Discovery {
  readonly #deps: PodDiscoveryDeps
  readonly #waiters = new Set<Waiter>()
  #stopWatching: (() => void) | undefined

  constructor(deps: PodDiscoveryDeps) {
    this.#deps = deps
  }

  /** Connections that wait now. */
  get waiting(): number {
    return this.#waiters.size
  }

  /** A pod that stays unknown is the router's to refuse: it says why. */
  whenKnown(facts: RouteFacts, callback: (isKnown: boolean) => void): void {
    const { next, knowsPod } = this.#deps
    const { pod, listener } = facts
    if (isRefused(listener)) {
      callback(true)
      return
    }
    const waitsForPod = pod !== undefined && listener.direction === 'inbound' && !knowsPod(pod)
    let waited = Number(waitsForPod) + Number(next !== undefined)
    let areEndsKnown = true
    const answered = (isKnown: boolean): void => {
      areEndsKnown &&= isKnown
      if (--waited === 0) callback(areEndsKnown)
    }
    if (waited === 0) callback(true)
    if (waitsForPod) {
      this.#wait(pod, () => {
        answered(true)
      })
    }
    next?.whenKnown(facts, answered)
  }

  #wait(pod: CapturedPod, goOn: () => void): void {
    const { clock, store } = this.#deps
    this.#stopWatching ??= store.watch((change) => {
      if (change.has('workload')) this.#lookAgain()
    })
    const waiter: Waiter = {
      pod,
      goOn: () => {
        this.#waiters.delete(waiter)
        timer.cancel()
        if (this.#waiters.size === 0) {
          this.#stopWatching?.()
          this.#stopWatching = undefined
        }
        goOn()
      },
    }
    this.#waiters.add(waiter)
    const timer = clock.setTimer(POD_WAIT_MS, waiter.goOn)
  }

  #lookAgain(): void {
    const known = [...this.#waiters].filter(({ pod }) => this.#deps.knowsPod(pod))
    for (const { goOn } of known) goOn()
  }
}

/** A listener that refuses whatever comes, and needs to know nothing for that. */
function isRefused({ filterChains, defaultFilterChain }: Listener): boolean {
  return filterChains.length === 0 && defaultFilterChain !== undefined && 'refusal' in defaultFilterChain
}
