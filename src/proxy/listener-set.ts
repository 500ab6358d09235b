/**
 * The sockets that the proxy listens on: one per listener, address and family, each with a state of its own. A family
 * that is missing is a state that is probed again, never an error that stops the other family (rules 1 and 2).
 */
import { formatSocketAddress, isLoopback, isSameSocketAddress, isUnspecified } from '../core/address.ts'
import { Backoff } from '../core/backoff.ts'
import { FAMILIES } from '../core/family.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Family } from '../core/family.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Listener, ListenerAddress } from '../mesh/listener.ts'
import type { Keepalive } from '../mesh/upstream.ts'
import type { ListenerState, ProxyStats } from './proxy-stats.ts'
import type { ListeningSocket, ListenResult, Transport, TransportSocket } from './transport.ts'

/** How long until a family or address that is absent is looked for again (rule 2). */
export const ABSENT_PROBE_MS = 30_000
/** How long until a bind that failed is tried again. */
export const FAILED_BACKOFF = { initialMs: 1_000, maxMs: 30_000 } as const

export interface ListenerSetDeps {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly stats: ProxyStats
}

export interface ListenerSetOptions {
  /** Families that may be bound; addresses of the others are left out. */
  readonly families: readonly Family[]
  /** Length of the accept queue where a listener does not say. */
  readonly backlog: number
  readonly keepalive: Keepalive
}

export interface ListenerSetEvents {
  accepted(socket: TransportSocket, listener: Listener): void
  acceptFailed(code: ErrorCode): void
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
  readonly #events: ListenerSetEvents
  readonly #entries = new Map<string, ListenerEntry>()
  #isClosed = false

  constructor(deps: ListenerSetDeps, options: ListenerSetOptions, events: ListenerSetEvents) {
    this.#deps = deps
    this.#options = options
    this.#events = events
  }

  /**
   * Makes the bound listeners those of `listeners`. An address that stays keeps its socket, whatever else of its
   * listener changes. Resolves when every new address has been tried once; never rejects.
   */
  async apply(listeners: ReadonlyMap<string, Listener>): Promise<void> {
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
        entry = new ListenerEntry(this.#deps, this.#options, this.#events, listener)
        this.#entries.set(listener.name, entry)
      }
      opening.push(entry.update(listener))
    }
    await Promise.all(opening)
  }

  /** Every address that is to be bound, with what became of it. */
  get statuses(): readonly ListenerAddressStatus[] {
    return [...this.#entries.values()].flatMap((entry) => entry.statuses)
  }

  /** True when connecting to the address from this host would reach one of the bound sockets. */
  isOwnAddress(address: SocketAddress): boolean {
    for (const entry of this.#entries.values()) if (entry.isBoundTo(address)) return true
    return false
  }

  /** Stops accepting everywhere and for good. Accepted connections go on. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#entries.values()].map((entry) => this.#remove(entry)))
  }

  async #remove(entry: ListenerEntry): Promise<void> {
    this.#entries.delete(entry.listener.name)
    await entry.close()
  }
}

/** One listener: its addresses, and the listener object that new connections are given. */
class ListenerEntry {
  listener: Listener
  readonly #deps: ListenerSetDeps
  readonly #options: ListenerSetOptions
  readonly #events: ListenerSetEvents
  readonly #addresses = new Map<string, BoundAddress>()

  constructor(
    deps: ListenerSetDeps,
    options: ListenerSetOptions,
    events: ListenerSetEvents,
    listener: Listener,
  ) {
    this.#deps = deps
    this.#options = options
    this.#events = events
    this.listener = listener
  }

  get statuses(): readonly ListenerAddressStatus[] {
    return [...this.#addresses.values()].map((address) => ({
      listener: this.listener.name,
      ...address.status,
    }))
  }

  isBoundTo(address: SocketAddress): boolean {
    for (const { boundTo } of this.#addresses.values()) {
      if (
        boundTo !== undefined &&
        (isSameSocketAddress(boundTo, address) || reachesWildcard(boundTo, address))
      )
        return true
    }
    return false
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
    this.#deps.stats.removeListener(this.listener.name)
  }

  #listen(address: ListenerAddress): Promise<ListenResult> {
    const unsupported = missingCapability(this.listener, address, this.#deps.transport)
    if (unsupported !== undefined)
      return Promise.resolve({ ok: false, code: 'unsupported', message: unsupported })
    const options = {
      backlog: this.listener.backlog ?? this.#options.backlog,
      keepalive: { ...this.#options.keepalive, ...this.listener.keepalive },
    }
    return this.#deps.transport.listen(address, options, {
      accepted: (socket) => {
        this.#events.accepted(socket, this.listener)
      },
      acceptFailed: this.#events.acceptFailed.bind(this.#events),
    })
  }

  /** The state of a family is that of its worst address: an operator looks for what is not there. */
  #publish(): void {
    const statuses = this.statuses
    for (const family of FAMILIES) {
      const states = statuses.filter((status) => status.family === family).map(({ state }) => state)
      const worst = (['failed', 'absent', 'bound'] as const).find((state) => states.includes(state))
      if (worst !== undefined) this.#deps.stats.listenerState(this.listener.name, family, worst)
    }
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
    if (code === 'unsupported') return
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

function missingCapability(
  listener: Listener,
  address: ListenerAddress,
  transport: Transport,
): string | undefined {
  const { transparentSource, socketOptions } = transport.capabilities
  if (listener.capture === 'tproxy' && !transparentSource.isAvailable) {
    return `listener ${listener.name} is transparent, which the ${transport.engine} engine cannot do (${transparentSource.reason})`
  }
  if (address.socketOptions.length > 0 && !socketOptions.isAvailable) {
    return `listener ${listener.name} has socket_options, which the ${transport.engine} engine cannot set (${socketOptions.reason})`
  }
  return undefined
}

function reachesWildcard(bound: SocketAddress, address: SocketAddress): boolean {
  return (
    bound.port === address.port &&
    bound.ip.family === address.ip.family &&
    isUnspecified(bound.ip) &&
    (isLoopback(address.ip) || isUnspecified(address.ip))
  )
}
