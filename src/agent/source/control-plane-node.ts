/** Who the agent says it is to a control plane: made of its settings, or as an Envoy bootstrap has it. */
import { describeNode } from '../../xds-client/stream/node-identity.ts'

import type { Result } from '../../core/result.ts'
import type { DiscoveryNode, StructValue } from '../../xds-client/stream/node-message.ts'
import type { NodeType } from '../../xds-client/stream/node-identity.ts'
import type { BootstrapNode } from '../../xds-client/resources/bootstrap.ts'
import type { Settings } from '../settings/settings.ts'

type Json = Readonly<Record<string, StructValue>>
type Environment = Readonly<Record<string, string | undefined>>

/** The node of an agent that is configured by its environment; of type `ztunnel` it gets the ambient types. */
export function settingsNode(
  type: NodeType,
  settings: Settings,
  env: Environment,
  version: string,
): Result<DiscoveryNode> {
  const { node, proxyMetadata } = settings
  return describeNode({
    type,
    podName: node.podName,
    namespace: node.podNamespace,
    instanceIps: node.instanceIps,
    nodeName: node.nodeName,
    clusterId: node.clusterId,
    serviceAccount: node.serviceAccount,
    clusterDomain: node.clusterDomain,
    proxyMetadata,
    env,
    version,
  })
}

/** The node of a bootstrap, with the dual-stack flag in force in PROXY_CONFIG.proxyMetadata, where istiod looks for it. */
export function bootstrapNode(node: BootstrapNode, settings: Settings, version: string): DiscoveryNode {
  const given = node.metadata['PROXY_CONFIG']
  const proxyConfig = isJson(given) ? given : {}
  const metadata = isJson(proxyConfig['proxyMetadata']) ? proxyConfig['proxyMetadata'] : {}
  const proxyMetadata: Json = { ...metadata, ...settings.proxyMetadata }
  return {
    id: node.id,
    cluster: node.cluster,
    metadata: {
      ...toStruct(node.metadata),
      ...((Object.keys(proxyMetadata).length > 0 || given !== undefined) && {
        PROXY_CONFIG: { ...proxyConfig, proxyMetadata },
      }),
    },
    userAgent: { name: 'twinstack', version },
  }
}

/** What was read from YAML or JSON is made of these values only. */
function toStruct(value: Readonly<Record<string, unknown>>): Json {
  return value as Json
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
