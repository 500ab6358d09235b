/**
 * The state of the agent in the shape of ztunnel's /config_dump, as `istioctl ztunnel-config` reads it: workloads,
 * services, policies, connections, settings. Addresses are canonical text, because istioctl compares them as such.
 */
import { formatCidr } from '../../core/cidr.ts'
import { HBONE_PORT, serviceKey } from '../../mesh/workload.ts'
import { capitalized, optional } from './json-forms.ts'
import { dumpStream } from './stream-dump.ts'
import { dumpWorkloadState } from './workload-state-dump.ts'

import type { MeshSnapshot } from '../../mesh/store.ts'
import type {
  AuthorizationPolicy,
  GatewayAddress,
  NetworkAddress,
  PolicyMatch,
  Service,
  StringMatch,
  Workload,
} from '../../mesh/workload.ts'
import type { ConnectionRecord } from '../../proxy/connection-record.ts'
import type { PodStatus } from '../../proxy/pods/pod-entry.ts'
import type { Settings } from '../settings/settings.ts'
import type { Json } from './json-forms.ts'
import type { StreamView } from '../source/mesh-feed.ts'

export interface AmbientDumpInput {
  readonly snapshot: MeshSnapshot
  readonly settings: Settings
  readonly version: string
  readonly connections: readonly ConnectionRecord[]
  /** Absent where no pods are captured in their network namespaces. */
  readonly pods?: readonly PodStatus[] | undefined
  /** Absent where the mesh is read from a file. */
  readonly stream?: StreamView
}

/** Costs the size of the mesh and the live connections; the result is plain JSON. */
export function ambientConfigDump(input: AmbientDumpInput): Json {
  const { snapshot, settings, version, connections, stream, pods = [] } = input
  const endpoints = endpointsByService(snapshot)
  return {
    // This build holds no certificates; istioctl wants the key.
    certificates: [],
    config: dumpSettings(settings),
    policies: Array.from(snapshot.policy.values(), dumpPolicy),
    services: Array.from(snapshot.service.values(), (service) => dumpService(service, endpoints)),
    version: { version, gitRevision: 'unknown', istioVersion: version, nodeVersion: process.version },
    workloadState: dumpWorkloadState(snapshot, connections, pods),
    workloads: Array.from(snapshot.workload.values(), dumpWorkload),
    ...(stream !== undefined && { xds: dumpStream(stream) }),
  }
}

function dumpWorkload(workload: Workload): Json {
  const { locality, waypoint, networkGateway, applicationTunnel } = workload
  return {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    workloadIps: workload.addresses.map(({ text }) => text),
    protocol: workload.protocol === 'hbone' ? 'HBONE' : 'TCP',
    networkMode: workload.isHostNetwork ? 'HostNetwork' : 'Standard',
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    workloadName: workload.workloadName,
    workloadType: workload.workloadType,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    clusterId: workload.clusterId,
    status: workload.status === 'healthy' ? 'Healthy' : 'Unhealthy',
    capacity: workload.capacity,
    locality: { ...locality },
    services: [...workload.services.keys()],
    authorizationPolicies: workload.authorizationPolicies,
    ...optional('network', workload.network),
    ...optional('node', workload.node),
    ...optional('hostname', workload.hostname),
    ...(workload.isNativeTunnel && { nativeTunnel: true }),
    ...(waypoint && { waypoint: dumpGateway(waypoint) }),
    ...(networkGateway && { networkGateway: dumpGateway(networkGateway) }),
    ...(applicationTunnel && {
      applicationTunnel: { protocol: applicationTunnel.protocol.toUpperCase(), port: applicationTunnel.port },
    }),
  }
}

function dumpService(service: Service, endpoints: ReadonlyMap<string, Json>): Json {
  const { loadBalancing, waypoint, families } = service
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.vips.map(formatNetworkAddress),
    cidrVips: service.cidrVips.map(({ network, cidr }) => ({ network, cidr: formatCidr(cidr) })),
    ports: Object.fromEntries(service.ports),
    endpoints: endpoints.get(serviceKey(service)) ?? {},
    subjectAltNames: service.subjectAltNames,
    canonical: service.isCanonical,
    visibility: capitalized(service.visibility),
    loadBalancer: {
      routingPreferences: loadBalancing.routingPreferences.map(capitalized),
      mode: capitalized(loadBalancing.mode),
      healthPolicy: loadBalancing.healthPolicy === 'allow-all' ? 'AllowAll' : 'OnlyHealthy',
    },
    ...(families !== 'automatic' && { ipFamilies: SERVICE_FAMILIES[families] }),
    ...(waypoint && { waypoint: dumpGateway(waypoint) }),
  }
}

const SERVICE_FAMILIES = { ipv4: 'IPv4', ipv6: 'IPv6', dual: 'Dual' } as const

