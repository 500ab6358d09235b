/** Decodes a service of the ambient dialect; as in workload.ts, reading a form and the rules for all forms are apart. */
import { formatCidr } from '../../core/cidr.ts'
import {
  readCidr,
  readGateway,
  readNetworkAddress,
  readPortMap,
  readSpelling,
  requireText,
  takeText,
  takeTexts,
} from './network-address.ts'

import type { GatewayAddress, NetworkAddress, Service, ServiceLoadBalancing } from '../../mesh/workload.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

/** What a form of the message says, before the rules that hold for all forms. */
export interface ServiceParts extends Service {
  /** Waypoints that share the service's connections; they take the place of `waypoint`. */
  readonly weightedWaypoints: readonly GatewayAddress[]
}

const MODES = {
  Standard: 'standard',
  Strict: 'strict',
  Failover: 'failover',
  Passthrough: 'passthrough',
} as const
const HEALTH_POLICIES = { OnlyHealthy: 'only-healthy', AllowAll: 'allow-all' } as const
const SCOPES = {
  Region: 'region',
  Zone: 'zone',
  Subzone: 'subzone',
  Node: 'node',
  Cluster: 'cluster',
  Network: 'network',
} as const
const FAMILIES = { IPv4: 'ipv4', IPv6: 'ipv6', Dual: 'dual' } as const
const VISIBILITIES = { Public: 'public', Namespace: 'namespace' } as const
const STANDARD: ServiceLoadBalancing = {
  routingPreferences: [],
  mode: 'standard',
  healthPolicy: 'only-healthy',
}

/**
 * Builds the service of `parts`: checks its names, and holds a range of one address as an address. Gives `undefined` only
 * where there would be no key; what is wrong beside that is told to `onProblem`.
 */
export function buildService(parts: ServiceParts, onProblem: (message: string) => void): Service | undefined {
  const { weightedWaypoints, waypoint: plainWaypoint, ...rest } = parts
  if (parts.hostname.includes('/')) onProblem(`hostname '${parts.hostname}' must not contain '/'`)
  if (parts.namespace === '' || parts.hostname === '') return undefined
  const ranges = parts.cidrVips.filter(({ cidr }) => !isSingle(cidr))
  const singles = parts.cidrVips
    .filter(({ cidr }) => isSingle(cidr))
    .map(({ network, cidr }) => ({ network, ip: cidr.base }))
  // A connection that must pass one of several waypoints needs the same as one that must pass the only one.
  const waypoint = weightedWaypoints[0] ?? plainWaypoint
  return {
    ...rest,
    vips: withoutRepetition([...parts.vips, ...singles], ({ network, ip }) => `${network}/${ip.text}`),
    cidrVips: withoutRepetition(ranges, ({ network, cidr }) => `${network}/${formatCidr(cidr)}`),
    ...(waypoint !== undefined && { waypoint }),
  }
}

/** Decodes an entry of the local file's `services`. */
export function decodeLocalService(field: Field): Service | undefined {
  const message = field.message('Service')
  if (message === undefined) return undefined
  const waypointField = message.take('waypoint')
  const waypoint = waypointField && readGateway(waypointField)
  const families = message.take('ip_families')
  const visibility = message.take('visibility')
  const loadBalancing = message.takeMessage('load_balancer', 'LoadBalancer')
  const parts: ServiceParts = {
    name: requireText(message, 'name') ?? '',
    namespace: requireText(message, 'namespace') ?? '',
    hostname: requireText(message, 'hostname') ?? '',
    vips: message.takeList('vips').flatMap((item): readonly NetworkAddress[] => {
      const vip = readNetworkAddress(item)
      return vip === undefined ? [] : [vip]
    }),
    cidrVips: message.takeList('cidr_vips').flatMap((item) => readCidrVip(item) ?? []),
    ports: readPortMap(message.take('ports')),
    families: (families && readSpelling(families, FAMILIES)) ?? 'automatic',
    loadBalancing: loadBalancing === undefined ? STANDARD : readLoadBalancing(loadBalancing),
    subjectAltNames: takeTexts(message, 'subject_alt_names'),
    isCanonical: message.take('canonical')?.boolean() ?? false,
    visibility: (visibility && readSpelling(visibility, VISIBILITIES)) ?? 'public',
    weightedWaypoints: message.takeList('weighted_waypoints').flatMap((item) => readWeighted(item) ?? []),
    ...(waypoint !== undefined && { waypoint }),
  }
  // The endpoints of a service are the workloads that name it; a dump lists them here once more.
  message.finish({ ignored: ['endpoints'] })
  return buildService(parts, (problem) => field.error(problem))
}

function readCidrVip(field: Field): Service['cidrVips'][number] | undefined {
  const message = field.message('NetworkCidr')
  if (message === undefined) return undefined
  const network = takeText(message, 'network')
  const place = message.require('cidr')
  message.finish()
  const cidr = place && readCidr(place)
  return cidr && { network, cidr }
}

function readLoadBalancing(message: MessageReader): ServiceLoadBalancing {
  const mode = message.take('mode')
  const healthPolicy = message.take('health_policy')
  const loadBalancing: ServiceLoadBalancing = {
    routingPreferences: message
      .takeList('routing_preferences')
      .flatMap((item) => readSpelling(item, SCOPES) ?? []),
    mode: (mode && readSpelling(mode, MODES)) ?? 'standard',
    healthPolicy: (healthPolicy && readSpelling(healthPolicy, HEALTH_POLICIES)) ?? 'only-healthy',
  }
  message.finish()
  return loadBalancing
}

function readWeighted(field: Field): GatewayAddress | undefined {
  const message = field.message('WeightedWaypoint')
  if (message === undefined) return undefined
  const destination = message.require('destination')
  message.take('weight')?.integer({ min: 0, max: 4_294_967_295 })
  message.finish()
  return destination && readGateway(destination)
}

function isSingle({ base, prefixLength }: Service['cidrVips'][number]['cidr']): boolean {
  return prefixLength === base.bytes.length * 8
}

function withoutRepetition<Item>(items: readonly Item[], keyOf: (item: Item) => string): readonly Item[] {
  return [...new Map(items.map((item) => [keyOf(item), item])).values()]
}
