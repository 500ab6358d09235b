/**
 * Decodes envoy.config.bootstrap.v3.Bootstrap.DynamicResources: the control plane that an Envoy bootstrap names, and which
 * resources come from it over ADS. The cluster that leads there is read apart: its TLS is that of the control plane and
 * says nothing about the traffic of the mesh.
 */
import { hostOf, readAddress } from './address.ts'
import { readTypedConfig } from './typed-config.ts'

import type { Field, MessageReader } from '../reading/message-reader.ts'

/** What ApiConfigSource says, before its cluster is known. */
export interface AdsConfig {
  readonly protocol: 'sotw' | 'delta'
  /** The cluster in static_resources that leads to the control plane, with the place of its name. */
  readonly clusterName: string
  readonly clusterPlace: Field
  /** Headers of the stream. */
  readonly metadata: Readonly<Record<string, string>>
  /** `lds_config` and `cds_config` name ADS. */
  readonly hasListeners: boolean
  readonly hasClusters: boolean
}

/** Where a control plane is reached. */
export interface ControlPlaneCluster {
  readonly host: string
  readonly port: number
  /** Absent: plain text. */
  readonly tls?: {
    /** The name that the certificate must have; empty: that of the host. */
    readonly serverName: string
    /** Absent: the roots of the system. */
    readonly rootCertificate?:
      { readonly kind: 'file'; readonly path: string } | { readonly kind: 'inline'; readonly pem: string }
  }
}

const UPSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
const API_TYPES = [
  'UNSUPPORTED_REST_LEGACY',
  'REST',
  'GRPC',
  'DELTA_GRPC',
  'UNUSED',
  'AGGREGATED_GRPC',
  'AGGREGATED_DELTA_GRPC',
] as const
const ENVOY_GRPC_REMEDY = 'write envoy_grpc with a cluster of static_resources'

/** Decodes `dynamic_resources`; `undefined` when it names no control plane or has an error. */
export function decodeDynamicResources(message: MessageReader): AdsConfig | undefined {
  const source = message.takeMessage('ads_config', 'ApiConfigSource')
  const hasListeners = takeAds(message, 'lds_config')
  const hasClusters = takeAds(message, 'cds_config')
  message.finish({
    unsupported: {
      lds_resources_locator: 'xdstp names are not supported; write lds_config with ads',
      cds_resources_locator: 'xdstp names are not supported; write cds_config with ads',
    },
  })
  if (source === undefined) {
    if (hasListeners || hasClusters) message.field.error('DynamicResources needs ads_config')
    return undefined
  }
  const config = decodeApiConfigSource(source)
  return config && { ...config, hasListeners, hasClusters }
}

/** Decodes the cluster that an {@link AdsConfig} names. Of several endpoints the first is used. */
export function decodeControlPlaneCluster(field: Field): ControlPlaneCluster | undefined {
  const message = field.message('Cluster')
  if (message === undefined) return undefined
  message.take('name')
  message.take('type')?.oneOf(['STATIC', 'STRICT_DNS', 'LOGICAL_DNS'])
  const assignment = message.takeMessage('load_assignment', 'ClusterLoadAssignment')
  if (assignment === undefined) field.error('the cluster of the control plane needs load_assignment')
  const [endpoint] = (assignment?.takeList('endpoints') ?? []).flatMap(
    (locality) => locality.message('LocalityLbEndpoints')?.takeList('lb_endpoints') ?? [],
  )
  const address = endpoint?.message('LbEndpoint')?.takeMessage('endpoint', 'Endpoint')?.take('address')
  if (assignment !== undefined && address === undefined)
    assignment.field.error('the cluster of the control plane needs an endpoint with an address')
  const text = address && readAddress(address)
  const host = text && hostOf(text)
  const socket = message.takeMessage('transport_socket', 'TransportSocket')
  const tls = socket && decodeTls(socket)
  if (host === undefined) return undefined
  const target =
    host.kind === 'ip'
      ? { host: host.address.ip.text, port: host.address.port }
      : { host: host.hostname, port: host.port }
  return { ...target, ...(tls !== undefined && { tls }) }
}

