/**
 * One stream of discovery as a pure machine: bytes of responses in, updates to apply and bytes of requests out. It owns
 * nonces, replies and the order of requests; what outlives the stream is in the subscriptions. No I/O and no clock.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */
import { decodeSteps, encodeDeltaRequest, encodeSotwRequest } from './discovery-messages.ts'
import { findContradictions, formatRejections, resourceName } from './response-check.ts'
import { encodeVersionsSteps } from './initial-versions.ts'
import { ITEMS_PER_STEP, finishSteps } from '../slices.ts'

import type { DeltaRequest, ErrorDetail, XdsMode } from './discovery-messages.ts'
import type { Rejection, TypeUpdate } from '../discovery.ts'
import type { DiscoveryNode } from './node-message.ts'
import type { Steps } from '../slices.ts'
import type { Subscription } from './subscription.ts'

/** google.rpc.Code INTERNAL: what Envoy rejects a resource with. */
const NACK_CODE = 13

/** What a message of the control plane asks of the client. */
export type Received =
  /** Apply it, then call `settle`. */
  | { readonly kind: 'update'; readonly update: TypeUpdate; readonly controlPlane: string }
  /** Nothing of it can be used; the NACK is on its way. */
  | { readonly kind: 'rejected'; readonly typeUrl: string; readonly nack: string }
  /** Nobody asked for it, and nothing is answered. */
  | { readonly kind: 'dropped'; readonly typeUrl: string }
  /** It cannot be answered: the stream is of no use any more. */
  | { readonly kind: 'violation'; readonly problem: string }

/** How an update ended. */
export interface Settlement {
  readonly typeUrl: string
  /** The text of the NACK; absent after an ACK. */
  readonly nack?: string
}

interface Reply {
  readonly type: TypeStream
  readonly nonce: string
  readonly error?: ErrorDetail
}

/** One type on this stream. */
interface TypeStream {
  readonly subscription: Subscription
  isStarted: boolean
  /** Of the last response. */
  nonce: string
  claims?: Claims
}

/** What is known of a type, encoded. */
interface Claims {
  readonly revision: number
  readonly encoded: Uint8Array
}

interface PendingUpdate {
  readonly type: TypeStream
  readonly update: TypeUpdate
  readonly contradictions: readonly Rejection[]
}

export class StreamState {
  readonly #mode: XdsMode
  readonly #types: ReadonlyMap<string, TypeStream>
  readonly #replies: Reply[] = []
  #node: DiscoveryNode | undefined
  #pending: PendingUpdate | undefined
  /** A message is being read. */
  #isReceiving = false
  #isPreparing = false
  #mayStaySilent = true

