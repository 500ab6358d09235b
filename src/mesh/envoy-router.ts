/**
 * Answers where a connection goes from Envoy's resources: hand-off to the listener of the original destination, filter
 * chain match, weighted clusters or the service that the destination means, and the cluster's endpoints.
 */
import { formatSocketAddress } from '../core/address.ts'
import { ClusterUpstreams } from './cluster-upstreams.ts'
import { isEncrypted } from './cluster.ts'
import {
  goesByService,
  hasUnreadRoutes,
  isTlsAskedFor,
  matchFilterChain,
  matchHttpChain,
} from './filter-chain-match.ts'
import { serviceOfClusterName } from './istio-names.ts'
import { NamedServices } from './named-services.ts'
import { OriginalDestinations } from './original-destinations.ts'
import { serviceKey } from './workload.ts'

import type { IpAddress, SocketAddress } from '../core/address.ts'
import type { Cluster } from './cluster.ts'
import type { FilterChain, ForwardingChain, Listener, TcpProxy } from './listener.ts'
import type {
  ConnectionSettings,
  RejectReason,
  Route,
  RouteFacts,
  RouteLabels,
  RoutePlan,
  Router,
} from './router.ts'
import type { MeshSnapshot, MeshStore } from './store.ts'

/** What a route to a cluster is made for. */
interface ClusterContext {
  readonly destination: SocketAddress
  readonly settings: ConnectionSettings
  readonly snapshot: MeshSnapshot
}

const WILDCARD = { ipv4: '0.0.0.0', ipv6: '[::]' } as const
const NO_LABELS: RouteLabels = {}

export interface EnvoyRouterOptions {
  /** The addresses of the pod that the proxy serves (INSTANCE_IPS): each is the twin of the others. */
  readonly ownAddresses: readonly IpAddress[]
  /**
   * Clusters, services (`namespace/hostname`) and namespaces whose endpoints may be reached in plain text although they
   * ask for mTLS; `*`: all. Absent: none.
   */
  readonly plaintextPermitted?: readonly string[]
}

/** A {@link Router} over listeners, clusters and load assignments. */
export class EnvoyRouter implements Router {
  /** None: the filter chains of this dialect decide at accept, and an update does not cut (rule 12). */
  readonly judgedDirections = []
  readonly #store: MeshStore
  readonly #upstreams = new ClusterUpstreams()
  readonly #originalDestinations: OriginalDestinations
  readonly #services = new NamedServices()
  readonly #permitted: ReadonlySet<string>
  readonly #labels = new WeakMap<Cluster, RouteLabels>()
  readonly #settings = new WeakMap<ForwardingChain, ConnectionSettings>()
  #listeners: MeshSnapshot['listener'] | undefined
  #listenerByAddress: ReadonlyMap<string, Listener> = new Map()

  constructor(deps: { readonly store: MeshStore }, options: EnvoyRouterOptions) {
    this.#store = deps.store
    this.#permitted = new Set(options.plaintextPermitted)
    this.#originalDestinations = new OriginalDestinations({ upstreams: this.#upstreams }, options)
  }

  plan(facts: RouteFacts): RoutePlan {
    const snapshot = this.#store.snapshot
    const listener = this.#listenerFor(facts, snapshot)
    const chain = chainOf(listener, facts)
    const isRefused = chain !== undefined && 'refusal' in chain
    const byService = isRefused ? undefined : this.#routeByService(listener, facts, snapshot)
    if (byService !== undefined) return { choices: [{ weight: 1, route: byService }] }
    if (chain === undefined || 'refusal' in chain) {
      const settings = { accessLogs: listener.accessLogs }
      const { reason, detail } = chain?.refusal ?? noChain(listener, facts)
      return { choices: [{ weight: 1, route: reject(reason, detail, settings) }] }
    }
    const settings = this.#settingsOf(listener, chain)
    const context = { destination: facts.destination, settings, snapshot }
    return {
      choices: chain.tcpProxy.clusters.map(({ name, weight }) => ({
        weight,
        route: this.#routeTo(name, context),
      })),
    }
  }

  isStillAllowed(): boolean {
    return true
  }

