/**
 * Decodes envoy.config.bootstrap.v3.Bootstrap with static resources, and checks what only the whole document shows.
 * Does no I/O: files with endpoints are listed, and their contents decoded by {@link decodeAssignments}.
 */
import { formatSocketAddress } from '../../core/address.ts'
import { DecodeReport, rootField } from '../reading/message-reader.ts'
import { ipOf, readAddress } from './address.ts'
import { decodeBindConfig } from './bind-config.ts'
import { decodeCluster } from './cluster.ts'
import { decodeControlPlaneCluster, decodeDynamicResources } from './dynamic-resources.ts'
import { decodeListener } from './listener.ts'
import { decodeLoadAssignment } from './load-assignment.ts'
import { readAny } from './typed-config.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Cluster, LoadAssignment } from '../../mesh/cluster.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'
import type { AdsConfig, ControlPlaneCluster } from './dynamic-resources.ts'

/** Who the proxy says it is. */
export interface BootstrapNode {
  readonly id: string
  readonly cluster: string
  readonly metadata: Readonly<Record<string, unknown>>
}

/** A second file that EDS clusters read from, and the assignments that they expect in it. */
export interface AssignmentFile {
  /** As written; relative to the working directory, as in Envoy. */
  readonly path: string
  readonly assignmentNames: readonly string[]
}

/** The control plane of a bootstrap, and what comes from there. */
export interface BootstrapControlPlane extends Pick<
  AdsConfig,
  'protocol' | 'metadata' | 'hasListeners' | 'hasClusters'
> {
  readonly cluster: ControlPlaneCluster
}

/** What an Envoy bootstrap says, as far as it concerns this proxy. */
export interface EnvoyBootstrap {
  readonly node: BootstrapNode
  readonly admin?: SocketAddress
  readonly listeners: readonly Listener[]
  readonly clusters: readonly Cluster[]
  readonly assignmentFiles: readonly AssignmentFile[]
  /** Absent: everything is in the file. */
  readonly controlPlane?: BootstrapControlPlane
}

const ASSIGNMENT = 'envoy.config.endpoint.v3.ClusterLoadAssignment'
const OWN_RESOLVER = 'names are resolved by the resolver of the machine; remove it'
const OTHER_SOURCE = 'the control plane is the one of dynamic_resources.ads_config; remove it'

/** Decodes a bootstrap; `bootstrap` is there when the report has no errors. */
export function decodeBootstrap(
  document: unknown,
  report = new DecodeReport(),
): { readonly report: DecodeReport; readonly bootstrap?: EnvoyBootstrap } {
  const message = rootField(document, report).message('Bootstrap')
  if (message === undefined) return { report }
  const node = decodeNode(message)
  const admin = decodeAdmin(message)
  const defaultSourceAddresses = decodeClusterManager(message)
  const dynamic = message.takeMessage('dynamic_resources', 'DynamicResources')
  const ads = dynamic && decodeDynamicResources(dynamic)
  const resources = decodeStaticResources(message, { defaultSourceAddresses, ads })
  finishBootstrap(message)
  if (report.hasErrors) return { report }
  return { report, bootstrap: { node, ...(admin !== undefined && { admin }), ...resources } }
}

/**
 * Decodes the content of a file with endpoints: a DiscoveryResponse in its JSON form. Each name of `expectedNames` has
 * to be in it; an assignment may be there without endpoints.
 */
export function decodeAssignments(
  document: unknown,
  expectedNames: readonly string[] = [],
  report = new DecodeReport(),
): { readonly report: DecodeReport; readonly assignments?: readonly LoadAssignment[] } {
  const message = rootField(document, report).message('DiscoveryResponse')
  if (message === undefined) return { report }
  const list = message.require('resources')
  const named = new NameSet('ClusterLoadAssignment', 'ClusterLoadAssignment')
  const assignments = (list?.list() ?? []).flatMap((field) => {
    const typed = readAny(field)
    if (typed === undefined) return []
    if (typed.typeName !== ASSIGNMENT) {
      field.error(`must be a ${ASSIGNMENT}, not a ${typed.typeName}`)
      return []
    }
    named.add(typed.config, 'cluster_name')
    return decodeLoadAssignment(field) ?? []
  })
  message.take('@type')
  message.finish({
    ignored: ['version_info', 'type_url', 'nonce', 'canary', 'control_plane', 'resource_errors'],
  })
  for (const name of expectedNames)
    if (list !== undefined && !named.has(name))
      list.error(
        `there is no ClusterLoadAssignment of cluster_name '${name}', which a cluster reads from this file; add one, without endpoints if it has none`,
      )
  return report.hasErrors ? { report } : { report, assignments }
}