  /** Begins a stream. The order of the subscriptions is that of their first requests. */
  constructor(options: {
    readonly mode: XdsMode
    readonly node: DiscoveryNode
    readonly subscriptions: readonly Subscription[]
  }) {
    this.#mode = options.mode
    this.#node = options.node
    this.#types = new Map(
      options.subscriptions.map((subscription) => {
        if (options.mode === 'sotw' && subscription.interest === 'on-demand')
          throw new TypeError('on-demand subscriptions need the delta protocol')
        return [subscription.typeUrl, { subscription, isStarted: false, nonce: '' }]
      }),
    )
  }

  /**
   * True when a control plane that sends nothing may be right: nothing was asked, or everything that was asked is known
   * by version and may be current.
   */
  get mayStaySilent(): boolean {
    return this.#mayStaySilent
  }

  /**
   * Encodes what the first requests claim to have, step by step: 100,000 names are too many for one turn. Until it is
   * done nothing is asked. Without it the requests are the same.
   */
  *prepareSteps(): Steps<void> {
    this.#isPreparing = true
    for (const type of this.#types.values())
      if (this.#mode === 'delta') type.claims = yield* claimSteps(type.subscription)
    this.#isPreparing = false
  }

  /** Takes one message. The update that it holds must be settled before the next message. */
  receive(bytes: Uint8Array): Received {
    return finishSteps(this.receiveSteps(bytes))
  }

  /** The same step by step. */
  *receiveSteps(bytes: Uint8Array): Steps<Received> {
    if (this.#isReceiving || this.#pending !== undefined)
      throw new TypeError('the last update is not settled yet')
    this.#isReceiving = true
    const received = yield* this.#receiveSteps(bytes)
    this.#isReceiving = false
    return received
  }

  *#receiveSteps(bytes: Uint8Array): Steps<Received> {
    const decoded = yield* decodeSteps(this.#mode, bytes)
    if (!decoded.ok) return { kind: 'violation', problem: decoded.problems[0]?.message ?? 'malformed' }
    const response = decoded.value
    const { typeUrl, version } = response
    const type = this.#types.get(typeUrl)
    if (type?.isStarted !== true) return { kind: 'dropped', typeUrl }
    if (response.nonce === '')
      return { kind: 'violation', problem: `a response of ${typeUrl} without a nonce cannot be answered` }
    type.nonce = response.nonce

    const isWholeState = this.#mode === 'sotw'
    const found = yield* findContradictions(response, isWholeState ? resourceName : ({ name }) => name)
    const contradictions = [...found.values()]
    // Without its bad parts a whole state would say that they are gone: it is refused as a whole.
    if (isWholeState && contradictions.length > 0)
      return { kind: 'rejected', typeUrl, nack: this.#reply(type, contradictions) ?? '' }
    const { subscription } = type
    const isTaken = (name: string, aliases: readonly string[]): boolean =>
      !found.has(name) && subscription.isAskedFor(name, aliases)
    const isAll = contradictions.length === 0 && subscription.interest !== 'named'
    const update: TypeUpdate = {
      typeUrl,
      version,
      resources: isAll
        ? response.resources
        : response.resources.filter((resource) => {
            const name = resourceName(resource)
            // One without a name goes on: its decoder finds out what is wrong with it.
            return name === '' ? !found.has('') : isTaken(name, resource.aliases)
          }),
      removed: isAll ? response.removed : response.removed.filter((name) => isTaken(name, [])),
      isWholeState,
    }
    this.#pending = { type, update, contradictions }
    return { kind: 'update', update, controlPlane: response.controlPlane }
  }

  /** The update was applied but for `rejections`: it is answered, and what was accepted is remembered. */
  settle(rejections: readonly Rejection[]): Settlement {
    return finishSteps(this.settleSteps(rejections))
  }

  /** The same step by step. */
  *settleSteps(rejections: readonly Rejection[]): Steps<Settlement> {
    const pending = this.#pending
    if (pending === undefined) throw new TypeError('there is no update to settle')
    const { type, update, contradictions } = pending
    yield* remember(type.subscription, update, new Set(rejections.map(({ name }) => name)))
    this.#pending = undefined
    const all = [...contradictions, ...rejections]
    if (all.length === 0) type.subscription.version = update.version
    const nack = this.#reply(type, all)
    return { typeUrl: update.typeUrl, ...(nack !== undefined && { nack }) }
  }

  /**
   * The requests that are due, encoded, in their order: replies, then what is asked anew. Call it after each event and
   * send all of them. While a message is read or applied nothing is asked: what it changes goes out at once, after its ACK.
   */
  takeRequests(): readonly Uint8Array[] {
    const requests = this.#replies.splice(0).map((reply) => this.#encodeReply(reply))
    if (this.#isPreparing || this.#isReceiving || this.#pending !== undefined) return requests
    for (const type of this.#types.values()) {
      const request = type.isStarted ? this.#encodeChange(type) : this.#encodeFirst(type)
      if (request !== undefined) requests.push(request)
    }
    return requests
  }

  /** Queues the ACK or, when there are rejections, the NACK, whose text it returns. */
  #reply(type: TypeStream, rejections: readonly Rejection[]): string | undefined {
    const { nonce } = type
    if (rejections.length === 0) {
      this.#replies.push({ type, nonce })
      return undefined
    }
    const message = formatRejections(rejections)
    this.#replies.push({ type, nonce, error: { code: NACK_CODE, message } })
    return message
  }

  #encodeReply({ type, nonce, error }: Reply): Uint8Array {
    const { subscription } = type
    if (this.#mode === 'sotw') return this.#encodeSotw(subscription, nonce, error)
    return this.#encodeDelta({ typeUrl: subscription.typeUrl, nonce, ...(error !== undefined && { error }) })
  }

  #encodeFirst(type: TypeStream): Uint8Array | undefined {
    const { subscription } = type
    const { interest, names, known, typeUrl } = subscription
    // No names at all would ask for everything.
    if (interest === 'named' && names.size === 0) return undefined
    type.isStarted = true
    // istiod's name table has no name by which it could be claimed.
    const claimed = known.size - (known.has('') ? 1 : 0)
    const isKnown = this.#mode === 'sotw' ? subscription.version !== '' : claimed > 0
    if (!isKnown) this.#mayStaySilent = false
    subscription.beginStream()
    if (this.#mode === 'sotw') return this.#encodeSotw(subscription, '')
    const isOnDemand = interest === 'on-demand'
    return this.#encodeDelta({
      typeUrl,
      subscribe: isOnDemand ? ['*', ...names] : names,
      ...(isOnDemand && { unsubscribe: ['*'] }),
      initialVersions: takeClaims(type),
    })
  }

  #encodeChange({ subscription, nonce }: TypeStream): Uint8Array | undefined {
    if (!subscription.hasChanges) return undefined
    if (this.#mode === 'sotw') return this.#encodeSotw(subscription, nonce)
    return this.#encodeDelta({ typeUrl: subscription.typeUrl, ...subscription.takeChanges() })
  }

  #encodeSotw(subscription: Subscription, nonce: string, error?: ErrorDetail): Uint8Array {
    // Each request holds the whole list, so it carries every change.
    subscription.takeChanges()
    return encodeSotwRequest({
      typeUrl: subscription.typeUrl,
      version: subscription.version,
      names: [...subscription.names],
      nonce,
      ...(error !== undefined && { error }),
      ...this.#takeNode(),
    })
  }

  #encodeDelta(request: DeltaRequest): Uint8Array {
    return encodeDeltaRequest({ ...request, ...this.#takeNode() })
  }

  #takeNode(): { readonly node?: DiscoveryNode } {
    const node = this.#node
    this.#node = undefined
    return node === undefined ? {} : { node }
  }
}

function* claimSteps({ revision, known }: Subscription): Steps<Claims> {
  return { revision, encoded: yield* encodeVersionsSteps(known) }
}

/** The claims of a first request, which are not needed again. */
function takeClaims(type: TypeStream): Uint8Array {
  const { claims, subscription } = type
  delete type.claims
  // A name may have been unsubscribed since they were prepared.
  if (claims?.revision === subscription.revision) return claims.encoded
  return finishSteps(claimSteps(subscription)).encoded
}

function* remember(
  subscription: Subscription,
  update: TypeUpdate,
  rejected: ReadonlySet<string>,
): Steps<void> {
  // Of named types absence says nothing: a response may hold only what changed.
  const present = update.isWholeState && subscription.interest === 'wildcard' ? new Set<string>() : undefined
  for (const [index, resource] of update.resources.entries()) {
    if (index % ITEMS_PER_STEP === 0) yield
    const name = resourceName(resource)
    present?.add(name)
    if (!rejected.has(name)) subscription.accept(name, resource.version, resource.aliases)
  }
  for (const name of update.removed) subscription.remove(name)
  if (present !== undefined) subscription.retain(present)
}
