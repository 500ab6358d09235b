/** What is asked of a control plane in each dialect, and who keeps the answers. */
import { setImmediate as nextTurn } from 'node:timers/promises'

import { AmbientSink } from '../../xds-client/sinks/ambient-sink.ts'
import { TYPE_URLS } from '../../xds-client/discovery.ts'
import { EnvoySink } from '../../xds-client/sinks/envoy-sink.ts'
import { OnDemand } from '../../xds-client/sinks/on-demand.ts'
import { ambientDecoders, envoyDecoders } from '../../xds-client/sinks/wire-decoders.ts'
import { unmetByListener } from '../listener-demands.ts'

import type { Discovery } from '../../proxy/route-source.ts'
import type { Clock } from '../../core/clock.ts'
import type { MeshStore } from '../../mesh/store.ts'
import type { TransportCapabilities } from '../../proxy/transport.ts'
import type { AdsClient } from '../../xds-client/stream/ads-client.ts'
import type { OnDemandOptions, OnDemandReadings } from '../../xds-client/sinks/on-demand.ts'
import type { UpdateSink } from '../../xds-client/discovery.ts'
import type { EnvoySchema } from '../../xds-client/reading/envoy-schema.ts'
import type { StaticNames } from '../../xds-client/sinks/envoy-sink.ts'
import type { TypeInterest } from '../../xds-client/stream/subscription.ts'

/** What is asked of a control plane. */
export interface ControlPlaneDialect {
  /** In the order in which they are asked for. */
  readonly types: readonly TypeInterest[]
  /** Types without whose first answer no connection can be judged. */
  readonly needed: readonly string[]
  readonly createKeeper: (deps: KeeperDeps) => ResourceKeeper
}

export interface KeeperDeps {
  readonly store: MeshStore
  readonly clock: Clock
  /** For asking by name; there when the first update comes. */
  readonly client: () => AdsClient
}

/** Whoever keeps the resources of a dialect. */
export interface ResourceKeeper {
  readonly sink: UpdateSink
  /** False while a connection may miss something that the control plane has announced. */
  isComplete(): boolean
  /** What was read over in the resources of a type, by name. */
  ignoredFields(typeUrl: string): ReadonlyMap<string, readonly string[]>
  /** Asks for addresses when connections need them; absent where everything is kept. */
  readonly discovery?: Discovery & { readonly readings: OnDemandReadings }
  /** Waits for nothing any more. Idempotent. */
  close(): void
}

const NOTHING: ReadonlyMap<string, readonly string[]> = new Map()

/** Workloads, services and policies, as istiod sends them to a node. */
export function ambientDialect(options: {
  /** Addresses are asked for when a connection needs them. */
  readonly isOnDemand: boolean
  /** The network of this node. */
  readonly network: string
  /** Every destination may be reached in plain text, so that one of which nothing is known may be too. */
  readonly isPlaintextPermitted: boolean
}): ControlPlaneDialect {
  const { isOnDemand, network, isPlaintextPermitted } = options
  const { address, authorization } = TYPE_URLS
  return {
    types: [
      { typeUrl: address, interest: isOnDemand ? 'on-demand' : 'wildcard' },
      { typeUrl: authorization, interest: 'wildcard' },
    ],
    needed: [address, authorization],
    createKeeper: ({ store, clock, client }) => {
      const onDemand = isOnDemand
        ? createOnDemand({ store, clock, client }, { network, passesUnanswered: isPlaintextPermitted })
        : undefined
      const sink = new AmbientSink({
        store,
        clock,
        nextTurn,
        decoders: ambientDecoders(),
        ...(onDemand !== undefined && {
          answered: (answer) => {
            onDemand.answered(answer)
          },
        }),
      })
      return {
        sink,
        isComplete: () => true,
        ignoredFields: () => NOTHING,
        ...(onDemand !== undefined && { discovery: onDemand }),
        close: () => {
          onDemand?.close()
        },
      }
    },
  }
}

function createOnDemand({ store, clock, client }: KeeperDeps, options: OnDemandOptions): OnDemand {
  const { network } = options
  return new OnDemand(
    {
      clock,
      subscribe: (names) => {
        client().subscribe(TYPE_URLS.address, names)
      },
      unsubscribe: (names) => {
        client().unsubscribe(TYPE_URLS.address, names)
      },
      isKnown: (ip) => {
        const { workloadIndex, serviceIndex } = store.snapshot
        const address = { network, ip }
        return workloadIndex.at(address) !== undefined || serviceIndex.has(address)
      },
    },
    options,
  )
}

/** Clusters, their assignments, listeners and names, as istiod sends them to a sidecar. */
export function envoyDialect(options: {
  readonly schema: EnvoySchema
  readonly capabilities: TransportCapabilities
  readonly hasClusters: boolean
  readonly hasListeners: boolean
  /** What the control plane cannot replace. */
  readonly staticNames: StaticNames
}): ControlPlaneDialect {
  const { schema, capabilities, hasClusters, hasListeners, staticNames } = options
  const { cluster, assignment, listener, nameTable } = TYPE_URLS
  const needed = [...(hasClusters ? [cluster] : []), ...(hasListeners ? [listener] : [])]
  return {
    types: [
      ...(hasClusters ? ([{ typeUrl: cluster, interest: 'wildcard' }] as const) : []),
      { typeUrl: assignment, interest: 'named' },
      ...(hasListeners ? ([{ typeUrl: listener, interest: 'wildcard' }] as const) : []),
      { typeUrl: nameTable, interest: 'wildcard' },
    ],
    needed,
    createKeeper: ({ store, clock, client }) => {
      const decoders = envoyDecoders(schema)
      const sink = new EnvoySink(
        {
          store,
          clock,
          nextTurn,
          namesWanted: (typeUrl, names) => {
            client().setNames(typeUrl, names)
          },
          decoders: {
            ...decoders,
            listener: (value) => {
              const result = decoders.listener(value)
              const problems = result.ok ? unmetByListener(result.value.value, capabilities) : []
              return problems.length > 0 ? { ok: false, problems } : result
            },
          },
        },
        { staticNames },
      )
      return {
        sink,
        isComplete: () => sink.isComplete,
        ignoredFields: (typeUrl) => sink.ignoredFields(typeUrl),
        close: () => {
          sink.close()
        },
      }
    },
  }
}
