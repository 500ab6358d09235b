/**
 * Keeps a stream to the control plane alive and hands its updates to whoever keeps the resources, one at a time. What was
 * received stays while there is no stream; the next stream says what is there already.
 */
import { Backoff } from '../../core/backoff.ts'
import type { AgentError } from '../../core/errors.ts'
import { silenceError, violationError } from './stream-error.ts'
import { finishInSlices, runSlice } from '../slices.ts'
import { StreamState } from './stream-state.ts'
import { Subscription } from './subscription.ts'

import type { Timer } from '../../core/clock.ts'
import type { LogLevel, Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { AdsObserver, AdsStatus, ReconnectReason, TimedText } from './ads-status.ts'
import type { AdsStream, AdsTransport } from './ads-transport.ts'
import type { XdsMode } from './discovery-messages.ts'
import type { TypeUpdate, UpdateSink } from '../discovery.ts'
import type { DiscoveryNode } from './node-message.ts'
import type { SliceDeps } from '../slices.ts'
import type { TypeInterest } from './subscription.ts'

export interface AdsClientDeps extends SliceDeps {
  readonly transport: AdsTransport
  readonly sink: UpdateSink
  readonly random: Random
  readonly logger: Logger
  readonly observer: AdsObserver
}

export interface AdsClientOptions {
  readonly mode: XdsMode
  readonly node: DiscoveryNode
  /** In the order in which they are asked for. */
  readonly types: readonly TypeInterest[]
  /** Time from opening a stream to its first response. Default 15 s. */
  readonly firstResponseTimeoutMs?: number
}

/** As Envoy's: the pause before a new stream is drawn from 0 to a bound that doubles from 500 ms to 30 s. */
export const RECONNECT_BACKOFF = { initialMs: 500, maxMs: 30_000, jitter: 'full' } as const
/** Before the next message is read after several rejected ones in a row: a server may send the same again at once. */
const NACK_BACKOFF = { initialMs: 500, maxMs: 5_000, jitter: 'half' } as const
export const DEFAULT_FIRST_RESPONSE_TIMEOUT_MS = 15_000

/** Failures that only a change of the configuration ends. */
const NEEDS_OPERATOR: ReadonlySet<ReconnectReason> = new Set([
  'certificate_untrusted',
  'config_invalid',
  'credentials_unreadable',
  'protocol_violation',
  'unauthenticated',
  'unsupported',
])

/** A stream that is open, or was a moment ago. */
interface OpenStream {
  readonly stream: AdsStream
  readonly state: StreamState
  /** Why we ended it ourselves. */
  failure?: AgentError
  hasServed: boolean
}

interface TypeRecord {
  updatedAtMs?: number
  lastNack?: TimedText
}

export class AdsClient {
  readonly #deps: AdsClientDeps
  readonly #options: AdsClientOptions
  readonly #firstResponseTimeoutMs: number
  readonly #subscriptions: ReadonlyMap<string, Subscription>
  readonly #records: ReadonlyMap<string, TypeRecord>
  readonly #reconnectBackoff: Backoff
  readonly #nackBackoff: Backoff
  #open: OpenStream | undefined
  /** Waits to open a stream. */
  #reconnectTimer: Timer | undefined
  #deadline: Timer | undefined
  #readTimer: Timer | undefined
  /** The message that is read and applied, whatever becomes of the stream meanwhile. */
  #taking: Promise<void> | undefined
  #isLastRejected = false
  #isStarted = false
  #isConnected = false
  #sinceMs: number
  #controlPlane = ''
  #lastError: AdsStatus['lastError']
  #closing: Promise<void> | undefined
  #gone: (() => void) | undefined

  constructor(deps: AdsClientDeps, options: AdsClientOptions) {
    this.#deps = deps
    this.#options = options
    this.#firstResponseTimeoutMs = options.firstResponseTimeoutMs ?? DEFAULT_FIRST_RESPONSE_TIMEOUT_MS
    this.#subscriptions = new Map(options.types.map((type) => [type.typeUrl, new Subscription(type)]))
    this.#records = new Map(options.types.map(({ typeUrl }) => [typeUrl, {}]))
    this.#reconnectBackoff = new Backoff(deps, RECONNECT_BACKOFF)
    this.#nackBackoff = new Backoff(deps, NACK_BACKOFF)
    this.#sinceMs = deps.clock.wallTimeMs()
  }

  /** Opens the first stream. Names that are set before go out with it. */
  start(): void {
    if (this.#isStarted || this.#closing !== undefined)
      throw new TypeError('the client was started or closed before')
    this.#isStarted = true
    this.#connect()
  }

  /** Ends the stream for good. Idempotent; resolves when stream, timers and the sink's last update are done. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** What the client is doing. Linear in the number of names. */
  get status(): AdsStatus {
    const { mode, types } = this.#options
    return {
      target: this.#deps.transport.target,
      mode,
      isConnected: this.#isConnected,
      sinceMs: this.#sinceMs,
      controlPlane: this.#controlPlane,
      ...(this.#lastError !== undefined && { lastError: this.#lastError }),
      types: types.map(({ typeUrl, interest }) => {
        const { version, known, names } = this.#subscription(typeUrl)
        const record = this.#records.get(typeUrl)
        return { typeUrl, interest, version, resourceCount: known.size, names: [...names], ...record }
      }),
    }
  }

  /** Number of resources of a type that were accepted and are still there; cheap, for metrics. */
  resourceCount(typeUrl: string): number {
    return this.#subscription(typeUrl).known.size
  }

  /** Wants these names of a type and no others. Of a wildcard type everything is there already: nothing is sent. */
  setNames(typeUrl: string, names: Iterable<string>): void {
    this.#subscription(typeUrl).setNames(names)
    this.#flush()
  }

  /**
   * Wants these names of a type too. The control plane answers each with the resource or, in the delta protocol, with its
   * removal; a name that is wanted already is asked for again.
   */
  subscribe(typeUrl: string, names: Iterable<string>): void {
    this.#subscription(typeUrl).subscribe(names)
    this.#flush()
  }

  /** Wants these names of a type no longer. */
  unsubscribe(typeUrl: string, names: Iterable<string>): void {
    this.#subscription(typeUrl).unsubscribe(names)
    this.#flush()
  }

  #subscription(typeUrl: string): Subscription {
    const subscription = this.#subscriptions.get(typeUrl)
    if (subscription === undefined) throw new TypeError(`${typeUrl} is not among the client's types`)
    return subscription
  }

  #connect(): void {
    this.#reconnectTimer = undefined
    const { mode, node } = this.#options
    const state = new StreamState({ mode, node, subscriptions: [...this.#subscriptions.values()] })
    const open: OpenStream = {
      state,
      hasServed: false,
      stream: this.#deps.transport.open(mode, {
        message: (bytes) => {
          this.#receive(open, bytes)
        },
        ended: (error) => {
          this.#ended(open, error)
        },
      }),
    }
    this.#open = open
    this.#isLastRejected = false
    this.#nackBackoff.reset()
    this.#deadline = this.#deps.clock.setTimer(this.#firstResponseTimeoutMs, () => {
      this.#firstResponseIsDue(open)
    })
    void this.#greet(state)
  }

  /** Sends the first requests, at once unless they claim so much that it takes more than a slice to write. */
  async #greet(state: StreamState): Promise<void> {
    const steps = state.prepareSteps()
    if (runSlice(this.#deps, steps).done !== true) {
      await this.#deps.nextTurn()
      await finishInSlices(this.#deps, steps)
    }
    this.#flush()
  }

  #firstResponseIsDue(open: OpenStream): void {
    // It has nothing that we do not have; a connection that is dead is found by keepalive.
    if (open.state.mayStaySilent) this.#setConnected(true)
    else this.#fail(open, silenceError(this.#deps.transport.target, this.#firstResponseTimeoutMs))
  }

  #receive(open: OpenStream, bytes: Uint8Array): void {
    if (open.failure !== undefined || this.#closing !== undefined) return
    // It has answered; reading a large response may take longer than the deadline allows.
    this.#deadline?.cancel()
    this.#taking = this.#take(open, bytes)
  }

  /** Deals with one message, whatever becomes of the stream meanwhile. */
  async #take(open: OpenStream, bytes: Uint8Array): Promise<void> {
    const isRejected = await this.#process(open, bytes)
    this.#taking = undefined
    // When the stream went meanwhile, what waited for this message may go on.
    if (this.#open !== open) this.#reconnect()
    if (this.#open !== open || open.failure !== undefined) return
    this.#flush()
    this.#readNext(open, isRejected)
  }

  /** Resolves with whether the message was rejected. */
  async #process(open: OpenStream, bytes: Uint8Array): Promise<boolean> {
    const received = await finishInSlices(this.#deps, open.state.receiveSteps(bytes))
    const { observer, logger, transport } = this.#deps
    if (received.kind === 'violation') {
      observer.message('', 'malformed')
      this.#fail(open, violationError(transport.target, received.problem))
      return false
    }
    this.#served(open)
    switch (received.kind) {
      case 'update':
        if (this.#closing !== undefined) return false
        if (received.controlPlane !== '') this.#controlPlane = received.controlPlane
        return await this.#apply(open, received.update)
      case 'rejected':
        this.#rejected(received.typeUrl, received.nack)
        return true
      case 'dropped': {
        const what = received.typeUrl || 'a response without a type'
        observer.message(received.typeUrl, 'dropped')
        logger.log('warn', `${transport.target} sent ${what}, which was not asked for`)
        return false
      }
    }
  }

  /** The stream works: its control plane has answered. */
  #served(open: OpenStream): void {
    if (open.hasServed) return
    open.hasServed = true
    // Not at connecting: one that accepts streams and drops them would be asked without a pause.
    this.#reconnectBackoff.reset()
    // A stream that went while its message was read does not come back by it.
    if (this.#open === open) this.#setConnected(true)
  }

  /** The sink never rejects; if it does, that is a defect, and ends the process as an unhandled rejection. */
  async #apply(open: OpenStream, update: TypeUpdate): Promise<boolean> {
    const rejections = await this.#deps.sink.apply(update)
    const { typeUrl, nack } = await finishInSlices(this.#deps, open.state.settleSteps(rejections))
    const record = this.#records.get(typeUrl)
    if (record !== undefined) record.updatedAtMs = this.#deps.clock.wallTimeMs()
    if (nack === undefined) this.#deps.observer.message(typeUrl, 'accepted')
    else this.#rejected(typeUrl, nack)
    return nack !== undefined
  }

  #rejected(typeUrl: string, nack: string): void {
    const { clock, observer, logger, transport } = this.#deps
    const record = this.#records.get(typeUrl)
    if (record !== undefined) record.lastNack = { text: nack, atMs: clock.wallTimeMs() }
    observer.message(typeUrl, 'rejected')
    logger.log('error', `rejected an update of ${typeUrl} from ${transport.target}: ${nack}`)
  }

  #readNext(open: OpenStream, isRejected: boolean): void {
    const isLoop = isRejected && this.#isLastRejected
    this.#isLastRejected = isRejected
    if (!isRejected) this.#nackBackoff.reset()
    if (!isLoop) {
      open.stream.next()
      return
    }
    this.#readTimer = this.#deps.clock.setTimer(this.#nackBackoff.nextDelayMs(), () => {
      open.stream.next()
    })
  }

  /** Sends what is due. */
  #flush(): void {
    const open = this.#open
    if (open === undefined || open.failure !== undefined) return
    for (const request of open.state.takeRequests()) open.stream.send(request)
  }

  #fail(open: OpenStream, failure: AgentError): void {
    open.failure = failure
    open.stream.close()
  }

  #ended(open: OpenStream, streamError: AgentError | undefined): void {
    this.#open = undefined
    this.#deadline?.cancel()
    this.#readTimer?.cancel()
    this.#setConnected(false)
    if (this.#closing !== undefined) {
      this.#gone?.()
      return
    }
    const error = open.failure ?? streamError
    this.#report(error, open.hasServed && open.failure === undefined)
    this.#reconnect()
  }

  /** A stream that had served and was cut is the control plane's daily life: its age limit, or a restart. */
  #report(error: AgentError | undefined, hadServed: boolean): void {
    const { clock, logger, observer, transport } = this.#deps
    const reason = error?.code ?? 'ended'
    observer.reconnecting(reason)
    const text = error?.message ?? `${transport.target} ended the stream`
    if (error !== undefined) this.#lastError = { text, code: error.code, atMs: clock.wallTimeMs() }
    const isExpected = error === undefined || (hadServed && !NEEDS_OPERATOR.has(reason))
    const level: LogLevel = isExpected ? 'info' : NEEDS_OPERATOR.has(reason) ? 'error' : 'warn'
    logger.log(level, `${text}; connecting again, the last good configuration stays`, { code: reason })
  }

  /** Opens the next stream after a pause, and not before the sink is done: updates never overlap. */
  #reconnect(): void {
    if (this.#taking !== undefined || this.#closing !== undefined || this.#open !== undefined) return
    if (this.#reconnectTimer !== undefined) return
    this.#reconnectTimer = this.#deps.clock.setTimer(this.#reconnectBackoff.nextDelayMs(), () => {
      this.#connect()
    })
  }

  #setConnected(isConnected: boolean): void {
    if (this.#isConnected === isConnected) return
    this.#isConnected = isConnected
    this.#sinceMs = this.#deps.clock.wallTimeMs()
    this.#deps.observer.connectedChanged(isConnected)
  }

  async #close(): Promise<void> {
    this.#reconnectTimer?.cancel()
    this.#deadline?.cancel()
    this.#readTimer?.cancel()
    const open = this.#open
    if (open !== undefined) {
      const gone = new Promise<void>((resolve) => {
        this.#gone = resolve
      })
      open.stream.close()
      await gone
    }
    await this.#taking
  }
}
