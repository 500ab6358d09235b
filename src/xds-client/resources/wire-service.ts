/** Reads istio.workload.Service from its wire bytes. */
import { AddressError } from '../../core/address.ts'
import { makeCidr } from '../../core/cidr.ts'
import { delimited, readFields, readNested, varint, varints, wireFields } from '../reading/wire-message.ts'
import { readNetworkAddress, readPortInto, readText, readWireGateway } from './wire-values.ts'
import { buildService } from './service.ts'

import type {
  GatewayAddress,
  NetworkAddress,
  RoutingScope,
  Service,
  ServiceLoadBalancing,
} from '../../mesh/workload.ts'
import type { WireReader } from '../reading/wire-message.ts'
import type { ServiceParts } from './service.ts'
import type { WireContext } from './wire-values.ts'

interface Draft extends Mutable<Omit<ServiceParts, keyof DraftLists>>, DraftLists {}

interface DraftLists {
  vips: NetworkAddress[]
  cidrVips: Service['cidrVips'][number][]
  ports: Map<number, number>
  subjectAltNames: string[]
  weightedWaypoints: GatewayAddress[]
}

interface LoadBalancingDraft {
  routingPreferences: RoutingScope[]
  mode: ServiceLoadBalancing['mode']
  healthPolicy: ServiceLoadBalancing['healthPolicy']
}

type Mutable<Type> = { -readonly [Name in keyof Type]: Type[Name] }

const FAMILIES = ['automatic', 'ipv4', 'ipv6', 'dual'] as const
const MODES = ['standard', 'strict', 'failover', 'passthrough'] as const
/** 0 is not specified. A scope that is not known cannot be compared, and is left out. */
const SCOPES: readonly (RoutingScope | undefined)[] = [
  undefined,
  'region',
  'zone',
  'subzone',
  'node',
  'cluster',
  'network',
]
const STANDARD: ServiceLoadBalancing = {
  routingPreferences: [],
  mode: 'standard',
  healthPolicy: 'only-healthy',
}

const LOAD_BALANCING = wireFields<LoadBalancingDraft, undefined>({
  1: varints((draft, value) => {
    const scope = SCOPES[value]
    if (scope !== undefined) draft.routingPreferences.push(scope)
  }),
  2: varint((draft, reader) => (draft.mode = MODES[reader.uint32()] ?? 'standard')),
  3: varint((draft, reader) => (draft.healthPolicy = reader.uint32() === 1 ? 'allow-all' : 'only-healthy')),
})
const WEIGHTED_WAYPOINT = wireFields<GatewayAddress[], WireContext>({
  1: delimited((draft, reader, context) => {
    const gateway = readWireGateway(reader, ['weighted_waypoints', draft.length, 'destination'], context)
    if (gateway !== undefined) draft.push(gateway)
  }),
})

/** 10 is extensions; 12, ingress_use_waypoint, is for gateways. Neither says anything to a node. */
const SERVICE = wireFields<Draft, WireContext>({
  1: delimited((draft, reader, context) => (draft.name = readText(reader, context))),
  2: delimited((draft, reader, context) => (draft.namespace = readText(reader, context))),
  3: delimited((draft, reader) => (draft.hostname = reader.string())),
  4: delimited(readVip),
  5: delimited((draft, reader, { onProblem }) =>
    readPortInto(reader, draft.ports, { path: ['ports'], onProblem }),
  ),
  6: delimited((draft, reader) => draft.subjectAltNames.push(reader.string())),
  7: delimited((draft, reader, context) => {
    const waypoint = readWireGateway(reader, ['waypoint'], context)
    if (waypoint !== undefined) draft.waypoint = waypoint
  }),
  8: delimited((draft, reader) => {
    const loadBalancing: LoadBalancingDraft = { ...STANDARD, routingPreferences: [] }
    readNested(reader, LOAD_BALANCING, loadBalancing, undefined)
    draft.loadBalancing = loadBalancing
  }),
  9: varint((draft, reader) => (draft.families = FAMILIES[reader.uint32()] ?? 'automatic')),
  11: varint((draft, reader) => (draft.isCanonical = reader.bool())),
  13: delimited((draft, reader, context) =>
    readNested(reader, WEIGHTED_WAYPOINT, draft.weightedWaypoints, context),
  ),
  14: varint((draft, reader) => (draft.visibility = reader.uint32() === 1 ? 'namespace' : 'public')),
})

/**
 * Reads the service up to the end of the reader; `undefined` where it has no key. Problems are told to the context. An
 * enum value that is not known is the default.
 */
export function readWireService(reader: WireReader, context: WireContext): Service | undefined {
  const draft: Draft = {
    name: '',
    namespace: '',
    hostname: '',
    vips: [],
    cidrVips: [],
    ports: new Map(),
    families: 'automatic',
    loadBalancing: STANDARD,
    subjectAltNames: [],
    isCanonical: false,
    visibility: 'public',
    weightedWaypoints: [],
  }
  readFields(reader, SERVICE, draft, context)
  for (const name of ['name', 'namespace', 'hostname'] as const)
    if (draft[name] === '') context.onProblem([name], `a service needs a ${name} that is not empty`)
  return buildService(draft, (problem) => context.onProblem([], problem))
}

/** An address with a length is a range; the rules make an address of one that holds just one. */
function readVip(draft: Draft, reader: WireReader, context: WireContext): void {
  const path = ['addresses', draft.vips.length + draft.cidrVips.length]
  const { network, ip, prefixLength } = readNetworkAddress(reader, path, context)
  if (ip === undefined) return
  if (prefixLength === undefined) {
    draft.vips.push({ network, ip })
    return
  }
  try {
    draft.cidrVips.push({ network, cidr: makeCidr(ip, prefixLength) })
  } catch (error) {
    if (!(error instanceof AddressError)) throw error
    context.onProblem([...path, 'length'], error.message)
  }
}
