/**
 * One captured pod: its network namespace, a listening socket for each listener and family, and what is still tried to
 * get there. A family that its namespace has not is a state that is looked at again (rule 2), and costs nobody else anything.
 */
import { Backoff } from '../../core/backoff.ts'
import { ABSENT_PROBE_MS, FAILED_BACKOFF } from '../listener-set.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Family } from '../../core/family.ts'
import type { Random } from '../../core/random.ts'
import type { CapturedPod, Pod, PodOutcome } from '../../mesh/pod.ts'
import type { ListenerState } from '../listener-ledger.ts'
import type { NetworkNamespace } from '../transport.ts'
import type { BoundPodSocket } from './pod-messages.ts'
import type { PodSocket, PodSocketOpener, WantedSocket, YieldingSocket } from './pod-sockets.ts'

/** How long until an absent family is looked for again: soon at first, because a second network may come after the first. */
const ABSENT_BACKOFF = { initialMs: 1_000, maxMs: ABSENT_PROBE_MS } as const
/**
 * Looks in a row at an empty namespace after which a pod is given up that has no socket: it was deleted on the way here
 * (istio/istio#55794). Whatever else fails may pass, and nobody would tell of a living pod a second time.
 */
export const MAX_EMPTY_LOOKS = 3

/** A socket that every pod is to have. */
export interface PodListenerSocket extends WantedSocket {
  readonly listener: string
}

/** One listener and family of a pod, with what became of it. */
export interface PodListenerStatus {
  readonly listener: string
  readonly family: Family
  readonly state: ListenerState
  /** Why it is not bound; empty when it is. */
  readonly reason: string
}

/** A pod as operators see it. */
export interface PodStatus {
  readonly pod: CapturedPod
  /** `up`: everything that its namespace can have is bound. */
  readonly state: 'up' | 'pending'
  /** Why it is pending; empty when it is up. */
  readonly problem: string
  readonly listeners: readonly PodListenerStatus[]
}

export interface PodEntryDeps {
  readonly opener: PodSocketOpener
  readonly clock: Clock
  readonly random: Random
}

export interface PodEntryEvents {
  /** Sockets have been bound, or the addresses have become others: workers have to know. */
  changed(bound: readonly BoundPodSocket[]): void
  /** Its namespace has been found empty for the last time, and it is to be removed. */
  gaveUp(problem: string): void
}

const REMOVED: PodOutcome = { ok: false, problem: 'the pod was removed meanwhile' }
const NOT_TRIED: PodSocket = { kind: 'failed', code: 'internal', message: 'not tried yet' }

export class PodEntry {
  readonly namespace: NetworkNamespace
  /** The same for all descriptors of its network namespace. */
  readonly identity: string
  readonly #deps: PodEntryDeps
  readonly #events: PodEntryEvents
  readonly #wanted: readonly PodListenerSocket[]
  readonly #sockets: PodSocket[]
  readonly #failedBackoff: Backoff
  readonly #absentBackoff: Backoff
  #pod: CapturedPod
  #problem = 'not tried yet'
  #emptyLooks = 0
  #timer: Timer | undefined
  #opening: Promise<PodOutcome> | undefined
  #isClosed = false

  constructor(
    deps: PodEntryDeps,
    options: {
      readonly pod: Pod
      readonly namespace: NetworkNamespace
      readonly identity: string
      readonly wanted: readonly PodListenerSocket[]
    },
    events: PodEntryEvents,
  ) {
    this.#deps = deps
    this.#events = events
    this.#pod = { ...options.pod, addresses: [] }
    this.namespace = options.namespace
    this.identity = options.identity
    this.#wanted = options.wanted
    this.#sockets = options.wanted.map(() => NOT_TRIED)
    this.#failedBackoff = new Backoff(deps, FAILED_BACKOFF)
    this.#absentBackoff = new Backoff(deps, ABSENT_BACKOFF)
  }

  get pod(): CapturedPod {
    return this.#pod
  }

