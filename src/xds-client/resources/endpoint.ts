/** Decodes envoy.config.endpoint.v3.LbEndpoint: one application instance with all of its addresses. */
import { AddressError, formatSocketAddress, parseSocketAddress } from '../../core/address.ts'
import { hostOf, readAddress } from './address.ts'
import { readTransportLabels } from './transport-socket.ts'

import type { EndpointTemplate, HostAddress, TransportLabels } from '../../mesh/cluster.ts'
import type { EndpointHealth, Locality, WorkloadLabels } from '../../mesh/endpoint.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

/** What the addresses of endpoints may be; `ip` names the cluster type, for the message. */
export type HostRule =
  { readonly kind: 'ip'; readonly clusterType: 'STATIC' | 'EDS' } | { readonly kind: 'ip-or-hostname' }

/** What the endpoints of one LocalityLbEndpoints have in common. */
export interface LocalityFacts {
  readonly locality?: Locality
  readonly localityWeight?: number
  readonly priority: number
}

/** An endpoint and where it stands. */
export interface PlacedEndpoint {
  readonly endpoint: EndpointTemplate
  readonly place: Field
}

const UINT32_MAX = 4_294_967_295
const HEALTH_STATUSES = ['UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED'] as const
const HEALTH: Readonly<Record<(typeof HEALTH_STATUSES)[number], EndpointHealth>> = {
  UNKNOWN: 'healthy',
  HEALTHY: 'healthy',
  UNHEALTHY: 'unhealthy',
  DRAINING: 'unhealthy',
  TIMEOUT: 'unhealthy',
  DEGRADED: 'degraded',
}
const NO_LOCALITY: Locality = { region: '', zone: '', subzone: '' }

/** Decodes one LbEndpoint. */
export function decodeEndpoint(
  field: Field,
  facts: LocalityFacts,
  rule: HostRule,
): PlacedEndpoint | undefined {
  const message = field.message('LbEndpoint')
  if (message === undefined) return undefined
  const endpoint = message.takeMessage('endpoint', 'Endpoint')
  const isNamed = message.has('endpoint_name')
  const { hosts, isTunnelled } =
    endpoint === undefined ? { hosts: [], isTunnelled: false } : decodeHosts(endpoint, rule)
  const status = message.take('health_status')?.oneOf(HEALTH_STATUSES) ?? 'UNKNOWN'
  const metadata = message.takeMessage('metadata', 'Metadata')
  const labels = metadata && decodeMetadata(metadata, facts.locality ?? NO_LOCALITY)
  const weight = message.take('load_balancing_weight')?.integer({ min: 1, max: UINT32_MAX }) ?? 1
  message.finish({ unsupported: { endpoint_name: 'write the endpoint itself' } })
  if (endpoint === undefined && !isNamed) field.error('LbEndpoint needs endpoint')
  const [first] = hosts
  if (first === undefined) return undefined
  const template: EndpointTemplate = {
    id: formatHost(first),
    hosts,
    weight,
    ...facts,
    health: HEALTH[status],
    protocol: isTunnelled ? 'hbone' : 'tcp',
    ...labels,
  }
  return { endpoint: template, place: field }
}

/** The address of an endpoint as text; equal texts are equal addresses. */
function formatHost(host: HostAddress): string {
  return host.kind === 'ip' ? formatSocketAddress(host.address) : `${host.hostname}:${host.port}`
}

interface EndpointHosts {
  readonly hosts: readonly HostAddress[]
  /** They are reached through an internal listener, which is how Istio writes an HBONE tunnel. */
  readonly isTunnelled: boolean
}

function decodeHosts(message: MessageReader, rule: HostRule): EndpointHosts {
  const place = message.require('address')
  const tunnelled = place && readTunnelled(place)
  const hosts = place === undefined ? [] : (tunnelled ?? decodeHost(place, rule))
  for (const field of message.takeList('additional_addresses')) {
    const additional = field.message('AdditionalAddress')
    const address = additional?.require('address')
    additional?.finish()
    if (address === undefined) continue
    if (rule.kind === 'ip-or-hostname') {
      field.error(
        'additional_addresses are for STATIC and EDS clusters; a host name brings all of its addresses',
      )
      continue
    }
    hosts.push(...decodeHost(address, rule))
  }
  message.finish({ ignored: ['health_check_config', 'hostname', 'observability_name'] })
  const texts = hosts.map(formatHost)
  return {
    hosts: hosts.filter((host, index) => texts.indexOf(formatHost(host)) === index),
    isTunnelled: tunnelled !== undefined,
  }
}

/**
 * On the wire, the address behind an internal listener, which Istio writes as the endpoint's id; `undefined` where the
 * address is none of an internal listener.
 */
function readTunnelled(place: Field): HostAddress[] | undefined {
  if (place.report.form === 'file') return undefined
  const internal = place.message('Address')?.take('envoy_internal_address')
  if (internal === undefined) return undefined
  const id = internal.message('EnvoyInternalAddress')?.take('endpoint_id')?.string() ?? ''
  try {
    return [{ kind: 'ip', address: parseSocketAddress(id) }]
  } catch (error) {
    if (!(error instanceof AddressError)) throw error
    internal.unsupported('EnvoyInternalAddress.endpoint_id', 'there are no internal listeners')
    return []
  }
}

function decodeHost(field: Field, rule: HostRule): HostAddress[] {
  const text = readAddress(field)
  const host = text && hostOf(text)
  if (text === undefined || host === undefined) return []
  if (rule.kind === 'ip' && host.kind === 'hostname') {
    text.place.error(
      rule.clusterType === 'STATIC'
        ? `'${text.text}' is a host name and a STATIC cluster has IP addresses; write the address, or set type: STRICT_DNS`
        : `'${text.text}' is a host name and the endpoints of an EDS cluster have IP addresses; write the address`,
    )
    return []
  }
  return [host]
}

/** What the metadata of an endpoint says that counts here: the transport that it asks for, and its workload. */
function decodeMetadata(
  metadata: MessageReader,
  locality: Locality,
): { readonly transportLabels?: TransportLabels; readonly workload?: WorkloadLabels } {
  const byFilter = metadata.takeMessage('filter_metadata', 'filter_metadata')
  const text = byFilter?.takeMessage('istio', 'Struct')?.take('workload')?.value
  // A cluster of a file has nothing to choose by it.
  const isOnWire = metadata.field.report.form === 'wire'
  const transport = isOnWire ? byFilter?.take('envoy.transport_socket_match') : undefined
  metadata.finish({ ignored: ['typed_filter_metadata'] })
  return {
    ...(transport !== undefined && { transportLabels: readTransportLabels(transport) }),
    ...(typeof text === 'string' && { workload: workloadOf(text, locality) }),
  }
}

/** Istio's `filter_metadata.istio.workload`: workload;namespace;canonical name;canonical revision;cluster. */
function workloadOf(text: string, locality: Locality): WorkloadLabels {
  const [name = '', namespace = '', canonicalName = '', canonicalRevision = '', cluster = ''] =
    text.split(';')
  return { uid: '', name, namespace, canonicalName, canonicalRevision, cluster, locality }
}
