/**
 * The pods whose connections are captured here: takes them in with their network namespaces, tells the workers of them, and
 * ends them again. Each is served or fails by itself; every descriptor is closed once.
 */
import { PendingAnswers } from '../../core/pending-answers.ts'
import { withoutFilterChains } from '../../mesh/listener.ts'
import { DEFAULT_BACKLOG } from '../listener-set.ts'
import { releaseBy } from '../release.ts'
import { PodEntry } from './pod-entry.ts'

import type { Clock } from '../../core/clock.ts'
import type { Family } from '../../core/family.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { CapturedPod, Pod, PodOutcome } from '../../mesh/pod.ts'
import type { Keepalive } from '../../mesh/upstream.ts'
import type { PodListenerSocket, PodStatus } from './pod-entry.ts'
import type { BoundPodSocket, PodMessage } from './pod-messages.ts'
import type { PodSocketOpener } from './pod-sockets.ts'

/** How long connections whose handshake has begun may still arrive after new ones go to another agent. */
export const HANDOVER_MS = 500

export interface PodSetDeps {
  readonly opener: PodSocketOpener
  /** The workers that live. */
  readonly live: () => readonly number[]
  readonly post: (worker: number, message: PodMessage) => void
  /** Where the counters have a listener. */
  readonly entryOf: (listener: string) => number
  /** A pod is gone: what is remembered of its connections has no use any more. */
  readonly forget: (uid: string) => void
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface PodSetOptions {
  /** What every pod listens on; its addresses are any address of a family. */
  readonly listeners: readonly Listener[]
  readonly families: readonly Family[]
  readonly keepalive: Keepalive
  readonly reusePort: boolean
}

/** How many pods there are and have been. */
export interface PodCounts {
  readonly up: number
  readonly pending: number
  readonly started: number
  readonly stopped: number
}

/** Who waits for the workers' answer about a pod, or about all of them. */
interface Release {
  readonly namespaceId: number | undefined
  readonly answers: PendingAnswers<number>
}

export class PodSet {
  readonly #deps: PodSetDeps
  readonly #listeners: readonly Listener[]
  readonly #wanted: readonly PodListenerSocket[]
  readonly #entries = new Map<string, PodEntry>()
  readonly #releases = new Set<Release>()
  #lastNamespaceId = 0
  #started = 0
  #stopped = 0
  /** Present from when the set drains on. */
  #stopping: Promise<void> | undefined

  constructor(deps: PodSetDeps, { listeners, families, keepalive, reusePort }: PodSetOptions) {
    this.#deps = deps
    this.#listeners = listeners
    this.#wanted = listeners.flatMap((listener) =>
      listener.addresses
        .filter(({ address }) => families.includes(address.ip.family))
        .map((address) => ({
          listener: listener.name,
          address,
          reusePort,
          options: {
            backlog: listener.backlog ?? DEFAULT_BACKLOG,
            keepalive: { ...keepalive, ...listener.keepalive },
          },
        })),
    )
  }

