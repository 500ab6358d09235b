/**
 * Reads istio.workload.Workload from its wire bytes. A hundred thousand of them come in one response, so nothing is made
 * that does not stay, and what replicas have in common is looked up by its bytes and read once.
 */
import {
  delimited,
  readFields,
  readNested,
  readRaw,
  readerOf,
  varint,
  wireFields,
} from '../reading/wire-message.ts'
import { REAL_PORT } from './network-address.ts'
import { readIpBytes, readPortInto, readText, readWireGateway, readWireLocality } from './wire-values.ts'
import { buildWorkload, checkPolicyKeys, checkServiceKeys } from './workload.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Path } from '../../core/result.ts'
import type { Locality } from '../../mesh/endpoint.ts'
import type { Workload } from '../../mesh/workload.ts'
import type { OnProblem, WireReader } from '../reading/wire-message.ts'
import type { PortMap, WireContext } from './wire-values.ts'
import type { WorkloadParts } from './workload.ts'

/** The parts as they are read, and what is read at the end. */
interface Draft extends Mutable<Omit<WorkloadParts, 'addresses' | 'authorizationPolicies'>> {
  addresses: IpAddress[]
  authorizationPolicies: readonly string[]
  /** The bytes of each entry of `services` behind its length, which keeps lists of entries apart. */
  serviceEntries: string
}

interface Tunnel {
  protocol: 'none' | 'proxy'
  port: number
}

type Mutable<Type> = { -readonly [Name in keyof Type]: Type[Name] }

const WORKLOAD_TYPES = ['deployment', 'cronjob', 'pod', 'job'] as const
const NO_LOCALITY: Locality = { region: '', zone: '', subzone: '' }
const NO_SERVICES: ReadonlyMap<string, PortMap> = new Map()
const NO_KEYS: readonly string[] = []
const ADDRESSES = ['addresses']

const APPLICATION_TUNNEL = wireFields<Tunnel, undefined>({
  1: varint((draft, reader) => (draft.protocol = reader.uint32() === 1 ? 'proxy' : 'none')),
  2: varint((draft, reader) => (draft.port = reader.uint32())),
})
const UINT32_VALUE = wireFields<{ value: number }, undefined>({
  1: varint((draft, reader) => (draft.value = reader.uint32())),
})
const PORT_LIST = wireFields<Map<number, number>, PortListContext>({
  1: delimited((ports, reader, context) => readPortInto(reader, ports, context)),
})
const SERVICES_ENTRY = wireFields<ServicesEntry, PortListContext>({
  1: delimited((draft, reader) => (draft.key = reader.string())),
  2: delimited((draft, reader, context) =>
    readNested(reader, PORT_LIST, draft.ports, { ...context, path: ['services', draft.key] }),
  ),
})

/** 15 was never used; 26, extensions, says nothing to a TCP proxy. */
const WORKLOAD = wireFields<Draft, WireContext>({
  1: delimited((draft, reader) => (draft.name = reader.string())),
  2: delimited((draft, reader, context) => (draft.namespace = readText(reader, context))),
  3: delimited(readAddress),
  4: delimited((draft, reader, context) => (draft.network = readText(reader, context))),
  // What is not known is mTLS of some kind: it must never become plain text.
  5: varint((draft, reader) => (draft.protocol = reader.uint32() === 0 ? 'tcp' : 'hbone')),
  6: delimited((draft, reader, context) => (draft.trustDomain = readText(reader, context))),
  7: delimited((draft, reader, context) => (draft.serviceAccount = readText(reader, context))),
  8: delimited((draft, reader, context) => {
    const waypoint = readWireGateway(reader, ['waypoint'], context)
    if (waypoint !== undefined) draft.waypoint = waypoint
  }),
  9: delimited((draft, reader, context) => (draft.node = readText(reader, context))),
  10: delimited((draft, reader, context) => (draft.canonicalName = readText(reader, context))),
  11: delimited((draft, reader, context) => (draft.canonicalRevision = readText(reader, context))),
  12: varint((draft, reader) => (draft.workloadType = WORKLOAD_TYPES[reader.uint32()] ?? 'deployment')),
  13: delimited((draft, reader, context) => (draft.workloadName = readText(reader, context))),
  14: varint((draft, reader) => (draft.isNativeTunnel = reader.bool())),
  16: delimited((draft, reader, context) => {
    draft.authorizationPolicies = [...draft.authorizationPolicies, readText(reader, context)]
  }),
  17: varint((draft, reader) => (draft.status = reader.uint32() === 1 ? 'unhealthy' : 'healthy')),
  18: delimited((draft, reader, context) => (draft.clusterId = readText(reader, context))),
  19: delimited((draft, reader, context) => {
    const gateway = readWireGateway(reader, ['network_gateway'], context)
    if (gateway !== undefined) draft.networkGateway = gateway
  }),
  20: delimited((draft, reader, { name }) => {
    const uid = reader.string()
    draft.uid = uid === name ? name : uid
  }),
  21: delimited((draft, reader) => (draft.hostname = reader.string())),
  22: delimited((draft, reader) => {
    const entry = readRaw(reader)
    draft.serviceEntries += `${entry.length}:${entry}`
  }),
  23: delimited(readApplicationTunnel),
  24: delimited((draft, reader, context) => (draft.locality = readWireLocality(reader, context))),
  25: varint((draft, reader) => (draft.isHostNetwork = reader.uint32() === 1)),
  27: delimited((draft, reader) => {
    const capacity = { value: 0 }
    readNested(reader, UINT32_VALUE, capacity, undefined)
    draft.capacity = capacity.value
  }),
})