function decodeStaticResources(
  bootstrap: MessageReader,
  facts: { readonly defaultSourceAddresses: readonly SocketAddress[]; readonly ads: AdsConfig | undefined },
): Pick<EnvoyBootstrap, 'listeners' | 'clusters' | 'assignmentFiles' | 'controlPlane'> {
  const { defaultSourceAddresses, ads } = facts
  const message = bootstrap.takeMessage('static_resources', 'StaticResources')
  const files = new Map<string, Set<string>>()
  const clusterNames = new NameSet('cluster', 'Cluster')
  let controlPlane: ControlPlaneCluster | undefined
  const clusters = (message?.takeList('clusters') ?? []).flatMap((field) => {
    clusterNames.addField(field)
    if (ads !== undefined && nameIn(field) === ads.clusterName) {
      controlPlane = decodeControlPlaneCluster(field)
      return []
    }
    return (
      decodeCluster(field, {
        defaultSourceAddresses,
        onAssignmentFile: ({ path }, assignmentName) => {
          files.set(path, (files.get(path) ?? new Set()).add(assignmentName))
        },
      }) ?? []
    )
  })
  const listenerNames = new NameSet('listener', 'Listener')
  const owners = new Map<string, Listener>()
  const listeners = (message?.takeList('listeners') ?? []).flatMap((field) => {
    listenerNames.addField(field)
    return (
      decodeListener(field, {
        onClusterName: (name, place) => {
          // What the control plane sends may name it later.
          if (!clusterNames.has(name) && ads?.hasClusters !== true)
            place.error(`there is no cluster '${name}'; define it under static_resources.clusters`)
        },
        onAddress: (address, place, listener) => {
          checkAddressIsFree({ address, place, listener, owners })
        },
      }) ?? []
    )
  })
  message?.finish({ ignored: ['secrets'] })
  if (ads !== undefined && !clusterNames.has(ads.clusterName)) {
    ads.clusterPlace.error(
      `there is no cluster '${ads.clusterName}'; define the way to the control plane under static_resources.clusters`,
    )
  }
  const assignmentFiles = [...files].map(([path, names]) => ({ path, assignmentNames: [...names] }))
  const resources = { listeners, clusters, assignmentFiles }
  if (ads === undefined || controlPlane === undefined) return resources
  const { protocol, metadata, hasListeners, hasClusters } = ads
  return {
    ...resources,
    controlPlane: { protocol, metadata, hasListeners, hasClusters, cluster: controlPlane },
  }
}

/** The name of a resource, without reading it. */
function nameIn({ value }: Field): unknown {
  return typeof value === 'object' && value !== null && 'name' in value ? value.name : undefined
}

/** As Envoy: addresses differ among all listeners, bound or not; several may ask the kernel for a port. */
function checkAddressIsFree(facts: {
  readonly address: SocketAddress
  readonly place: Field
  readonly listener: Listener
  readonly owners: Map<string, Listener>
}): void {
  const { address, place, listener, owners } = facts
  if (address.port === 0 && listener.bindToPort) return
  const text = formatSocketAddress(address)
  const owner = owners.get(text)
  if (owner === undefined) owners.set(text, listener)
  else if (owner !== listener)
    place.error(`${text} is an address of listener '${owner.name}' already; give each listener its own`)
}

/** Names that must differ, with the place of the second. */
class NameSet {
  readonly #kind: string
  readonly #messageName: string
  readonly #names = new Set<string>()