  /**
   * Serves a pod from now on. Takes the descriptor over, whatever the outcome. Resolves when the pod's listeners are open, or
   * with what kept them from it; then it is tried again for a while. Never rejects.
   */
  async add(pod: Pod, namespaceFd: number): Promise<PodOutcome> {
    const { opener } = this.#deps
    const kind = opener.identify(namespaceFd)
    const refuse = (problem: string): PodOutcome => {
      opener.close(namespaceFd)
      return { ok: false, problem }
    }
    if (!kind.isNamespace) return refuse(`its descriptor is of ${kind.what}, not of a network namespace`)
    if (this.#stopping !== undefined) return refuse('this agent is draining')
    const { identity } = kind
    const before = this.#entries.get(pod.uid)
    if (before?.identity === identity) {
      opener.close(namespaceFd)
      return before.status.state === 'up' ? { ok: true } : before.open()
    }
    const entry: PodEntry = new PodEntry(
      this.#deps,
      { pod, namespace: { id: ++this.#lastNamespaceId, fd: namespaceFd }, identity, wanted: this.#wanted },
      {
        changed: (bound) => {
          this.#tell(entry, bound)
        },
        gaveUp: (problem) => {
          this.#deps.logger.log('error', `pod ${pod.namespace}/${pod.name} is given up: ${problem}`, {
            uid: pod.uid,
          })
          void this.#remove(entry)
        },
      },
    )
    // At once, so that a removal which comes meanwhile finds it.
    this.#entries.set(pod.uid, entry)
    this.#started++
    if (before !== undefined) await this.#end(before)
    return entry.open()
  }

  has(uid: string): boolean {
    return this.#entries.has(uid)
  }

  /** A pod that is served. */
  find(uid: string): CapturedPod | undefined {
    return this.#entries.get(uid)?.pod
  }

  /** Ends everything of a pod. Resolves when nothing of it is left; false when it was not served. Never rejects. */
  async remove(uid: string): Promise<boolean> {
    const entry = this.#entries.get(uid)
    if (entry === undefined) return false
    await this.#remove(entry)
    return true
  }

  /** Ends every pod that is not named. */
  retain(uids: ReadonlySet<string>): void {
    for (const [uid, entry] of this.#entries) if (!uids.has(uid)) void this.#remove(entry)
  }

  get statuses(): readonly PodStatus[] {
    return Array.from(this.#entries.values(), ({ status }) => status)
  }

  get counts(): PodCounts {
    const up = [...this.#entries.values()].filter(({ status }) => status.state === 'up').length
    return { up, pending: this.#entries.size - up, started: this.#started, stopped: this.#stopped }
  }

  /** A worker has started and knows nothing. */
  workerStarted(worker: number): void {
    const listeners = this.#listeners.map((listener) => ({
      listener: withoutFilterChains(listener),
      entry: this.#deps.entryOf(listener.name),
    }))
    this.#deps.post(worker, { kind: 'pod-listeners', listeners })
    for (const entry of this.#entries.values())
      this.#tellOne(worker, entry, this.#stopping === undefined ? entry.bound : [])
  }

  /** A worker has let go of a pod by its network namespace, or of all listening sockets without one. */
  released(worker: number, namespaceId: number | undefined): void {
    for (const release of this.#releases)
      if (release.namespaceId === namespaceId) release.answers.settle(worker)
  }

  workerDied(worker: number): void {
    for (const { answers } of this.#releases) answers.settle(worker)
  }

  /**
   * Lets new connections go to the agent that takes this one's place, if one listens already, accepts what is under way,
   * and closes the listening sockets. Live connections go on, and may still connect from within their pods. Whoever asks
   * again waits for the same.
   */
  stopAccepting(): Promise<void> {
    this.#stopping ??= this.#stopAccepting()
    return this.#stopping
  }

  async #stopAccepting(): Promise<void> {
    const entries = [...this.#entries.values()]
    if (entries.length === 0) return
    const { opener, clock } = this.#deps
    await Promise.all(entries.map((entry) => entry.stop()))
    // Twice, because an agent that begins to listen meanwhile undoes it.
    for (const pauseMs of [HANDOVER_MS / 2, HANDOVER_MS / 2]) {
      await Promise.all(entries.map(({ namespace, yielding }) => opener.yieldTo(namespace.fd, yielding)))
      await new Promise<void>((resolve) => clock.setTimer(pauseMs, resolve))
    }
    await this.#askToRelease({ kind: 'pods-unlisten' }, entries, () => {
      for (const entry of entries) entry.closeSockets()
    })
  }

  /** Ends every pod. */
  async close(): Promise<void> {
    await Promise.all([...this.#entries.values()].map((entry) => this.#remove(entry)))
  }

  async #remove(entry: PodEntry): Promise<void> {
    const { uid } = entry.pod
    if (this.#entries.get(uid) !== entry) return
    this.#entries.delete(uid)
    await this.#end(entry)
  }

  /** Ends what is in the map no more. */
  async #end(entry: PodEntry): Promise<void> {
    const { pod, namespace } = entry
    this.#stopped++
    await entry.stop()
    await this.#askToRelease({ kind: 'pod-gone', namespaceId: namespace.id }, [entry], () => {
      entry.closeSockets()
      this.#deps.opener.close(namespace.fd)
    })
    if (!this.#entries.has(pod.uid)) this.#deps.forget(pod.uid)
  }

  #tell(entry: PodEntry, bound: readonly BoundPodSocket[]): void {
    for (const worker of this.#deps.live()) this.#tellOne(worker, entry, bound)
  }

  #tellOne(worker: number, { pod, namespace }: PodEntry, sockets: readonly BoundPodSocket[]): void {
    this.#deps.post(worker, { kind: 'pod', pod, namespace, sockets })
  }

  /** Calls `close` when every live worker has let go, however late, see releaseBy. */
  #askToRelease(
    message: Extract<PodMessage, { kind: 'pod-gone' | 'pods-unlisten' }>,
    entries: readonly PodEntry[],
    close: () => void,
  ): Promise<void> {
    const { live, post, clock } = this.#deps
    const workers = live()
    const namespaceId = message.kind === 'pod-gone' ? message.namespaceId : undefined
    const release = { namespaceId, answers: new PendingAnswers(clock, workers) }
    this.#releases.add(release)
    for (const worker of workers) post(worker, message)
    return releaseBy(clock, release.answers, {
      late: () => {
        for (const entry of entries) entry.stopListening()
      },
      released: () => {
        this.#releases.delete(release)
        close()
      },
    })
  }
}
