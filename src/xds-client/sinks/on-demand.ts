/**
 * Asks the control plane for addresses when connections first need them, where the mesh is not known as a whole. Names
 * are istiod's aliases, `network/ip`. Knows the questions; the answers go into the mesh like any other response.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unsubscribing-from-resources
 */
import type { IpAddress, SocketAddress } from '../../core/address.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import type { AddressAnswer } from './ambient-sink.ts'

/** How long a connection waits for the answer; less than a worker waits for a route. */
export const ANSWER_DEADLINE_MS = 4_000
/** How long an address that there is nothing of is taken for unknown before it is asked for again. */
export const ASK_AGAIN_MS = 60_000
/** Names that may be waited for at once; what is over it is not asked for, and gets no answer. */
export const MAX_PENDING = 4_096
/**
 * Names of unknown addresses that stay subscribed, the least used make room. Two for each plan that workers may hold, so
 * that no plan says "unknown" of an address that the control plane no longer tells about.
 */
export const MAX_UNKNOWN = 32_768

export interface OnDemandDeps {
  readonly clock: Clock
  /** Asks for names, also again for those that were asked for before. */
  readonly subscribe: (names: readonly string[]) => void
  readonly unsubscribe: (names: readonly string[]) => void
  /** True when the mesh in force says something about an address. */
  readonly isKnown: (ip: IpAddress) => boolean
}

export interface OnDemandOptions {
  /** The network of this node; empty is the default one. */
  readonly network: string
  /** Default {@link ANSWER_DEADLINE_MS}. */
  readonly deadlineMs?: number
  /** Default {@link MAX_PENDING}. */
  readonly maxPending?: number
  /** Default {@link MAX_UNKNOWN}. */
  readonly maxUnknown?: number
  /** True: an address without an answer is taken for one outside the mesh. False: its connections do not go on. */
  readonly passesUnanswered: boolean
}

/** Counts of names. */
export interface OnDemandReadings {
  readonly pending: number
  readonly unknown: number
  /** Waits that ended without an answer since the start. */
  readonly timedOut: number
  /** Names that were not asked for since the start, because too many were waited for. */
  readonly overflowed: number
}

interface Pending {
  readonly ip: IpAddress
  readonly untilMs: number
  readonly waiters: ((isKnown: boolean) => void)[]
}

interface Unknown {
  askAgainAtMs: number
  /** The control plane has it, but the mesh does not find it by this address: a host's, or a private service's. */
  readonly isHeld: boolean
}

export class OnDemand {
  readonly #deps: OnDemandDeps
  readonly #network: string
  readonly #deadlineMs: number
  readonly #maxPending: number
  readonly #maxUnknown: number
  readonly #passesUnanswered: boolean
  /** Oldest first. */
  readonly #pending = new Map<string, Pending>()
  /** Least recently used first. */
  readonly #unknown = new Map<string, Unknown>()
  /** The resources that are there, by the names that they were asked for by. Grows with the mesh, not with questions. */
  readonly #holders = new Map<string, string>()
  /** The same the other way round. */
  readonly #names = new Map<string, Set<string>>()
  #timedOut = 0
  #overflowed = 0
  #timer: Timer | undefined

  constructor(deps: OnDemandDeps, options: OnDemandOptions) {
    this.#deps = deps
    this.#network = options.network
    this.#deadlineMs = options.deadlineMs ?? ANSWER_DEADLINE_MS
    this.#maxPending = options.maxPending ?? MAX_PENDING
    this.#maxUnknown = options.maxUnknown ?? MAX_UNKNOWN
    this.#passesUnanswered = options.passesUnanswered
  }

  get readings(): OnDemandReadings {
    return {
      pending: this.#pending.size,
      unknown: this.#unknown.size,
      timedOut: this.#timedOut,
      overflowed: this.#overflowed,
    }
  }

