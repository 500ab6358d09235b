/**
 * Feeds the store from a control plane: a stream, the keeper of its dialect's resources, and what metrics and /config_dump
 * say of both. Whatever the control plane does, the last good state stays in force.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

import { AdsClient } from '../../xds-client/stream/ads-client.ts'
import { countResources } from './source-status.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { AdsObserver, MessageResult } from '../../xds-client/stream/ads-status.ts'
import type { AdsTransport } from '../../xds-client/stream/ads-transport.ts'
import type { XdsMode } from '../../xds-client/stream/discovery-messages.ts'
import type { DiscoveryNode } from '../../xds-client/stream/node-message.ts'
import type { SourceReadings } from '../metrics/metrics.ts'
import type { Discovery } from '../../proxy/route-source.ts'
import type { ControlPlaneDialect, ResourceKeeper } from './control-plane-dialect.ts'
import type { MeshFeed, StreamView } from './mesh-feed.ts'

export interface ControlPlaneFeedDeps {
  readonly store: MeshStore
  readonly transport: AdsTransport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface ControlPlaneFeedOptions {
  readonly mode: XdsMode
  readonly node: DiscoveryNode
  readonly dialect: ControlPlaneDialect
}

/**
 * How long connections wait for what the first answers have announced, such as endpoints of clusters. As long as Envoy
 * waits for an answer where its configuration does not say (initial_fetch_timeout).
 */
export const COMPLETION_TIMEOUT_MS = 15_000

const TYPE_PREFIX = 'type.googleapis.com/'

export class ControlPlaneFeed implements MeshFeed, AdsObserver {
  readonly firstState: Promise<void>
  readonly #store: MeshStore
  readonly #clock: Clock
  readonly #client: AdsClient
  readonly #keeper: ResourceKeeper
  readonly #beforeStart: () => void
  readonly #reached: () => void
  /** Types that have not been answered for the first time. */
  readonly #awaited: Set<string>
  /** By `type result`. */
  readonly #messages = new Map<string, number>()
  readonly #reconnects = new Map<string, number>()
  #isConnected = false
  #hasFirstState = false
  #timer: Timer | undefined

  /** @param beforeStart puts in force what the agent has without the control plane */
  constructor(
    deps: ControlPlaneFeedDeps,
    { mode, node, dialect }: ControlPlaneFeedOptions,
    beforeStart: () => void = () => undefined,
  ) {
    const { store, clock } = deps
    this.#store = store
    this.#clock = clock
    this.#beforeStart = beforeStart
    this.#awaited = new Set(dialect.needed)
    let reached = (): void => undefined
    this.firstState = new Promise((resolve) => {
      reached = resolve
    })
    this.#reached = reached
    this.#keeper = dialect.createKeeper({ store, clock, client: () => this.#client })
    this.#client = new AdsClient(
      { ...deps, nextTurn, sink: this.#keeper.sink, observer: this },
      { mode, node, types: dialect.types },
    )
    for (const { typeUrl } of dialect.types)
      for (const result of ['accepted', 'rejected'] as const) this.#messages.set(`${typeUrl} ${result}`, 0)
    this.#lookAtFirstState()
  }

  start(): void {
    this.#beforeStart()
    this.#client.start()
  }

  /** As it is at the moment of asking. */
  get stream(): StreamView {
    return {
      status: this.#client.status,
      ignoredFields: (typeUrl) => this.#keeper.ignoredFields(typeUrl),
    }
  }

  get discovery(): Discovery | undefined {
    return this.#keeper.discovery
  }

  read(): SourceReadings {
    return {
      isConnected: this.#isConnected,
      messages: Array.from(this.#messages, ([key, count]) => {
        const [typeUrl = '', result = ''] = key.split(' ')
        return { type: typeUrl.replace(TYPE_PREFIX, ''), result, count }
      }),
      resources: countResources(this.#store.snapshot),
      reconnects: Array.from(this.#reconnects, ([reason, count]) => ({ reason, count })),
      ...(this.#keeper.discovery !== undefined && { onDemand: this.#keeper.discovery.readings }),
    }
  }

  async close(): Promise<void> {
    this.#timer?.cancel()
    this.#keeper.close()
    await this.#client.close()
  }

  connectedChanged(isConnected: boolean): void {
    this.#isConnected = isConnected
  }

  /** A rejected update counts as an answer too: the rest of it is in force. */
  message(typeUrl: string, result: MessageResult): void {
    const key = `${typeUrl || 'unreadable'} ${result}`
    this.#messages.set(key, (this.#messages.get(key) ?? 0) + 1)
    this.#awaited.delete(typeUrl)
    this.#lookAtFirstState()
  }

  reconnecting(reason: string): void {
    this.#reconnects.set(reason, (this.#reconnects.get(reason) ?? 0) + 1)
  }

  /** It is there when every needed type is, and what that has announced; the latter is not waited for without end. */
  #lookAtFirstState(): void {
    if (this.#hasFirstState || this.#awaited.size > 0) return
    if (!this.#keeper.isComplete()) {
      this.#timer ??= this.#clock.setTimer(COMPLETION_TIMEOUT_MS, this.#haveFirstState)
      return
    }
    this.#haveFirstState()
  }

  readonly #haveFirstState = (): void => {
    this.#hasFirstState = true
    this.#timer?.cancel()
    this.#reached()
  }
}
