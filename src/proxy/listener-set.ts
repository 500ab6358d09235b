/**
 * The sockets that the proxy listens on: one per listener, address and family, each with a state of its own. A family
 * that is missing is a state that is probed again, never an error that stops the other family (rules 1 and 2).
 */
import { formatSocketAddress } from '../core/address.ts'
import { Backoff } from '../core/backoff.ts'
import { FAMILIES } from '../core/family.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Family } from '../core/family.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Listener, ListenerAddress } from '../mesh/listener.ts'
import type { MeshStore } from '../mesh/store.ts'
import type { Keepalive } from '../mesh/upstream.ts'
import type { ListenerLedger, ListenerState } from './listener-ledger.ts'
import type { ListeningSocket, ListenOptions, ListenResult } from './transport.ts'

/** How long until a family or address that is absent is looked for again (rule 2). */
export const ABSENT_PROBE_MS = 30_000
/** How long until a bind that failed is tried again. */
export const FAILED_BACKOFF = { initialMs: 1_000, maxMs: 30_000 } as const
/** Length of the accept queue where a listener does not say. */
export const DEFAULT_BACKLOG = 4_096

/** What listens for the set. Whoever accepts asks {@link ListenerSet.current} for the listener as it is then. */
export type Listen = (
  listener: Listener,
  address: ListenerAddress,
  options: ListenOptions,
) => Promise<ListenResult>

export interface ListenerSetDeps {
  /** Whose listeners are to be bound. */
  readonly store: MeshStore
  readonly listen: Listen
  /** Told where the sockets are bound whenever that has changed. */
  readonly boundChanged: (bound: readonly SocketAddress[]) => void
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly ledger: ListenerLedger
}

export interface ListenerSetOptions {
  /** Families that may be bound; addresses of the others are left out. */
  readonly families: readonly Family[]
  readonly keepalive: Keepalive
}

/** What became of one address of a listener. */
export interface ListenerAddressStatus {
  readonly listener: string
  readonly family: Family
  /** The configured address; once bound, with the port that is really in use. */
  readonly address: SocketAddress
  readonly state: ListenerState
  /** Why it is not bound; empty when it is. */
  readonly reason: string
}

export class ListenerSet {
  readonly #deps: ListenerSetDeps
  readonly #options: ListenerSetOptions
  readonly #entries = new Map<string, ListenerEntry>()
  #applying: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor(deps: ListenerSetDeps, options: ListenerSetOptions) {
    this.#deps = deps
    this.#options = options
  }

  /**
   * Makes the bound listeners those of the mesh. An address that stays keeps its socket, whatever else of its listener
   * changes. Resolves when every new address has been tried once; never rejects.
   */
  apply(): Promise<void> {
    // One change after the other: an address must be free before the next owner of it binds.
    this.#applying = this.#applying.then(() => this.#apply(this.#deps.store.snapshot.listener))
    return this.#applying
  }

  async #apply(listeners: ReadonlyMap<string, Listener>): Promise<void> {
    if (this.#isClosed) return
    // Removals come first, so that a new listener can take an address that an old one had.
    const removed = [...this.#entries.values()].filter(
      ({ listener }) => !isBinding(listeners.get(listener.name)),
    )
    await Promise.all(removed.map((entry) => this.#remove(entry)))
    const opening: Promise<void>[] = []
    for (const listener of listeners.values()) {
      if (!isBinding(listener)) continue
      let entry = this.#entries.get(listener.name)
      if (entry === undefined) {
        entry = new ListenerEntry(this.#deps, this.#options, listener, () => {
          this.#boundChanged()
        })
        this.#entries.set(listener.name, entry)
      }
      opening.push(entry.update(listener))
    }
    await Promise.all(opening)
  }

  /** The listener of a name as it is in force; `undefined` when it is not wanted any more. */
  current(name: string): Listener | undefined {
    return this.#entries.get(name)?.listener
  }

  /** Every address that is to be bound, with what became of it. */
  get statuses(): readonly ListenerAddressStatus[] {
    return [...this.#entries.values()].flatMap((entry) => entry.statuses)
  }

  /** Stops accepting everywhere and for good. Accepted connections go on. Idempotent. */
  async close(): Promise<void> {
    await this.#applying
    this.#isClosed = true
    await Promise.all([...this.#entries.values()].map((entry) => this.#remove(entry)))
  }

  async #remove(entry: ListenerEntry): Promise<void> {
    await entry.close()
    this.#entries.delete(entry.listener.name)
    this.#boundChanged()
  }

  #boundChanged(): void {
    this.#deps.boundChanged([...this.#entries.values()].flatMap(({ bound }) => bound))
  }
}

/** One listener with its addresses. */
class ListenerEntry {
  listener: Listener
  readonly #deps: ListenerSetDeps
  readonly #options: ListenerSetOptions
  readonly #changed: () => void
  readonly #addresses = new Map<string, BoundAddress>()

  constructor(deps: ListenerSetDeps, options: ListenerSetOptions, listener: Listener, changed: () => void) {
    this.#deps = deps
    this.#options = options
    this.#changed = changed
    this.listener = listener
  }

  get statuses(): readonly ListenerAddressStatus[] {
    return [...this.#addresses.values()].map((address) => ({
      listener: this.listener.name,
      ...address.status,
    }))
  }

  /** Where its sockets are bound. */
  get bound(): readonly SocketAddress[] {
    return [...this.#addresses.values()].flatMap(({ boundTo }) => boundTo ?? [])
  }

  async update(listener: Listener): Promise<void> {
    this.listener = listener
    const wanted = new Map(
      listener.addresses
        .filter(({ address }) => this.#options.families.includes(address.ip.family))
        .map((address) => [socketKey(listener, address), address]),
    )
    const gone = [...this.#addresses].filter(([key]) => !wanted.has(key))
    for (const [key] of gone) this.#addresses.delete(key)
    await Promise.all(gone.map(([, address]) => address.close()))
    const opening: Promise<void>[] = []
    for (const [key, address] of wanted) {
      if (this.#addresses.has(key)) continue
      const bound = new BoundAddress(this.#deps, address, {
        listen: () => this.#listen(address),
        changed: () => {
          this.#publish()
        },
      })
      this.#addresses.set(key, bound)
      opening.push(bound.open())
    }
    await Promise.all(opening)
    this.#publish()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#addresses.values()].map((address) => address.close()))
    this.#addresses.clear()
    this.#deps.ledger.remove(this.listener.name)
  }

  #listen(address: ListenerAddress): Promise<ListenResult> {
    return this.#deps.listen(this.listener, address, {
      backlog: this.listener.backlog ?? DEFAULT_BACKLOG,
      keepalive: { ...this.#options.keepalive, ...this.listener.keepalive },
      ...(this.listener.capture === 'tproxy' && { isTransparent: true }),
    })
  }

  /** The state of a family is that of its worst address: an operator looks for what is not there. */
  #publish(): void {
    const statuses = this.statuses
    for (const family of FAMILIES) {
      const states = statuses.filter((status) => status.family === family).map(({ state }) => state)
      const worst = (['failed', 'absent', 'bound'] as const).find((state) => states.includes(state))
      if (worst !== undefined) this.#deps.ledger.setState(this.listener.name, family, worst)
    }
    this.#changed()
  }
}

