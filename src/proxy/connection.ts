/**
 * The story of one connection: accepted, routed, raced to an upstream, relayed, closed for a reason. It is written
 * once, against the Transport seam, and calls the parts that decide.
 */
import { isSameSocketAddress } from '../core/address.ts'
import { familyOrder } from '../core/family.ts'
import { lessonOf } from './attempt-lesson.ts'
import { CLOSE_REASONS } from './close-reason.ts'
import { closedRecord } from './connection-record.ts'
import { destinationOf } from './destination.ts'
import { Dial } from './dialer.ts'
import { orderAttempts, selectEndpoints } from './endpoint-selection.ts'
import { checkForLoop } from './loop-check.ts'
import { passedLimit } from './time-limits.ts'
import { noRelayBytes } from './transport.ts'
import { describeAttempts, failureReason, fallbackOf } from './attempt-outcome.ts'
import { relayEndReason } from './relay-end-reason.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { Family } from '../core/family.ts'
import type { Random } from '../core/random.ts'
import type { SocketAddress } from '../core/address.ts'
import type { Listener } from '../mesh/listener.ts'
import type { CapturedPod } from '../mesh/pod.ts'
import type { ReachedEndpoint, Route, RouteFacts, RouteLabels } from '../mesh/router.ts'
import type { Upstream } from '../mesh/upstream.ts'
import type { CloseReason } from './close-reason.ts'
import type { ConnectionLimits } from './connection-limits.ts'
import type { ConnectionOptions } from './connection-options.ts'
import type {
  AttemptRecord,
  ConnectionObserver,
  ConnectionRecord,
  Fallback,
  UpstreamRecord,
} from './connection-record.ts'
import type { FamilyHealth } from './endpoint-health.ts'
import type { LoopGuard } from './loop-guard.ts'
import type { AttemptTarget } from './endpoint-selection.ts'
import type { PodPlace } from './pods/pod-place.ts'
import type { ProxyStats } from './proxy-stats.ts'
import type { RouteSource, RouteWaiter } from './route-source.ts'
import type { NetworkNamespace, Relay, Transport, TransportSocket } from './transport.ts'
import type { ConnectionEnds } from './upstream-ends.ts'
import type { UpstreamState, UpstreamStates } from './upstream-state.ts'

export interface ConnectionDeps {
  readonly transport: Transport
  readonly routes: RouteSource
  readonly clock: Clock
  readonly random: Random
  readonly stats: ProxyStats
  readonly health: FamilyHealth
  readonly upstreams: UpstreamStates
  readonly limits: ConnectionLimits
  readonly observer: ConnectionObserver
  readonly loops: LoopGuard
  /** True when connecting to the address, from within `pod` if there is one, would reach a listener of this proxy. */
  readonly isOwnAddress: (address: SocketAddress, pod: CapturedPod | undefined) => boolean
  /** Called once, when the sockets of the connection are gone. */
  readonly ended: (connection: Connection) => void
}

/** A socket that was accepted, and where. */
export interface Accepted {
  readonly id: number
  readonly socket: TransportSocket
  readonly listener: Listener
  /** Absent: in the agent's own network namespace. */
  readonly place?: PodPlace | undefined
}

type AcceptingRoute = Extract<Route, { upstream: Upstream }>

type Phase =
  | { readonly kind: 'routing' }
  | { readonly kind: 'connecting'; readonly dial: Dial; readonly targets: readonly AttemptTarget[] }
  | { readonly kind: 'relaying'; readonly relay: Relay }
  | { readonly kind: 'ended' }

const LOOP_DETAIL = 'the proxy would connect to itself: exempt its own connections from the redirection'

const ROUTING: Phase = { kind: 'routing' }
const ENDED: Phase = { kind: 'ended' }
const NO_LABELS: RouteLabels = {}
const NO_SOURCES: readonly SocketAddress[] = []
const NO_ATTEMPTS: readonly AttemptRecord[] = []

