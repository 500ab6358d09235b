/**
 * Reads what the messages of istio.workload share: addresses, gateways, localities, ports. Field numbers are those of
 * istio/istio pkg/workloadapi/workload.proto; what a newer istiod adds is skipped.
 */
import { ipFromBytes } from '../../core/address.ts'
import { InternPool, TextPool } from '../reading/intern-pool.ts'
import {
  delimited,
  readFields,
  readNested,
  readRaw,
  readerOf,
  varint,
  wireFields,
} from '../reading/wire-message.ts'
import { HBONE_PORT } from '../../mesh/workload.ts'
import { REAL_PORT, portProblem, reachabilityProblem } from './network-address.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Path } from '../../core/result.ts'
import type { Locality } from '../../mesh/endpoint.ts'
import type { GatewayAddress } from '../../mesh/workload.ts'
import type { OnProblem, WireReader } from '../reading/wire-message.ts'

/** Service port to target port. */
export type PortMap = ReadonlyMap<number, number>

/** What decoded resources have in common, held once. Lives as long as the mesh that the resources go to. */
export class AmbientPools {
  readonly texts = new TextPool()
  readonly localities = new InternPool<Locality>()
  readonly gateways = new InternPool<GatewayAddress>()
  readonly services = new InternPool<ReadonlyMap<string, PortMap>>()
  readonly policyKeys = new InternPool<readonly string[]>()
}

/** What the decoding of one resource carries along. */
export interface WireContext {
  readonly pools: AmbientPools
  /** Under which the resource came; empty where it has no name. */
  readonly name: string
  readonly onProblem: OnProblem
}

/** An istio.workload.NetworkAddress; a range where it has a prefix length. */
export interface WireNetworkAddress {
  network: string
  ip: IpAddress | undefined
  prefixLength: number | undefined
}

type Mutable<Type> = { -readonly [Name in keyof Type]: Type[Name] }

interface GatewayDraft {
  namespace: string
  hostname: string
  address: WireNetworkAddress | undefined
  hbonePort: number
}

/** What fails to be an address is a problem, told at the path of whatever holds it. */
interface AddressContext extends WireContext {
  readonly path: Path
}

const NETWORK_ADDRESS = wireFields<WireNetworkAddress, AddressContext>({
  1: delimited((draft, reader, context) => (draft.network = readText(reader, context))),
  2: delimited((draft, reader, context) => (draft.ip = readIpBytes(reader, context.path, context))),
  3: varint((draft, reader) => (draft.prefixLength = reader.uint32())),
})
const NAMESPACED_HOSTNAME = wireFields<GatewayDraft, WireContext>({
  1: delimited((draft, reader, context) => (draft.namespace = readText(reader, context))),
  2: delimited((draft, reader, context) => (draft.hostname = readText(reader, context))),
})
const GATEWAY_ADDRESS = wireFields<GatewayDraft, AddressContext>({
  1: delimited((draft, reader, context) => {
    draft.address = undefined
    readNested(reader, NAMESPACED_HOSTNAME, draft, context)
  }),
  2: delimited(
    (draft, reader, context) => (draft.address = readNetworkAddress(reader, context.path, context)),
  ),
  3: varint((draft, reader) => (draft.hbonePort = reader.uint32())),
})
const LOCALITY = wireFields<Mutable<Locality>, WireContext>({
  1: delimited((draft, reader, context) => (draft.region = readText(reader, context))),
  2: delimited((draft, reader, context) => (draft.zone = readText(reader, context))),
  3: delimited((draft, reader, context) => (draft.subzone = readText(reader, context))),
})
/** 3, app_protocol, says nothing to a TCP proxy. */
const PORT = wireFields<{ servicePort: number; targetPort: number }, undefined>({
  1: varint((draft, reader) => (draft.servicePort = reader.uint32())),
  2: varint((draft, reader) => (draft.targetPort = reader.uint32())),
})

/** The text that follows, held once however often it comes. */
export function readText(reader: WireReader, { pools }: WireContext): string {
  return pools.texts.share(reader.string())
}

/** The address in the bytes that follow, if it names a host; else a problem at `path`. */
export function readIpBytes(
  reader: WireReader,
  path: Path,
  { onProblem }: WireContext,
): IpAddress | undefined {
  const bytes = reader.bytes()
  if (bytes.length !== 4 && bytes.length !== 16) {
    onProblem(path, `an IP address has 4 or 16 bytes, not ${bytes.length}`)
    return undefined
  }
  const ip = ipFromBytes(bytes)
  const problem = reachabilityProblem(ip)
  if (problem === undefined) return ip
  onProblem(path, problem)
  return undefined
}

/** The NetworkAddress that follows; without `ip` when it has none, or a wrong one that has been reported. */
export function readNetworkAddress(reader: WireReader, path: Path, context: WireContext): WireNetworkAddress {
  const draft: WireNetworkAddress = { network: '', ip: undefined, prefixLength: undefined }
  readNested(reader, NETWORK_ADDRESS, draft, { ...context, path })
  return draft
}

/** The Locality that follows. */
export function readWireLocality(reader: WireReader, context: WireContext): Locality {
  const raw = readRaw(reader)
  const { localities } = context.pools
  const held = localities.get(raw)
  if (held !== undefined) return held
  const draft = { region: '', zone: '', subzone: '' }
  readFields(readerOf(Buffer.from(raw, 'latin1')), LOCALITY, draft, context)
  return localities.keep(raw, draft)
}

/**
 * The GatewayAddress that follows. A destination of a kind that is not known gives a gateway without a name: what must
 * pass it is refused, where leaving the gateway out would let it go around.
 */
export function readWireGateway(
  reader: WireReader,
  path: Path,
  context: WireContext,
): GatewayAddress | undefined {
  const raw = readRaw(reader)
  const { gateways } = context.pools
  const held = gateways.get(raw)
  if (held !== undefined) return held
  const draft: GatewayDraft = { namespace: '', hostname: '', address: undefined, hbonePort: 0 }
  readFields(readerOf(Buffer.from(raw, 'latin1')), GATEWAY_ADDRESS, draft, { ...context, path })
  const gateway = gatewayOf(draft, path, context)
  return gateway && gateways.keep(raw, gateway)
}

/** Puts the Port that follows into `ports`; `path` is where the ports are. */
export function readPortInto(
  reader: WireReader,
  ports: Map<number, number>,
  { path, onProblem }: { readonly path: Path; readonly onProblem: OnProblem },
): void {
  const draft = { servicePort: 0, targetPort: 0 }
  readNested(reader, PORT, draft, undefined)
  const problem = portProblem(ports, draft.servicePort, draft.targetPort)
  if (problem === undefined) ports.set(draft.servicePort, draft.targetPort)
  else onProblem([...path, String(draft.servicePort)], problem.message, problem.at)
}

function gatewayOf(draft: GatewayDraft, path: Path, { onProblem }: WireContext): GatewayAddress | undefined {
  const { namespace, hostname, address } = draft
  const hbonePort = draft.hbonePort || HBONE_PORT
  if (hbonePort > REAL_PORT.max) {
    onProblem([...path, 'hbone_mtls_port'], `a port is at most ${REAL_PORT.max}, not ${hbonePort}`)
    return undefined
  }
  if (address === undefined) return { kind: 'hostname', namespace, hostname, hbonePort }
  const { network, ip } = address
  if (ip !== undefined) return { kind: 'address', address: { network, ip }, hbonePort }
  onProblem([...path, 'address'], 'a NetworkAddress needs an address')
  return undefined
}