  /** @param kind what problems call the resource */
  constructor(kind: string, messageName: string) {
    this.#kind = kind
    this.#messageName = messageName
  }

  has(name: string): boolean {
    return this.#names.has(name)
  }

  /** Looks at the name of a resource without reading it, so that the decoder of the resource still does. */
  addField(field: Field): void {
    const reader =
      typeof field.value === 'object' && !Array.isArray(field.value)
        ? field.message(this.#messageName)
        : undefined
    if (reader !== undefined) this.add(reader, 'name')
  }

  add(reader: MessageReader, nameField: string): void {
    const place = reader.take(nameField)
    if (typeof place?.value !== 'string') return
    if (this.#names.has(place.value))
      place.error(`there is a ${this.#kind} '${place.value}' already; give each its own name`)
    this.#names.add(place.value)
  }
}

function decodeNode(bootstrap: MessageReader): BootstrapNode {
  const message = bootstrap.takeMessage('node', 'Node')
  const metadata = message?.take('metadata')
  const node = {
    id: message?.take('id')?.string() ?? '',
    cluster: message?.take('cluster')?.string() ?? '',
    metadata: Object.fromEntries((metadata?.entries() ?? []).map(([key, field]) => [key, field.value])),
  }
  message?.finish({
    ignored: [
      'dynamic_parameters',
      'locality',
      'user_agent_name',
      'user_agent_version',
      'user_agent_build_version',
      'extensions',
      'client_features',
      'listening_addresses',
    ],
  })
  return node
}

function decodeAdmin(bootstrap: MessageReader): SocketAddress | undefined {
  const message = bootstrap.takeMessage('admin', 'Admin')
  const place = message?.take('address')
  const text = place && readAddress(place)
  message?.finish({
    ignored: ['access_log', 'access_log_path', 'profile_path', 'ignore_global_conn_limit'],
    unsupported: {
      socket_options: 'options of the admin socket are not supported; remove them',
      allow_paths: 'paths are not restricted; bind the admin address to loopback and remove it',
    },
  })
  return text && ipOf(text)
}

function decodeClusterManager(bootstrap: MessageReader): readonly SocketAddress[] {
  const message = bootstrap.takeMessage('cluster_manager', 'ClusterManager')
  const bindConfig = message?.take('upstream_bind_config')
  message?.finish({
    ignored: ['outlier_detection', 'load_stats_config', 'enable_deferred_cluster_creation'],
    unsupported: { local_cluster_name: 'there is no zone-aware routing; remove it' },
  })
  return bindConfig === undefined ? [] : decodeBindConfig(bindConfig)
}

function finishBootstrap(message: MessageReader): void {
  message
    .take('overload_manager')
    ?.warn('overload_manager has no effect: connections are limited by the open descriptors of the process')
  message.finish({
    ignored: [
      'node_context_params',
      'flags_path',
      'stats_sinks',
      'deferred_stat_options',
      'stats_config',
      'stats_flush_interval',
      'stats_flush_on_admin',
      'stats_eviction_interval',
      'stats_server_version_override',
      'watchdog',
      'watchdogs',
      'tracing',
      'layered_runtime',
      'enable_dispatcher_stats',
      'header_prefix',
      'use_tcp_for_dns_lookups',
      'bootstrap_extensions',
      'fatal_actions',
      'certificate_provider_instances',
      'inline_headers',
      'perf_tracing_file_path',
      'default_regex_engine',
      'xds_delegate_extension',
      'xds_config_tracker_extension',
      'application_log_config',
      'grpc_async_client_manager_config',
      'memory_allocator_manager',
      'enable_worker_cpu_affinity',
    ],
    unsupported: {
      hds_config: OTHER_SOURCE,
      config_sources: OTHER_SOURCE,
      default_config_source: OTHER_SOURCE,
      default_socket_interface: 'sockets are those of the kernel; remove it',
      listener_manager: 'remove it',
      dns_resolution_config: OWN_RESOLVER,
      typed_dns_resolver_config: OWN_RESOLVER,
    },
  })
}
