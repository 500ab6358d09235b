/**
 * Decodes a workload of the ambient dialect. Reading a form of it (here ztunnel's local file) and deciding what makes a
 * valid workload are apart, so that every form is held to the same rules.
 */
import {
  REAL_PORT,
  checkKey,
  checkPorts,
  readGateway,
  readPortMap,
  readSpelling,
  requireText,
  takeText,
  usableIp,
} from './network-address.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Locality } from '../../mesh/endpoint.ts'
import type { Workload } from '../../mesh/workload.ts'
import type { Field, MessageReader } from '../message-reader.ts'
import type { PortMapping } from './network-address.ts'

/** What a form of the message says, before the rules that hold for all forms. Empty texts get their defaults. */
export interface WorkloadParts extends Omit<Workload, 'capacity' | 'services' | 'authorizationPolicies'> {
  /** 1 when the form does not say. */
  readonly capacity: { readonly value: number; readonly place: Field }
  readonly services: readonly {
    readonly key: string
    readonly place: Field
    readonly ports: readonly PortMapping[]
  }[]
  readonly authorizationPolicies: readonly { readonly key: string; readonly place: Field }[]
}

const PROTOCOLS = { TCP: 'tcp', HBONE: 'hbone' } as const
const NETWORK_MODES = { Standard: 'standard', HostNetwork: 'host-network' } as const
const STATUSES = { Healthy: 'healthy', Unhealthy: 'unhealthy' } as const
const WORKLOAD_TYPES = { deployment: 'deployment', cronjob: 'cronjob', pod: 'pod', job: 'job' } as const
const TUNNEL_PROTOCOLS = { NONE: 'none', PROXY: 'proxy' } as const
const MAX_CAPACITY = 4_294_967_295

/**
 * Builds the workload of `parts`, which stand at `place`: fills in the defaults, checks keys, ports and capacity, and
 * that there is a way to reach it. Gives `undefined` only where there would be no key; other problems are in the report.
 */
export function buildWorkload(parts: WorkloadParts, place: Field): Workload | undefined {
  const clusterId = parts.clusterId || 'Kubernetes'
  const uid = parts.uid || (parts.name && `${clusterId}//Pod/${parts.namespace}/${parts.name}`)
  if (parts.addresses.length === 0 && parts.hostname === '' && parts.networkGateway === undefined) {
    place.error('a workload needs an address, a hostname or a networkGateway, else nothing reaches it')
  }
  const services = new Map<string, ReadonlyMap<number, number>>()
  for (const service of parts.services) {
    checkKey(service.key, service.place, 'hostname')
    services.set(service.key, checkPorts(service.ports))
  }
  for (const policy of parts.authorizationPolicies) checkKey(policy.key, policy.place, 'name')
  const { value: capacity, place: capacityPlace } = parts.capacity
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > MAX_CAPACITY)
    capacityPlace.error(`capacity is a whole number from 1 to ${MAX_CAPACITY}, not ${capacity}`)
  if (uid === '') return place.error('a workload needs a uid, or a name to derive it from')
  return {
    ...parts,
    uid,
    clusterId,
    trustDomain: parts.trustDomain || 'cluster.local',
    serviceAccount: parts.serviceAccount || 'default',
    addresses: withoutRepetition(parts.addresses),
    capacity,
    services,
    authorizationPolicies: parts.authorizationPolicies.map(({ key }) => key),
  }
}

/** Decodes an entry of the local file's `workloads`. */
export function decodeLocalWorkload(field: Field): Workload | undefined {
  const message = field.message('Workload')
  if (message === undefined) return undefined
  const waypoint = message.take('waypoint')
  const networkGateway = message.take('network_gateway')
  const gateways = {
    waypoint: waypoint && readGateway(waypoint),
    networkGateway: networkGateway && readGateway(networkGateway),
  }
  const applicationTunnel = readApplicationTunnel(message)
  const parts: WorkloadParts = {
    uid: takeText(message, 'uid'),
    name: takeText(message, 'name'),
    namespace: requireText(message, 'namespace') ?? '',
    addresses: message.takeList('workload_ips').flatMap((item) => readIp(item) ?? []),
    hostname: takeText(message, 'hostname'),
    network: takeText(message, 'network'),
    protocol: takeSpelling(message, 'protocol', PROTOCOLS) ?? 'tcp',
    trustDomain: takeText(message, 'trust_domain'),
    serviceAccount: takeText(message, 'service_account'),
    node: takeText(message, 'node'),
    clusterId: takeText(message, 'cluster_id'),
    canonicalName: takeText(message, 'canonical_name'),
    canonicalRevision: takeText(message, 'canonical_revision'),
    workloadName: takeText(message, 'workload_name'),
    workloadType: takeSpelling(message, 'workload_type', WORKLOAD_TYPES) ?? 'pod',
    status: takeSpelling(message, 'status', STATUSES) ?? 'healthy',
    isHostNetwork: takeSpelling(message, 'network_mode', NETWORK_MODES) === 'host-network',
    isNativeTunnel: message.take('native_tunnel')?.boolean() ?? false,
    locality: readLocality(message.takeMessage('locality', 'Locality')),
    capacity: readCapacity(message),
    services: (message.take('services')?.entries() ?? []).map(([key, place]) => ({
      key,
      place,
      ports: readPortMap(place),
    })),
    authorizationPolicies: message
      .takeList('authorization_policies')
      .map((item) => ({ key: item.string() ?? '', place: item })),
    ...(gateways.waypoint !== undefined && { waypoint: gateways.waypoint }),
    ...(gateways.networkGateway !== undefined && { networkGateway: gateways.networkGateway }),
    ...(applicationTunnel !== undefined && { applicationTunnel }),
  }
  message.finish()
  return buildWorkload(parts, field)
}

/** Reads a Locality; a part that is absent is empty. */
export function readLocality(message: MessageReader | undefined): Locality {
  if (message === undefined) return { region: '', zone: '', subzone: '' }
  const locality = {
    region: takeText(message, 'region'),
    zone: takeText(message, 'zone'),
    subzone: takeText(message, 'subzone'),
  }
  message.finish()
  return locality
}

function readIp(place: Field): IpAddress | undefined {
  const text = place.string()
  return text === undefined ? undefined : usableIp(text, place)
}

function readCapacity(message: MessageReader): WorkloadParts['capacity'] {
  const place = message.take('capacity')
  // Out of range is told once, by buildWorkload; what is no number is told here and counts as absent.
  const value = place?.number({ min: -Infinity, max: Infinity }) ?? 1
  return { value, place: place ?? message.field }
}

function readApplicationTunnel(message: MessageReader): Workload['applicationTunnel'] {
  const tunnel = message.takeMessage('application_tunnel', 'ApplicationTunnel')
  if (tunnel === undefined) return undefined
  const protocol = takeSpelling(tunnel, 'protocol', TUNNEL_PROTOCOLS) ?? 'none'
  const port = tunnel.take('port')?.integer({ min: 0, max: REAL_PORT.max }) ?? 0
  tunnel.finish()
  return { protocol, port }
}

function takeSpelling<Value extends string>(
  message: MessageReader,
  name: string,
  spellings: Readonly<Record<string, Value>>,
): Value | undefined {
  const field = message.take(name)
  return field && readSpelling(field, spellings)
}

function withoutRepetition(addresses: readonly IpAddress[]): readonly IpAddress[] {
  return [...new Map(addresses.map((ip) => [ip.text, ip])).values()]
}