interface ServicesEntry {
  key: string
  readonly ports: Map<number, number>
}

interface PortListContext {
  readonly path: Path
  readonly onProblem: OnProblem
}

/** Reads the workload up to the end of the reader; `undefined` where it has no key. Problems are told to the context. */
export function readWireWorkload(reader: WireReader, context: WireContext): Workload | undefined {
  const draft = emptyDraft()
  readFields(reader, WORKLOAD, draft, context)
  const { serviceEntries, ...parts } = draft
  if (serviceEntries !== '') parts.services = readServices(serviceEntries, context)
  if (parts.authorizationPolicies.length > 0)
    parts.authorizationPolicies = sharePolicyKeys(parts.authorizationPolicies, context)
  return buildWorkload(parts, context.onProblem)
}

function emptyDraft(): Draft {
  return {
    uid: '',
    name: '',
    namespace: '',
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'tcp',
    trustDomain: '',
    serviceAccount: '',
    node: '',
    clusterId: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadName: '',
    workloadType: 'deployment',
    status: 'healthy',
    isHostNetwork: false,
    isNativeTunnel: false,
    locality: NO_LOCALITY,
    capacity: 1,
    services: NO_SERVICES,
    authorizationPolicies: NO_KEYS,
    serviceEntries: '',
  }
}

function readAddress(draft: Draft, reader: WireReader, context: WireContext): void {
  const ip = readIpBytes(reader, ADDRESSES, context)
  if (ip !== undefined) draft.addresses.push(ip)
}

function readApplicationTunnel(draft: Draft, reader: WireReader, { onProblem }: WireContext): void {
  const tunnel: Tunnel = { protocol: 'none', port: 0 }
  readNested(reader, APPLICATION_TUNNEL, tunnel, undefined)
  if (tunnel.port > REAL_PORT.max)
    onProblem(['application_tunnel', 'port'], `a port is at most ${REAL_PORT.max}, not ${tunnel.port}`)
  draft.applicationTunnel = tunnel
}

/** The services of a workload; those of a replica that came before, when the bytes are the same. */
function readServices(entries: string, context: WireContext): ReadonlyMap<string, PortMap> {
  const pool = context.pools.services
  const held = pool.get(entries)
  if (held !== undefined) return held
  const problems: Path[] = []
  const onProblem: OnProblem = (path, message, at) => {
    problems.push(path)
    context.onProblem(path, message, at)
  }
  const services = new Map<string, PortMap>()
  for (let start = 0; start < entries.length;) {
    const colon = entries.indexOf(':', start)
    const end = colon + 1 + Number(entries.slice(start, colon))
    const entry: ServicesEntry = { key: '', ports: new Map() }
    const bytes = Buffer.from(entries.slice(colon + 1, end), 'latin1')
    readFields(readerOf(bytes), SERVICES_ENTRY, entry, { path: [], onProblem })
    services.set(context.pools.texts.share(entry.key), entry.ports)
    start = end
  }
  checkServiceKeys(services.keys(), onProblem)
  return problems.length > 0 ? services : pool.keep(entries, services)
}

function sharePolicyKeys(keys: readonly string[], { pools, onProblem }: WireContext): readonly string[] {
  const key = keys.join('\n')
  const held = pools.policyKeys.get(key)
  if (held !== undefined) return held
  const problems: Path[] = []
  checkPolicyKeys(keys, (path, message) => {
    problems.push(path)
    onProblem(path, message)
  })
  return problems.length > 0 ? keys : pools.policyKeys.keep(key, keys)
}