export class Connection implements RouteWaiter {
  readonly id: number
  /** What its route was asked by. */
  readonly facts: RouteFacts
  readonly #deps: ConnectionDeps
  readonly #options: ConnectionOptions
  readonly #namespace: NetworkNamespace | undefined
  /** Absent once a relay owns it. */
  #downstream: TransportSocket | undefined
  /** True: it was sent to the proxy itself. */
  readonly #isToProxy: boolean
  readonly #openedAtMs: number
  readonly #acceptedAtMs: number
  /** Where the counters have this connection as active. */
  readonly #listenerEntry: number
  #attempts: readonly AttemptRecord[] = NO_ATTEMPTS
  /** What of the relay's bytes is in the stats already, so that a long connection shows while it lives. */
  readonly #foldedBytes = noRelayBytes()
  #phase: Phase = ROUTING
  #recheck: Timer | undefined
  /** Absent while routing. */
  #route: Route | undefined
  /** Has a place among the connections of its upstream. */
  #counted: Upstream | undefined
  #upstream: UpstreamRecord | undefined
  #fallback: Fallback | undefined
  #closing: { readonly reason: CloseReason; readonly detail: string } | undefined

  /** The caller registers the connection, then calls `start`. */
  constructor(deps: ConnectionDeps, options: ConnectionOptions, accepted: Accepted) {
    this.id = accepted.id
    this.#deps = deps
    this.#options = options
    this.#downstream = accepted.socket
    this.#openedAtMs = deps.clock.wallTimeMs()
    this.#acceptedAtMs = deps.clock.nowMs()
    const { listener, socket, place } = accepted
    const pod = place?.pod
    this.#namespace = place?.namespace
    const { address: destination, isProxy } = destinationOf(socket, { listener, pod }, deps.isOwnAddress)
    this.facts = { listener, client: socket.remote, destination, pod }
    this.#isToProxy = isProxy
    this.#listenerEntry = deps.stats.accepted(listener.name, this.family)
  }

  /** The family that the client used. */
  get family(): Family {
    return this.facts.client.ip.family
  }

  /** The id of the pod's network namespace that it was accepted in; `undefined` for the agent's own. */
  get namespaceId(): number | undefined {
    return this.#namespace?.id
  }

  /** True when it has been decided where it goes. */
  get isRouted(): boolean {
    return this.#route !== undefined
  }

  /** Where it goes, or may yet go while it is being made. */
  get reached(): readonly ReachedEndpoint[] {
    if (this.#phase.kind === 'connecting') return this.#phase.targets.map(reachedEndpoint)
    const { endpoint, remote } = this.#upstream ?? {}
    return endpoint && remote ? [reachedEndpoint({ endpoint, address: remote })] : []
  }

  get #isCaptured(): boolean {
    return this.facts.listener.capture !== 'none'
  }

