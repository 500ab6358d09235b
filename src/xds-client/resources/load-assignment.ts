/**
 * Decodes envoy.config.endpoint.v3.ClusterLoadAssignment. Two endpoints that are the two families of one instance, sent
 * apart, become one.
 */
import { decodeEndpoint } from './endpoint.ts'

import type { Family } from '../../core/family.ts'
import type { EndpointTemplate, LoadAssignment } from '../../mesh/cluster.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'
import type { HostRule, LocalityFacts, PlacedEndpoint } from './endpoint.ts'

const UINT32_MAX = 4_294_967_295
const MAX_PRIORITY = 128

/** Decodes the endpoints of a cluster. */
export function decodeLoadAssignment(
  field: Field,
  rule: HostRule = { kind: 'ip', clusterType: 'EDS' },
): LoadAssignment | undefined {
  const message = field.message('ClusterLoadAssignment')
  if (message === undefined) return undefined
  message.take('@type')
  const namePlace = message.require('cluster_name')
  const name = namePlace?.string()
  if (name === '') namePlace?.error('cluster_name is empty; write the name of the cluster')
  const placed = message.takeList('endpoints').flatMap((locality) => decodeLocality(locality, rule))
  const policy = message.takeMessage('policy', 'Policy')
  const overprovisioningFactor = policy && decodePolicy(policy)
  message.finish({ unsupported: { named_endpoints: 'write the endpoints under endpoints' } })
  const endpoints = withoutRepetition(placed)
  if (name === undefined) return undefined
  return {
    name,
    endpoints: joinFamilies(endpoints),
    ...(overprovisioningFactor !== undefined && { overprovisioningFactor }),
  }
}

function decodePolicy(message: MessageReader): number | undefined {
  const factor = message.take('overprovisioning_factor')?.integer({ min: 1, max: UINT32_MAX })
  message.finish({
    unsupported: {
      drop_overloads: 'connections are not dropped by share; remove it',
      endpoint_stale_after: 'endpoints hold until they are replaced; remove it',
      weighted_priority_health: 'priorities spill over by the number of endpoints; remove it',
    },
  })
  return factor
}

function decodeLocality(field: Field, rule: HostRule): readonly PlacedEndpoint[] {
  const message = field.message('LocalityLbEndpoints')
  if (message === undefined) return []
  const locality = message.takeMessage('locality', 'Locality')
  const weight = message.take('load_balancing_weight')?.integer({ min: 1, max: UINT32_MAX })
  const facts: LocalityFacts = {
    ...(locality !== undefined && {
      locality: {
        region: locality.take('region')?.string() ?? '',
        zone: locality.take('zone')?.string() ?? '',
        subzone: locality.take('sub_zone')?.string() ?? '',
      },
    }),
    ...(weight !== undefined && { localityWeight: weight }),
    priority: message.take('priority')?.integer({ min: 0, max: MAX_PRIORITY }) ?? 0,
  }
  locality?.finish()
  const endpoints = message
    .takeList('lb_endpoints')
    .flatMap((item) => decodeEndpoint(item, facts, rule) ?? [])
  message.finish({
    ignored: ['metadata', 'proximity'],
    unsupported: {
      load_balancer_endpoints: 'write the endpoints as lb_endpoints',
      leds_cluster_locality_config: 'write the endpoints as lb_endpoints',
    },
  })
  return endpoints
}

/** An address that is given twice is a mistake in a file; on the wire the first one holds, as in Envoy. */
function withoutRepetition(placed: readonly PlacedEndpoint[]): readonly EndpointTemplate[] {
  const byId = new Map<string, EndpointTemplate>()
  for (const { endpoint, place } of placed) {
    if (byId.has(endpoint.id))
      place.unsupported('LbEndpoint.endpoint', `${endpoint.id} is an endpoint already; remove one of the two`)
    else byId.set(endpoint.id, endpoint)
  }
  return [...byId.values()]
}

/**
 * Joins an IPv4 and an IPv6 endpoint of one workload, port, priority and locality. The workload that Istio names is a
 * deployment, not a pod: where it has more than one endpoint of a family nothing says which two are one instance, and
 * they stay apart.
 */
function joinFamilies(endpoints: readonly EndpointTemplate[]): readonly EndpointTemplate[] {
  const groups = new Map<string, EndpointTemplate[]>()
  for (const endpoint of endpoints) {
    const key = twinKey(endpoint)
    const group = key === undefined ? undefined : groups.get(key)
    if (group !== undefined) group.push(endpoint)
    else if (key !== undefined) groups.set(key, [endpoint])
  }
  const twinOf = new Map<EndpointTemplate, EndpointTemplate>()
  for (const [first, second, ...more] of groups.values()) {
    if (first === undefined || second === undefined || more.length > 0) continue
    if (familyOf(first) !== familyOf(second)) twinOf.set(first, second)
  }
  const absorbed = new Set(twinOf.values())
  return endpoints.flatMap((endpoint) => {
    if (absorbed.has(endpoint)) return []
    const twin = twinOf.get(endpoint)
    return [twin === undefined ? endpoint : join(endpoint, twin)]
  })
}

function join(first: EndpointTemplate, second: EndpointTemplate): EndpointTemplate {
  return {
    ...first,
    hosts: [...first.hosts, ...second.hosts],
    // Apart, each had its share; as one they are picked once, and one family that is up keeps the instance up.
    weight: Math.max(first.weight, second.weight),
    health: bestHealth(first, second),
  }
}

function bestHealth(a: EndpointTemplate, b: EndpointTemplate): EndpointTemplate['health'] {
  if (a.health === 'healthy' || b.health === 'healthy') return 'healthy'
  return a.health === 'degraded' || b.health === 'degraded' ? 'degraded' : 'unhealthy'
}

/** What two endpoints must share to be twins; `undefined` for an endpoint that can have none. */
function twinKey(endpoint: EndpointTemplate): string | undefined {
  const [host] = endpoint.hosts
  if (endpoint.workload === undefined || host?.kind !== 'ip' || endpoint.hosts.length !== 1) return undefined
  const { name, namespace, canonicalName, canonicalRevision, cluster, locality } = endpoint.workload
  return JSON.stringify([
    name,
    namespace,
    canonicalName,
    canonicalRevision,
    cluster,
    locality,
    endpoint.priority,
    endpoint.protocol,
    endpoint.transportLabels,
    host.address.port,
  ])
}

function familyOf(endpoint: EndpointTemplate): Family | undefined {
  const [host] = endpoint.hosts
  return host?.kind === 'ip' ? host.address.ip.family : undefined
}