function takeAds(message: MessageReader, name: 'lds_config' | 'cds_config'): boolean {
  const source = message.takeMessage(name, 'ConfigSource')
  if (source === undefined) return false
  const ads = source.take('ads')
  if (ads === undefined)
    source.field.error(`${name} needs ads: {}; resources come from ads_config, or stand in static_resources`)
  source.finish({
    ignored: ['initial_fetch_timeout', 'resource_api_version', 'authorities'],
    unsupported: {
      path: 'a file of resources is for endpoints only; write ads, or static_resources',
      path_config_source: 'a file of resources is for endpoints only; write ads, or static_resources',
      api_config_source: 'write it as ads_config, and ads: {} here',
      self: 'write ads: {}',
    },
  })
  return ads !== undefined
}

function decodeApiConfigSource(
  message: MessageReader,
): Omit<AdsConfig, 'hasListeners' | 'hasClusters'> | undefined {
  const typePlace = message.require('api_type')
  const type = typePlace?.oneOf(API_TYPES)
  const [service, second] = message.takeList('grpc_services')
  if (service === undefined) message.field.error('ads_config needs grpc_services')
  second?.error('one control plane is used at a time; leave one grpc_service')
  const grpc = service?.message('GrpcService')
  const metadata = (grpc?.takeList('initial_metadata') ?? []).flatMap((item) => readHeader(item) ?? [])
  const envoyGrpc = grpc?.takeMessage('envoy_grpc', 'EnvoyGrpc')
  const clusterPlace = envoyGrpc?.require('cluster_name')
  envoyGrpc?.finish({
    ignored: ['authority', 'retry_policy', 'max_receive_message_length', 'skip_envoy_headers'],
  })
  if (grpc !== undefined && envoyGrpc === undefined && !grpc.has('google_grpc'))
    grpc.field.error(`GrpcService needs envoy_grpc: ${ENVOY_GRPC_REMEDY}`)
  grpc?.finish({ ignored: ['timeout', 'retry_policy'], unsupported: { google_grpc: ENVOY_GRPC_REMEDY } })
  message.finish({
    ignored: [
      'transport_api_version',
      'set_node_on_first_message_only',
      'rate_limit_settings',
      'request_timeout',
      'refresh_delay',
      'config_validators',
    ],
    unsupported: { cluster_names: `it is for REST; ${ENVOY_GRPC_REMEDY}` },
  })
  const clusterName = clusterPlace?.string()
  if (type === 'REST' || type === 'UNSUPPORTED_REST_LEGACY' || type === 'UNUSED')
    return typePlace?.error(`${type} is not supported; write GRPC or DELTA_GRPC`)
  if (type === undefined || clusterName === undefined || clusterPlace === undefined) return undefined
  return {
    protocol: type === 'DELTA_GRPC' || type === 'AGGREGATED_DELTA_GRPC' ? 'delta' : 'sotw',
    clusterName,
    clusterPlace,
    metadata: Object.fromEntries(metadata),
  }
}

function readHeader(field: Field): readonly (readonly [string, string])[] | undefined {
  const message = field.message('HeaderValue')
  const key = message?.require('key')?.string()
  const value = message?.take('value')?.string() ?? ''
  message?.finish({ unsupported: { raw_value: 'write it as value' } })
  return key === undefined ? undefined : [[key.toLowerCase(), value]]
}

function decodeTls(socket: MessageReader): ControlPlaneCluster['tls'] {
  socket.take('name')
  const typed = readTypedConfig(socket)
  if (typed === undefined) return undefined
  if (typed.typeName !== UPSTREAM_TLS) {
    return socket.field.error(
      `transport socket ${typed.typeName} is not supported for a control plane; write an UpstreamTlsContext, or leave it out for plain text`,
    )
  }
  const common = typed.config.takeMessage('common_tls_context', 'CommonTlsContext')
  if (common?.has('tls_certificates') === true || common?.has('tls_certificate_sds_secret_configs') === true)
    common.field.error(
      'client certificates are not supported for the control plane; the agent shows a token (AUTH_TOKEN)',
    )
  const validation = common?.takeMessage('validation_context', 'CertificateValidationContext')
  const trusted = validation?.takeMessage('trusted_ca', 'DataSource')
  const path = trusted?.take('filename')?.string()
  const pem = trusted?.take('inline_string')?.string()
  return {
    serverName: typed.config.take('sni')?.string() ?? '',
    ...(path !== undefined && { rootCertificate: { kind: 'file', path } }),
    ...(path === undefined && pem !== undefined && { rootCertificate: { kind: 'inline', pem } }),
  }
}
