/**
 * Makes endpoints of the workloads behind an ambient service: which of them count, on which port, over which addresses,
 * and how near they are. Pure.
 */
import { unpackIp } from '../core/packed-ip.ts'
import { DEFAULT_UPSTREAM_SETTINGS } from './upstream.ts'
import { serviceKey } from './workload.ts'

import type { Endpoint, WorkloadLabels } from './endpoint.ts'
import type { MeshSnapshot } from './store.ts'
import type { UpstreamSettings } from './upstream.ts'
import type { RoutingScope, Service, ServiceFamilies, Workload } from './workload.ts'
import type { IpAddress } from '../core/address.ts'

/** How every upstream of the ambient dialect is reached; as ztunnel. */
export const AMBIENT_SETTINGS: UpstreamSettings = {
  ...DEFAULT_UPSTREAM_SETTINGS,
  loadBalancing: 'random',
  connectTimeoutMs: 10_000,
}

/** Where a client is, as far as it is known. An absent scope counts as near: not to know must not refuse. */
export type Vantage = Readonly<Partial<Record<RoutingScope, string>>>

/** What a service looks like from one client. */
export type ServiceView =
  | { readonly kind: 'endpoints'; readonly endpoints: readonly Endpoint[] }
  /** `isMtls`: there are endpoints, and mTLS keeps all of them out of reach. */
  | { readonly kind: 'none'; readonly isMtls: boolean }

/** Everything that decides the endpoints of a service for a client. */
export interface ServiceQuestion {
  readonly service: Service
  readonly servicePort: number
  readonly members: readonly Workload[]
  readonly hosts: MeshSnapshot['host']
  readonly vantage: Vantage
  /** The network of this node; others are reached through gateways, which speak mTLS only. */
  readonly network: string
  readonly isPlaintextPermitted: (workload: Workload) => boolean
  /** The node of the client, where that matters for more than the choice: see Endpoint.isBesideClient. */
  readonly clientNode: string | undefined
}

interface Candidate {
  readonly workload: Workload
  readonly targetPort: number
  readonly addresses: readonly IpAddress[]
  readonly isMtls: boolean
  /** How many routing preferences hold, from the first on. */
  readonly rank: number
}

/**
 * The endpoints of a service. Those that mTLS keeps out of reach are left out while others remain, so that a service
 * that is moved into the mesh workload by workload stays reachable and no connection is weaker than its endpoint asks.
 * In failover mode the nearest are of priority 0 and the others behind them; in strict mode the others do not count.
 */
export function viewService(question: ServiceQuestion): ServiceView {
  const { mode, routingPreferences } = question.service.loadBalancing
  const counting = question.members
    .flatMap((workload) => candidateOf(workload, question) ?? [])
    .filter(({ rank }) => mode !== 'strict' || rank === routingPreferences.length)
  const usable = counting.filter(({ isMtls }) => !isMtls)
  if (usable.length === 0) return { kind: 'none', isMtls: counting.length > 0 }
  const ranks = mode === 'failover' ? [...new Set(usable.map(({ rank }) => rank))].sort((a, b) => b - a) : []
  const endpoints = usable.map((candidate) =>
    endpointOf(candidate, Math.max(0, ranks.indexOf(candidate.rank)), question.clientNode),
  )
  return { kind: 'endpoints', endpoints }
}

/** Where a client's workload runs. */
export function vantageOf(workload: Workload): Vantage {
  const { locality, node, clusterId, network } = workload
  const { region, zone, subzone } = locality
  return { region, zone, subzone, node, cluster: clusterId, network }
}

/** The part of a vantage that decides a service's endpoints, as a key. */
export function vantageKey(
  vantage: Vantage,
  { loadBalancing: { mode, routingPreferences } }: Service,
): string {
  if (mode !== 'strict' && mode !== 'failover') return ''
  return JSON.stringify(routingPreferences.map((scope) => vantage[scope] ?? null))
}

/** The port on which a workload answers for a service port; `undefined` when it does not. */
export function targetPortOf(workload: Workload, service: Service, servicePort: number): number | undefined {
  if (!service.ports.has(servicePort)) return undefined
  const ofWorkload = workload.services.get(serviceKey(service))?.get(servicePort)
  const targetPort = ofWorkload || service.ports.get(servicePort)
  if (targetPort) return targetPort
  return workload.applicationTunnel?.port ? servicePort : undefined
}

/** What metrics and logs say of a workload. */
export function workloadLabels(workload: Workload): WorkloadLabels {
  const { uid, name, namespace, canonicalName, canonicalRevision, clusterId, locality } = workload
  return { uid, name, namespace, canonicalName, canonicalRevision, cluster: clusterId, locality }
}

/** What an endpoint says of a client on `clientNode`; nothing where that is not known. */
export function besideClient(
  { node }: Workload,
  clientNode: string | undefined,
): Pick<Endpoint, 'isBesideClient'> {
  return clientNode !== undefined && node === clientNode ? { isBesideClient: true } : {}
}

function candidateOf(workload: Workload, question: ServiceQuestion): Candidate | undefined {
  const { service, servicePort, vantage } = question
  const { healthPolicy, routingPreferences } = service.loadBalancing
  if (workload.status !== 'healthy' && healthPolicy !== 'allow-all') return undefined
  const targetPort = targetPortOf(workload, service, servicePort)
  if (targetPort === undefined) return undefined
  const isForeign = workload.network !== question.network
  if (isForeign && workload.networkGateway === undefined) return undefined
  const addresses = reachableAddresses(workload, service.families, question.hosts)
  if (addresses.length === 0 && !isForeign) return undefined
  const isMtls = isForeign || (workload.protocol === 'hbone' && !question.isPlaintextPermitted(workload))
  const differing = routingPreferences.findIndex(
    (scope) => vantage[scope] !== undefined && vantage[scope] !== vantageOf(workload)[scope],
  )
  const rank = differing < 0 ? routingPreferences.length : differing
  return { workload, targetPort, addresses, isMtls, rank }
}

/** All addresses that the service may be reached over: those of the workload, or what its host name resolved to. */
function reachableAddresses(
  workload: Workload,
  families: ServiceFamilies,
  hosts: MeshSnapshot['host'],
): readonly IpAddress[] {
  const all =
    workload.addresses.length > 0 ? workload.addresses : (hosts.get(workload.hostname)?.addresses ?? [])
  return families === 'ipv4' || families === 'ipv6' ? all.filter(({ family }) => family === families) : all
}

function endpointOf(
  { workload, targetPort, addresses }: Candidate,
  priority: number,
  clientNode: string | undefined,
): Endpoint {
  return {
    id: `${workload.uid}:${targetPort}`,
    addresses: addresses.map((ip) => ({ ip: unpackIp(ip), port: targetPort })),
    weight: workload.capacity,
    priority,
    // The health filter has been applied: what is left counts in full.
    health: 'healthy',
    locality: workload.locality,
    protocol: 'tcp',
    ...besideClient(workload, clientNode),
    workload: workloadLabels(workload),
  }
}