  get #preservesSource(): boolean {
    return this.facts.listener.preservesSource === true
  }

  /** As the client sees its connection. */
  get #ends(): ConnectionEnds {
    return { from: this.facts.client, to: this.facts.destination, namespaceId: this.#namespace?.id }
  }

  start(): void {
    this.#downstream?.onGone((code) => {
      if (this.#phase.kind === 'connecting') this.#phase.dial.cancel()
      this.#end('downstream_gone', code)
    })
    if (this.#phase.kind === 'ended') return
    if (this.#isToProxy) this.#refuse('destination_is_proxy', LOOP_DETAIL)
    else if (this.#isCaptured) this.#recheck = checkForLoop(this.#deps, this.#ends, this.#loopChecked)
    else this.#deps.routes.route(this.facts, this)
  }

  /** Goes on with the answer about the route; does nothing when the client has left meanwhile. */
  routed(route: Route): void {
    if (this.#phase.kind !== 'routing') return
    this.#route = route
    if (route.kind === 'reject') this.#refuse(route.reason, route.detail)
    else this.#connect(route)
  }

  unrouted(detail: string): void {
    if (this.#phase.kind === 'routing') this.#refuse('internal', detail)
  }

  /** The connection as it is now. */
  record(): ConnectionRecord {
    return {
      id: this.id,
      listener: this.facts.listener.name,
      direction: this.facts.listener.direction,
      openedAtMs: this.#openedAtMs,
      client: this.facts.client,
      destination: this.facts.destination,
      pod: this.facts.pod,
      family: this.family,
      labels: this.#route?.labels ?? NO_LABELS,
      accessLogs: this.#route?.settings.accessLogs ?? this.facts.listener.accessLogs,
      upstream: this.#upstream,
      attempts: this.#attempts,
      fallback: this.#fallback,
      bytes: this.#phase.kind === 'relaying' ? this.#phase.relay.bytes : this.#foldedBytes,
    }
  }

  /** Ends the connection if one of its time limits has passed. Called about once a second. */
  checkTimeouts(nowMs: number): void {
    if (this.#phase.kind !== 'relaying') return
    const { relay } = this.#phase
    const ages = { openForMs: nowMs - this.#acceptedAtMs, idleForMs: nowMs - relay.lastActivityMs }
    const passed = passedLimit(
      { ...ages, isHalfClosed: relay.isHalfClosed },
      this.#route?.settings,
      this.#options,
    )
    if (passed !== undefined) this.close(passed)
  }

  /** Ends the connection for a reason of the proxy's; the client sees the end that the reason has. Idempotent. */
  close(reason: CloseReason, detail = ''): void {
    switch (this.#phase.kind) {
      case 'routing':
        this.#refuse(reason, detail)
        break
      case 'connecting':
        this.#phase.dial.cancel()
        this.#refuse(reason, detail)
        break
      case 'relaying':
        this.#closing ??= { reason, detail }
        this.#phase.relay.close(CLOSE_REASONS[reason].downstreamEnd === 'fin' ? 'fin' : 'reset')
        break
      case 'ended':
        break
    }
  }

  /** Adds to the stats what has moved since the last call. */
  foldBytes(): void {
    if (this.#phase.kind !== 'relaying') return
    const upstream = this.#upstream?.remote?.ip.family ?? this.family
    this.#deps.stats.moved({ downstream: this.family, upstream }, this.#phase.relay.bytes, this.#foldedBytes)
  }

  #connect(route: AcceptingRoute): void {
    const { upstream, settings } = route
    const state = this.#deps.upstreams.of(upstream)
    this.#upstream = { name: upstream.name }
    if (!this.#deps.limits.opened(upstream)) {
      const limit = upstream.maxConnections ?? Infinity
      this.#refuse('upstream_overflow', `${upstream.name} has its limit of ${limit} connections`)
      return
    }
    this.#counted = upstream
    const families = familyOrder(
      upstream.familyPolicy ?? this.#options.familyPolicy,
      this.family,
      this.#options.families,
    )
    const context = {
      families,
      state,
      health: this.#deps.health,
      nowMs: this.#deps.clock.nowMs(),
      random: this.#deps.random,
      count: settings.maxEndpoints ?? this.#options.maxEndpoints,
    }
    const ordered = orderAttempts(selectEndpoints(upstream, context), upstream, context)
    const targets = ordered.filter(({ address }) => !this.#wouldLoop(route, address))
    if (targets.length === 0) {
      const isLoop = ordered.length > 0
      this.#refuse(
        isLoop ? 'destination_is_proxy' : 'no_endpoints',
        `${upstream.name} has no address in ${families.join(' or ') || 'an enabled family'}`,
      )
      return
    }
    this.#race(route, state, targets, families)
  }

  #race(
    route: AcceptingRoute,
    state: UpstreamState,
    targets: readonly AttemptTarget[],
    families: readonly Family[],
  ): void {
    const { upstream } = route
    const { packetMark, keepalive } = this.#options
    const dial = new Dial(
      this.#deps,
      {
        targets,
        attemptDelayMs: this.#options.attemptDelayMs,
        connectTimeoutMs: upstream.connectTimeoutMs,
        source: {
          configured: upstream.sourceAddresses,
          preserved: this.#preserved(route),
        },
        direction: this.facts.listener.direction,
        packetMark,
        keepalive: upstream.keepalive === undefined ? keepalive : { ...keepalive, ...upstream.keepalive },
        namespace: this.#namespace,
      },
      {
        attemptEnded: (attempt) => {
          this.#learn(attempt)
        },
        won: (target, socket) => {
          this.#relay(route, state, target, socket, families)
        },
        lost: () => {
          state.connectFailed(upstream, this.#attempts, this.#deps.clock.nowMs())
          this.#refuse(failureReason(this.#attempts), describeAttempts(this.#attempts))
        },
      },
    )
    this.#phase = { kind: 'connecting', dial, targets }
    dial.begin()
  }

  /** Keeps what an attempt says about the family of its endpoint (rule 7). */
  #learn(attempt: AttemptRecord): void {
    const { address, endpoint, result, durationMs } = attempt
    // Not pushed: an array that grows gets room for 17, which every connection would keep.
    this.#attempts = [...this.#attempts, attempt]
    this.#deps.stats.attempt(address.ip.family, result, durationMs)
    const { attemptDelayMs } = this.#options
    const lesson = lessonOf(attempt, { attemptDelayMs, pod: this.facts.pod })
    const key = { endpointId: endpoint.id, family: address.ip.family }
    if (lesson === 'healthy') this.#deps.health.succeeded(key)
    else if (lesson !== undefined)
      this.#deps.health.failed({ ...key, reason: lesson }, this.#deps.clock.nowMs())
  }

  #relay(
    route: AcceptingRoute,
    state: UpstreamState,
    target: AttemptTarget,
    socket: TransportSocket,
    families: readonly Family[],
  ): void {
    const { upstream } = route
    const { endpoint, address } = target
    const { stats, transport, observer } = this.#deps
    const downstream = this.#downstream
    if (downstream === undefined) throw new TypeError('a connection is relayed once')
    if (this.#isCaptured && this.#deps.loops.isOwn(this.#ends)) {
      // The other end is of another thread, and was reported there after this one was accepted.
      socket.reset()
      this.#refuse('destination_is_proxy', LOOP_DETAIL)
      return
    }
    // An endpoint that failed on the way to this one counts as failed all the same.
    state.connectFailed(upstream, this.#attempts, this.#deps.clock.nowMs())
    state.connected(endpoint.id)
    this.#upstream = {
      name: upstream.name,
      endpoint,
      remote: address,
      local: socket.local,
      isSourcePreserved: this.#preservesSource
        ? this.#preserved(route).some(({ ip }) => ip.text === socket.local.ip.text)
        : undefined,
    }
    this.#fallback = fallbackOf(target, this.#attempts, families)
    this.#deps.loops.connected({ from: socket.local, to: address, namespaceId: this.#namespace?.id })
    stats.connected({ downstream: this.family, upstream: address.ip.family })
    if (this.#fallback !== undefined) stats.fellBack(this.#fallback)
    const relay = transport.relay(downstream, socket, (end) => {
      this.foldBytes()
      state.closed(endpoint.id)
      const { reason, detail } = this.#closing ?? relayEndReason(end)
      this.#end(reason, detail)
    })
    this.#downstream = undefined
    this.#phase = { kind: 'relaying', relay }
    observer.connected(this.record())
  }

  /** Ends a connection that has no upstream: the client gets RST, so that its own happy eyeballs can work (rule 8). */
  #refuse(reason: CloseReason, detail: string): void {
    this.#downstream?.reset()
    this.#end(reason, detail)
  }

  #end(reason: CloseReason, detail: string): void {
    if (this.#phase.kind === 'ended') return
    const record = this.record()
    const { local, remote } = this.#upstream ?? {}
    const hasUpstream = local !== undefined && remote !== undefined
    const namespaceId = this.#namespace?.id
    this.#deps.loops.ended(this.#ends, hasUpstream ? { from: local, to: remote, namespaceId } : undefined)
    this.#phase = ENDED
    this.#recheck?.cancel()
    if (this.#counted !== undefined) this.#deps.limits.closed(this.#counted)
    this.#deps.stats.closed(reason)
    this.#deps.stats.ended(this.#listenerEntry, this.family)
    const durationMs = this.#deps.clock.nowMs() - this.#acceptedAtMs
    this.#deps.observer.closed(closedRecord(record, { durationMs, closeReason: reason, detail }))
    this.#deps.ended(this)
  }

  /** A loop can show later too, when the connection has gone on. */
  readonly #loopChecked = (isLoop: boolean): void => {
    if (isLoop) this.close('destination_is_proxy', LOOP_DETAIL)
    else if (this.#phase.kind === 'routing') this.#deps.routes.route(this.facts, this)
  }

  /** The client's addresses that connections for it may come from. */
  #preserved({ clientTwins = NO_SOURCES }: AcceptingRoute): readonly SocketAddress[] {
    return this.#preservesSource ? [this.facts.client, ...clientTwins] : NO_SOURCES
  }

  #wouldLoop(route: AcceptingRoute, address: SocketAddress): boolean {
    if (route.kind === 'original-destination') return this.#deps.isOwnAddress(address, this.facts.pod)
    return this.facts.listener.addresses.some((own) => isSameSocketAddress(own.address, address))
  }
}

function reachedEndpoint({
  endpoint,
  address,
}: Pick<AttemptTarget, 'endpoint' | 'address'>): ReachedEndpoint {
  return { workload: endpoint.workload?.uid, address }
}
