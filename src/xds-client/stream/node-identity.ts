/**
 * Who the agent is to istiod: node id and metadata, made of plain values. Reads no environment itself.
 *
 * https://github.com/istio/istio/blob/master/pkg/model/proxy.go
 */
import type { IpAddress } from '../../core/address.ts'
import type { Problem, Result } from '../../core/result.ts'
import type { DiscoveryNode, StructValue } from './node-message.ts'

/** `ztunnel` gets the ambient types, `sidecar` Envoy's. */
export type NodeType = 'ztunnel' | 'sidecar'

/** What makes up the identity. */
export interface NodeIdentity {
  readonly type: NodeType
  readonly podName: string
  readonly namespace: string
  /** Of both families, in the order of the pod; the first one is in the id. */
  readonly instanceIps: readonly IpAddress[]
  readonly nodeName: string
  readonly clusterId: string
  readonly serviceAccount: string
  /** Such as `cluster.local`. */
  readonly clusterDomain: string
  /** proxyMetadata of PROXY_CONFIG with the dual-stack flag in force; sent as Istio's agent sends it. */
  readonly proxyMetadata: Readonly<Record<string, string>>
  /** ISTIO_META_* and ISTIO_METAJSON_* are taken from it. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of this program, for the control plane's records. */
  readonly version: string
}

const META_PREFIX = 'ISTIO_META_'
const META_JSON_PREFIX = 'ISTIO_METAJSON_'
/** As ztunnel: istiod refuses a node without an address. */
const NO_INSTANCE_IP = '1.1.1.1'

/** Makes the node that the first request of each stream carries. An ISTIO_METAJSON_* that is no JSON map is a problem. */
export function describeNode(identity: NodeIdentity): Result<DiscoveryNode> {
  const { type, podName, namespace, clusterDomain, proxyMetadata, version } = identity
  const json = jsonMetadata(identity.env)
  if (!json.ok) return json
  const ips = identity.instanceIps.map(({ text }) => text)
  const metadata: Readonly<Record<string, StructValue>> = {
    ...withoutEmpty({
      NAME: podName,
      NAMESPACE: namespace,
      INSTANCE_IPS: ips.join(','),
      NODE_NAME: identity.nodeName,
      SERVICE_ACCOUNT: identity.serviceAccount,
      CLUSTER_ID: identity.clusterId,
    }),
    ...(Object.keys(proxyMetadata).length > 0 && { PROXY_CONFIG: { proxyMetadata } }),
    ...textMetadata(proxyMetadata, identity.env),
    ...json.value,
  }
  const id = [type, ips[0] ?? NO_INSTANCE_IP, `${podName}.${namespace}`, `${namespace}.svc.${clusterDomain}`]
  return { ok: true, value: { id: id.join('~'), metadata, userAgent: { name: 'twinstack', version } } }
}

function withoutEmpty(values: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ''))
}

/** ISTIO_META_X=text becomes X; that of the environment wins over that of proxyMetadata. */
function textMetadata(...sources: readonly NodeIdentity['env'][]): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = {}
  for (const source of sources)
    for (const [name, value] of Object.entries(source))
      if (name.startsWith(META_PREFIX) && value !== undefined && value !== '')
        metadata[name.slice(META_PREFIX.length)] = value
  return metadata
}

/** ISTIO_METAJSON_ANY={"key": value} becomes key: as in Istio, the map itself counts and not the variable's name. */
function jsonMetadata(env: NodeIdentity['env']): Result<Readonly<Record<string, StructValue>>> {
  let metadata: Readonly<Record<string, StructValue>> = {}
  const problems: Problem[] = []
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(META_JSON_PREFIX) || text === undefined || text === '') continue
    const value = parseJson(text)
    if (isStruct(value)) metadata = { ...metadata, ...value }
    else {
      const message = `invalid env var ${name}=${text} (write a JSON map such as {"LABELS": {"app": "x"}})`
      problems.push({ path: [name], severity: 'error', message })
    }
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, value: metadata }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON is as wrong as JSON of another kind.
    return undefined
  }
}

/** What JSON can say, google.protobuf.Struct can say too. */
function isStruct(value: unknown): value is Readonly<Record<string, StructValue>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