  get bound(): readonly BoundPodSocket[] {
    return this.#sockets.flatMap((socket, index) =>
      socket.kind === 'bound'
        ? [{ index, fd: socket.fd, listener: this.#wanted[index]?.listener ?? '' }]
        : [],
    )
  }

  /** The bound sockets as they are when another agent is to get their connections. */
  get yielding(): readonly YieldingSocket[] {
    return this.#sockets.flatMap((socket, index) => {
      const address = this.#wanted[index]?.address.address
      return socket.kind === 'bound' && address !== undefined ? [{ ...socket, address }] : []
    })
  }

  get status(): PodStatus {
    return {
      pod: this.#pod,
      state: this.#problem === '' ? 'up' : 'pending',
      problem: this.#problem,
      listeners: this.#wanted.map(({ listener, address }, index) => ({
        listener,
        family: address.address.ip.family,
        ...describe(this.#sockets[index] ?? NOT_TRIED),
      })),
    }
  }

  /** Opens what is not open yet, now. Resolves with how it went; never rejects. */
  open(): Promise<PodOutcome> {
    if (this.#isClosed) return Promise.resolve(REMOVED)
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  /** Tries nothing more. Resolves when nothing is under way; what is bound stays for `closeSockets`. */
  async stop(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    await this.#opening
  }

  /** Ends the listening before the sockets can be closed, because somebody may accept on them still. */
  stopListening(): void {
    for (const { fd } of this.bound) this.#deps.opener.stopListening(fd)
  }

  /** Closes the listening sockets. Nobody may accept on them any more. */
  closeSockets(): void {
    for (const { fd, index } of this.bound) {
      this.#sockets[index] = { kind: 'failed', code: 'internal', message: 'closed' }
      this.#deps.opener.close(fd)
    }
  }

  async #open(): Promise<PodOutcome> {
    this.#timer?.cancel()
    const missing = this.#sockets.flatMap(({ kind }, index) => (kind === 'bound' ? [] : [index]))
    const result = await this.#deps.opener.open(
      this.namespace.fd,
      missing.flatMap((index) => this.#wanted[index] ?? []),
    )
    if (this.#isClosed) {
      if (result.ok) for (const socket of result.value.sockets) this.#discard(socket)
      return REMOVED
    }
    if (!result.ok) return this.#failed(result.problem)
    const { addresses, sockets, isEmpty } = result.value
    for (const [at, socket] of sockets.entries()) {
      const index = missing[at]
      if (index === undefined) this.#discard(socket)
      else this.#sockets[index] = socket
    }
    const hasMoved =
      addresses.map(({ text }) => text).join() !== this.#pod.addresses.map(({ text }) => text).join()
    if (hasMoved) this.#pod = { ...this.#pod, addresses }
    if (hasMoved || sockets.some(({ kind }) => kind === 'bound')) this.#events.changed(this.bound)
    this.#emptyLooks = isEmpty ? this.#emptyLooks + 1 : 0
    return this.#judge()
  }

  #judge(): PodOutcome {
    if (this.#emptyLooks > 0)
      return this.#failed('its network namespace has no interface: the pod is gone or not set up')
    if (this.#pod.addresses.length === 0)
      return this.#failed('its network namespace has no address: no link is up')
    const failures = this.#sockets.flatMap((socket) => (socket.kind === 'failed' ? [socket.message] : []))
    if (failures.length > 0) return this.#failed([...new Set(failures)].join('; '))
    this.#problem = ''
    this.#failedBackoff.reset()
    if (this.#sockets.some(({ kind }) => kind === 'absent')) this.#tryAgain(this.#absentBackoff.nextDelayMs())
    return { ok: true }
  }

  #failed(problem: string): PodOutcome {
    this.#problem = problem
    // A pod that has sockets is served, and its connections live: it is not given up for what it lacks (rule 2).
    if (this.bound.length > 0 || this.#emptyLooks < MAX_EMPTY_LOOKS)
      this.#tryAgain(this.#failedBackoff.nextDelayMs())
    else this.#events.gaveUp(problem)
    return { ok: false, problem }
  }

  #tryAgain(delayMs: number): void {
    this.#timer = this.#deps.clock.setTimer(delayMs, () => void this.open())
  }

  #discard(socket: PodSocket): void {
    if (socket.kind === 'bound') this.#deps.opener.close(socket.fd)
  }
}

function describe(socket: PodSocket): Pick<PodListenerStatus, 'state' | 'reason'> {
  switch (socket.kind) {
    case 'bound':
      return { state: 'bound', reason: '' }
    case 'absent':
      return { state: 'absent', reason: 'the namespace has no address of this family' }
    case 'failed':
      return { state: 'failed', reason: socket.message }
  }
}