/** Workloads say which services they belong to; istioctl wants it the other way round. */
function endpointsByService(snapshot: MeshSnapshot): ReadonlyMap<string, Json> {
  const byService = new Map<string, Record<string, unknown>>()
  for (const { uid, status, services } of snapshot.workload.values()) {
    for (const [key, ports] of services) {
      const ofService = byService.get(key) ?? {}
      ofService[uid] = {
        workloadUid: uid,
        port: Object.fromEntries(ports),
        status: status === 'healthy' ? 'Healthy' : 'Unhealthy',
      }
      byService.set(key, ofService)
    }
  }
  return byService
}

function dumpPolicy(policy: AuthorizationPolicy): Json {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: POLICY_SCOPES[policy.scope],
    action: policy.action === 'deny' ? 'Deny' : 'Allow',
    rules: policy.rules.map((rule) => rule.map((clause) => clause.map(dumpMatch))),
    dryRun: policy.isDryRun,
  }
}

const POLICY_SCOPES = {
  global: 'Global',
  namespace: 'Namespace',
  'workload-selector': 'WorkloadSelector',
} as const

/** Kinds without values are left out, as in ztunnel. */
function dumpMatch(match: PolicyMatch): Json {
  const kinds: Readonly<Record<string, readonly unknown[]>> = {
    namespaces: match.namespaces.map(dumpStringMatch),
    notNamespaces: match.notNamespaces.map(dumpStringMatch),
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
    principals: match.principals.map(dumpStringMatch),
    notPrincipals: match.notPrincipals.map(dumpStringMatch),
    sourceIps: match.sourceIps.map(formatCidr),
    notSourceIps: match.notSourceIps.map(formatCidr),
    destinationIps: match.destinationIps.map(formatCidr),
    notDestinationIps: match.notDestinationIps.map(formatCidr),
    destinationPorts: match.destinationPorts,
    notDestinationPorts: match.notDestinationPorts,
  }
  const known = Object.entries(kinds).filter(([, values]) => values.length > 0)
  // Without a word it would look like one that matches everything.
  return { ...Object.fromEntries(known), ...(match.isUnknown && { unknown: true }) }
}

function dumpStringMatch(match: StringMatch): Json {
  return match.kind === 'presence' ? { Presence: [] } : { [capitalized(match.kind)]: match.value }
}

/** Keys and forms of ztunnel's Config where it has the setting, and what is ours beside them. */
function dumpSettings(settings: Settings): Json {
  const { ports, node, keepalive, families, podCapture } = settings
  const wildcard = families.includes('ipv6') ? '[::]' : '0.0.0.0'
  return {
    proxy: true,
    proxyMode: 'Shared',
    outboundAddr: { SocketAddr: `${wildcard}:${ports.outbound}` },
    inboundPlaintextAddr: { SocketAddr: `${wildcard}:${ports.inbound}` },
    adminAddr: { Localhost: [families.includes('ipv6'), ports.admin] },
    statsAddr: { SocketAddr: `${wildcard}:${ports.metrics}` },
    readinessAddr: { SocketAddr: `${wildcard}:${ports.readiness}` },
    network: node.network,
    localNode: node.nodeName,
    clusterId: node.clusterId,
    clusterDomain: node.clusterDomain,
    ipv6Enabled: families.includes('ipv6'),
    proxyMetadata: settings.proxyMetadata,
    selfTerminationDeadline: duration(settings.drainDeadlineMs),
    socketConfig: {
      keepaliveEnabled: keepalive.idleMs !== undefined,
      ...(keepalive.idleMs !== undefined && { keepaliveTime: duration(keepalive.idleMs) }),
      ...(keepalive.intervalMs !== undefined && { keepaliveInterval: duration(keepalive.intervalMs) }),
      ...(keepalive.probes !== undefined && { keepaliveRetries: keepalive.probes }),
    },
    dualStack: settings.dualStack,
    families,
    requiredFamilies: settings.requiredFamilies,
    familyPolicy: settings.familyPolicy,
    attemptDelay: duration(settings.attemptDelayMs),
    idleTimeout: duration(settings.idleTimeoutMs),
    halfClosedTimeout: duration(settings.halfClosedTimeoutMs),
    allowPlaintext: settings.allowPlaintext,
    engine: settings.engine,
    source: settings.source,
    ...(podCapture !== undefined && {
      inpodUds: podCapture.socketPath,
      inpodPortReuse: podCapture.reusePort,
      inboundAddr: { SocketAddr: `${wildcard}:${HBONE_PORT}` },
    }),
  }
}

function dumpGateway(gateway: GatewayAddress): Json {
  const destination =
    gateway.kind === 'address'
      ? formatNetworkAddress(gateway.address)
      : `${gateway.namespace}/${gateway.hostname}`
  return { destination, hboneMtlsPort: gateway.hbonePort }
}

function formatNetworkAddress({ network, ip }: NetworkAddress): string {
  return `${network}/${ip.text}`
}

function duration(ms: number): Json {
  return { secs: Math.floor(ms / 1_000), nanos: Math.round((ms % 1_000) * 1e6) }
}
