/**
 * Decodes a workload of the ambient dialect. Reading a form of it (here ztunnel's local file) and deciding what makes a
 * valid workload are apart, so that every form is held to the same rules.
 */
import {
  REAL_PORT,
  keyProblem,
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
import type { Path } from '../../core/result.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

/**
 * What a form of the message says, before the rules that hold for all forms. Empty texts get their defaults; `capacity`
 * is 1 when the form does not say. Ports and keys have been checked.
 */
export type WorkloadParts = Workload

const PROTOCOLS = { TCP: 'tcp', HBONE: 'hbone' } as const
const NETWORK_MODES = { Standard: 'standard', HostNetwork: 'host-network' } as const
const STATUSES = { Healthy: 'healthy', Unhealthy: 'unhealthy' } as const
const WORKLOAD_TYPES = { deployment: 'deployment', cronjob: 'cronjob', pod: 'pod', job: 'job' } as const
const TUNNEL_PROTOCOLS = { NONE: 'none', PROXY: 'proxy' } as const
const MAX_CAPACITY = 4_294_967_295

/** What is wrong with a workload, and at which of its fields; an empty path is the workload itself. */
export type OnWorkloadProblem = (path: Path, message: string) => void

/**
 * Builds the workload of `parts`: fills in the defaults, checks the capacity, and that there is a way to reach it. Gives
 * `undefined` only where there would be no key; other problems are told to `onProblem`.
 */
export function buildWorkload(parts: WorkloadParts, onProblem: OnWorkloadProblem): Workload | undefined {
  const clusterId = parts.clusterId || 'Kubernetes'
  const uid = parts.uid || (parts.name && `${clusterId}//Pod/${parts.namespace}/${parts.name}`)
  const { capacity } = parts
  if (parts.addresses.length === 0 && parts.hostname === '' && parts.networkGateway === undefined)
    onProblem([], 'a workload needs an address, a hostname or a networkGateway, else nothing reaches it')
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > MAX_CAPACITY)
    onProblem(['capacity'], `capacity is a whole number from 1 to ${MAX_CAPACITY}, not ${capacity}`)
  if (uid === '') {
    onProblem([], 'a workload needs a uid, or a name to derive it from')
    return undefined
  }
  return {
    ...parts,
    uid,
    clusterId,
    trustDomain: parts.trustDomain || 'cluster.local',
    serviceAccount: parts.serviceAccount || 'default',
    addresses: withoutRepetition(parts.addresses),
  }
}

/** Checks the key of each service that a workload belongs to. */
export function checkServiceKeys(keys: Iterable<string>, onProblem: OnWorkloadProblem): void {
  for (const key of keys) {
    const problem = keyProblem(key, 'hostname')
    if (problem !== undefined) onProblem(['services', key], problem)
  }
}

/** Checks the key of each policy that a workload names. */
export function checkPolicyKeys(keys: readonly string[], onProblem: OnWorkloadProblem): void {
  keys.forEach((key, index) => {
    const problem = keyProblem(key, 'name')
    if (problem !== undefined) onProblem(['authorization_policies', index], problem)
  })
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
  const services = message.take('services')
  const policies = message.take('authorization_policies')
  const capacity = message.take('capacity')
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
    // Out of range is told once, by the rules; what is no number is told here and counts as absent.
    capacity: capacity?.number({ min: -Infinity, max: Infinity }) ?? 1,
    services: new Map((services?.entries() ?? []).map(([key, place]) => [key, readPortMap(place)])),
    authorizationPolicies: (policies?.list() ?? []).map((item) => item.string() ?? ''),
    ...(gateways.waypoint !== undefined && { waypoint: gateways.waypoint }),
    ...(gateways.networkGateway !== undefined && { networkGateway: gateways.networkGateway }),
    ...(applicationTunnel !== undefined && { applicationTunnel }),
  }
  message.finish()
  const places = { services, authorization_policies: policies, capacity }
  const onProblem: OnWorkloadProblem = ([name, key], problem) => {
    const place = Object.entries(places).find(([known]) => known === name)?.[1]
    const placeOfKey = key === undefined ? place : place?.child(key)
    ;(placeOfKey ?? field).error(problem)
  }
  checkServiceKeys(parts.services.keys(), onProblem)
  checkPolicyKeys(parts.authorizationPolicies, onProblem)
  return buildWorkload(parts, onProblem)
}

/** Reads a Locality; a part that is absent is empty. */
function readLocality(message: MessageReader | undefined): Locality {
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
  const [first, second] = addresses
  // Nearly always one address per family, which need no look.
  if (addresses.length < 2 || (addresses.length === 2 && first?.family !== second?.family)) return addresses
  return [...new Map(addresses.map((ip) => [ip.text, ip])).values()]
}