/** One address on its way to being bound, bound, or waiting for the next try. */
class BoundAddress {
  readonly #deps: ListenerSetDeps
  readonly #address: ListenerAddress
  readonly #owner: { readonly listen: () => Promise<ListenResult>; readonly changed: () => void }
  readonly #backoff: Backoff
  #socket: ListeningSocket | undefined
  #failure: { readonly state: 'absent' | 'failed'; readonly reason: string } | undefined
  #retry: Timer | undefined
  #isClosed = false

  constructor(
    deps: ListenerSetDeps,
    address: ListenerAddress,
    owner: { readonly listen: () => Promise<ListenResult>; readonly changed: () => void },
  ) {
    this.#deps = deps
    this.#address = address
    this.#owner = owner
    this.#backoff = new Backoff({ random: deps.random }, FAILED_BACKOFF)
  }

  /** Where the socket is bound; `undefined` while there is none. */
  get boundTo(): SocketAddress | undefined {
    return this.#socket?.address
  }

  get status(): Omit<ListenerAddressStatus, 'listener'> {
    return {
      family: this.#address.address.ip.family,
      address: this.#socket?.address ?? this.#address.address,
      state: this.#socket === undefined ? (this.#failure?.state ?? 'failed') : 'bound',
      reason: this.#socket === undefined ? (this.#failure?.reason ?? 'not tried yet') : '',
    }
  }

  async open(): Promise<void> {
    const result = await this.#owner.listen()
    if (result.ok) {
      if (this.#isClosed) {
        await result.socket.close()
        return
      }
      if (this.#failure !== undefined) {
        this.#deps.logger.log('info', `listening on ${formatSocketAddress(result.socket.address)} again`)
      }
      this.#socket = result.socket
      this.#failure = undefined
    } else if (!this.#isClosed) {
      this.#fail(result.code, result.message)
    }
    this.#owner.changed()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#retry?.cancel()
    await this.#socket?.close()
    this.#socket = undefined
  }

  #fail(code: ErrorCode, message: string): void {
    const isAbsent = code === 'family_absent' || code === 'address_unavailable'
    const isNew = this.#failure?.reason !== message
    this.#failure = { state: isAbsent ? 'absent' : 'failed', reason: message }
    if (isNew) this.#deps.logger.log('warn', message, { code, state: this.#failure.state })
    const delayMs = isAbsent ? ABSENT_PROBE_MS : this.#backoff.nextDelayMs()
    this.#retry = this.#deps.clock.setTimer(delayMs, () => void this.open())
  }
}

function isBinding(listener: Listener | undefined): boolean {
  return listener?.bindToPort === true
}

/** What makes a socket another socket: the address, its options, and what of the listener is set at bind time. */
function socketKey(listener: Listener, { address, socketOptions }: ListenerAddress): string {
  const options = socketOptions.map(({ level, name, value }) => `${level}/${name}/${String(value)}`).join()
  return `${formatSocketAddress(address)} ${listener.capture === 'tproxy'} ${listener.backlog ?? ''} ${options}`
}