  /**
   * The route to the service that the destination means, for what may be HTTP whose routes are not read; `undefined`
   * where it means none. Nobody looks into a connection, so whatever may be HTTP counts as such: what the mesh asks for
   * between services must not be missed (rule 15).
   */
  #routeByService(listener: Listener, facts: RouteFacts, snapshot: MeshSnapshot): Route | undefined {
    if (!goesByService(listener)) return undefined
    const chain = matchHttpChain(listener, facts)
    if (chain === undefined || !hasUnreadRoutes(chain)) return undefined
    const clusters = this.#services.clustersAt(facts.destination, snapshot)
    const [cluster, another] = clusters
    if (cluster === undefined) return undefined
    const settings = this.#settingsOf(listener, chain)
    if (another === undefined)
      return this.#routeTo(cluster.name, { destination: facts.destination, settings, snapshot })
    // Which of them is meant, only the request says. None of them may be reached weaker than it asks for.
    const asking = clusters.find((each) => this.#isMtlsAskedFor(each, snapshot))
    return asking && rejectMtls(asking, settings, this.#labelsOf(asking))
  }

  /** True when an endpoint of the cluster must not be reached in plain text. */
  #isMtlsAskedFor(cluster: Cluster, snapshot: MeshSnapshot): boolean {
    if (this.#isPlaintextPermitted(cluster, this.#labelsOf(cluster))) return false
    if (cluster.discovery.kind === 'original-destination') return isEncrypted(cluster.transport)
    const { endpoints } = this.#upstreams.upstreamOf(cluster, snapshot)
    return endpoints.some(({ protocol }) => protocol !== 'tcp')
  }

  #routeTo(clusterName: string, context: ClusterContext): Route {
    const { destination, settings, snapshot } = context
    const cluster = snapshot.cluster.get(clusterName)
    if (cluster === undefined) return reject('no_cluster', `cluster ${clusterName}`, settings)
    const labels = this.#labelsOf(cluster)
    const isPermitted = this.#isPlaintextPermitted(cluster, labels)
    if (cluster.discovery.kind === 'original-destination') {
      if (!isPermitted && isEncrypted(cluster.transport)) return rejectMtls(cluster, settings, labels)
      const { portOverride } = cluster.discovery
      const upstream = this.#originalDestinations.upstreamFor(cluster, destination, portOverride, snapshot)
      return { kind: 'original-destination', upstream, settings, labels }
    }
    const all = this.#upstreams.upstreamOf(cluster, snapshot)
    if (all.endpoints.length === 0) return reject('no_endpoints', `cluster ${cluster.name}`, settings, labels)
    const upstream = isPermitted ? all : this.#upstreams.plainUpstreamOf(cluster, snapshot)
    if (upstream.endpoints.length === 0) return rejectMtls(cluster, settings, labels)
    return { kind: 'upstream', upstream, settings, labels }
  }

  #isPlaintextPermitted({ name }: Cluster, { service }: RouteLabels): boolean {
    if (this.#permitted.size === 0) return false
    const names = service === undefined ? [] : [serviceKey(service), service.namespace]
    return ['*', name, ...names].some((each) => this.#permitted.has(each))
  }

  /**
   * The listener that answers: the one of the original destination where the receiving one hands off, once, exact
   * address before the wildcard of the same family; else the receiving one, as it is in force now.
   */
  #listenerFor(facts: RouteFacts, snapshot: MeshSnapshot): Listener {
    const receiving = snapshot.listener.get(facts.listener.name) ?? facts.listener
    if (receiving.hasHandOff !== true || receiving.capture === 'none') return receiving
    const { destination } = facts
    const byAddress = this.#addressIndex(snapshot)
    return (
      byAddress.get(formatSocketAddress(destination)) ??
      byAddress.get(`${WILDCARD[destination.ip.family]}:${destination.port}`) ??
      receiving
    )
  }

  #addressIndex(snapshot: MeshSnapshot): ReadonlyMap<string, Listener> {
    if (this.#listeners !== snapshot.listener) {
      this.#listeners = snapshot.listener
      const index = new Map<string, Listener>()
      for (const listener of snapshot.listener.values())
        for (const { address } of listener.addresses) index.set(formatSocketAddress(address), listener)
      this.#listenerByAddress = index
    }
    return this.#listenerByAddress
  }

  #settingsOf(listener: Listener, chain: ForwardingChain): ConnectionSettings {
    let settings = this.#settings.get(chain)
    if (settings === undefined) {
      settings = settingsOf(listener, chain.tcpProxy)
      this.#settings.set(chain, settings)
    }
    return settings
  }

  #labelsOf(cluster: Cluster): RouteLabels {
    let labels = this.#labels.get(cluster)
    if (labels === undefined) {
      const service = serviceOfClusterName(cluster.name)
      labels = service === undefined ? NO_LABELS : { service }
      this.#labels.set(cluster, labels)
    }
    return labels
  }
}

/**
 * The chain of a connection. One for HTTP whose policies deny counts for whatever may be HTTP, because nobody looks into a
 * connection and the chain for the rest would be a way around them (rule 15).
 */
function chainOf(listener: Listener, facts: RouteFacts): FilterChain | undefined {
  const http = matchHttpChain(listener, facts)
  const isDenied = http !== undefined && 'refusal' in http && http.refusal.reason === 'policy_denied'
  return isDenied ? http : matchFilterChain(listener, facts)
}

function settingsOf(listener: Listener, tcpProxy: TcpProxy): ConnectionSettings {
  const { idleTimeoutMs, maxConnectionDurationMs, maxConnectAttempts } = tcpProxy
  return {
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    ...(maxConnectionDurationMs !== undefined && { maxConnectionDurationMs }),
    ...(maxConnectAttempts !== undefined && { maxEndpoints: maxConnectAttempts }),
    accessLogs: [...listener.accessLogs, ...tcpProxy.accessLogs],
  }
}

function noChain(
  listener: Listener,
  facts: RouteFacts,
): { readonly reason: RejectReason; readonly detail: string } {
  const destination = formatSocketAddress(facts.destination)
  if (isTlsAskedFor(listener, facts)) {
    const detail = `listener ${listener.name} takes connections to ${destination} over mTLS only, which is not spoken here`
    return { reason: 'mtls_required', detail }
  }
  return { reason: 'no_route', detail: `no filter chain of listener ${listener.name} for ${destination}` }
}

function rejectMtls(cluster: Cluster, settings: ConnectionSettings, labels: RouteLabels): Route {
  const detail = `cluster ${cluster.name} asks for mTLS, which is not spoken here; name it in TWINSTACK_ALLOW_PLAINTEXT to permit plain text`
  return reject('mtls_required', detail, settings, labels)
}

function reject(
  reason: RejectReason,
  detail: string,
  settings: ConnectionSettings,
  labels: RouteLabels = NO_LABELS,
): Route {
  return { kind: 'reject', reason, detail, settings, labels }
}