  /**
   * Calls back exactly once, when the mesh knows both addresses of a connection or the control plane has nothing of them:
   * before it returns when nothing has to be asked, at the deadline at the latest. Not known is what has had no answer.
   */
  whenKnown(
    { client, destination }: { readonly client: SocketAddress; readonly destination: SocketAddress },
    callback: (isKnown: boolean) => void,
  ): void {
    const asked: string[] = []
    const lookups = [destination.ip, client.ip].map((ip) => this.#lookUp(ip, asked))
    const waited = lookups.filter((lookup) => typeof lookup === 'object')
    let areKnown = !lookups.includes('overflow')
    let open = waited.length
    const answered = (isKnown: boolean): void => {
      areKnown &&= isKnown
      open--
      if (open === 0) callback(areKnown)
    }
    for (const { waiters } of waited) waiters.push(answered)
    if (asked.length > 0) this.#deps.subscribe(asked)
    if (waited.length === 0) callback(areKnown)
  }

  /** Takes what a response says, once it is in force. */
  answered({ found, missing }: AddressAnswer): void {
    for (const { name, aliases } of found) for (const alias of [name, ...aliases]) this.#found(alias, name)
    const unsubscribed = missing.flatMap((name) => this.#missing(name))
    if (unsubscribed.length > 0) this.#deps.unsubscribe(unsubscribed)
  }

  /** Answers everybody who waits. Idempotent. */
  close(): void {
    for (const [name, pending] of [...this.#pending]) this.#settle(name, pending, this.#passesUnanswered)
  }

  /** What has to be waited for, or nothing. Adds the name to `asked` when it has to be asked for. */
  #lookUp(ip: IpAddress, asked: string[]): Pending | 'answered' | 'overflow' {
    if (this.#deps.isKnown(ip)) return 'answered'
    const name = `${this.#network}/${ip.text}`
    const pending = this.#pending.get(name)
    if (pending !== undefined) return pending
    const unknown = this.#unknown.get(name)
    if (unknown !== undefined) {
      this.#unknown.delete(name)
      this.#unknown.set(name, unknown)
      if (unknown.askAgainAtMs <= this.#nowMs()) {
        // In the background: the control plane tells by itself when it learns of a subscribed name.
        unknown.askAgainAtMs = this.#nowMs() + ASK_AGAIN_MS
        asked.push(name)
      }
      return 'answered'
    }
    if (this.#pending.size >= this.#maxPending) {
      this.#overflowed++
      return this.#passesUnanswered ? 'answered' : 'overflow'
    }
    asked.push(name)
    return this.#ask(name, ip)
  }

  #ask(name: string, ip: IpAddress): Pending {
    const pending: Pending = { ip, untilMs: this.#nowMs() + this.#deadlineMs, waiters: [] }
    this.#pending.set(name, pending)
    this.#timer ??= this.#deps.clock.setTimer(this.#deadlineMs, this.#giveUp)
    return pending
  }

  /** A resource is there that may have been asked for by `name`. */
  #found(name: string, resource: string): void {
    const pending = this.#pending.get(name)
    const holder = this.#holders.get(name)
    if (pending === undefined && holder === undefined && !this.#unknown.has(name)) return
    // An address goes from one pod to the next, perhaps in one response.
    if (holder !== undefined) this.#names.get(holder)?.delete(name)
    this.#holders.set(name, resource)
    const names = this.#names.get(resource)
    if (names === undefined) this.#names.set(resource, new Set([name]))
    else names.add(name)
    this.#unknown.delete(name)
    if (pending === undefined) return
    if (!this.#deps.isKnown(pending.ip)) this.#takeForUnknown(name, true)
    this.#settle(name, pending)
  }

  /** There is nothing of a name, or no longer. Returns the names that need not be subscribed to any more. */
  #missing(name: string): readonly string[] {
    const pending = this.#pending.get(name)
    if (pending !== undefined) {
      this.#takeForUnknown(name, false)
      this.#settle(name, pending)
    }
    const names = [...(this.#names.get(name) ?? [])]
    this.#names.delete(name)
    for (const each of names) {
      this.#holders.delete(each)
      this.#unknown.delete(each)
    }
    return names
  }

  #settle(name: string, { waiters }: Pending, isKnown = true): void {
    this.#pending.delete(name)
    if (this.#pending.size === 0) {
      this.#timer?.cancel()
      this.#timer = undefined
    }
    for (const waiter of waiters) waiter(isKnown)
  }

  #takeForUnknown(name: string, isHeld: boolean): void {
    const [oldest] = this.#unknown
    if (this.#unknown.size >= this.#maxUnknown && oldest !== undefined) {
      this.#unknown.delete(oldest[0])
      if (!oldest[1].isHeld) this.#deps.unsubscribe([oldest[0]])
    }
    this.#unknown.set(name, { askAgainAtMs: this.#nowMs() + ASK_AGAIN_MS, isHeld })
  }

  readonly #giveUp = (): void => {
    this.#timer = undefined
    const nowMs = this.#nowMs()
    for (const [name, pending] of this.#pending) {
      if (nowMs < pending.untilMs) {
        this.#timer ??= this.#deps.clock.setTimer(pending.untilMs - nowMs, this.#giveUp)
        return
      }
      this.#timedOut++
      if (this.#passesUnanswered) this.#takeForUnknown(name, false)
      else this.#deps.unsubscribe([name])
      this.#settle(name, pending, this.#passesUnanswered)
    }
  }

  #nowMs(): number {
    return this.#deps.clock.nowMs()
  }
}
