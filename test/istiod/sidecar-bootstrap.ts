/** The bootstrap of a sidecar of Istio, with only what an Envoy needs to get everything else over ADS. */
import { address } from '../xds-client/resources/envoy-documents.ts'
import { ADMIN_PORT } from './ambient-state.ts'
import { XDS_PORTS } from './control-plane.ts'
import { ISTIOD } from './mesh-lab.ts'

import type { Message } from '../xds-client/resources/envoy-documents.ts'
import type { Pod } from './cluster.ts'

/** How the resources come: whole lists, or changes. */
export type AdsProtocol = 'GRPC' | 'DELTA_GRPC'

const CLUSTER = 'xds-grpc'
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const FROM_ADS = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' } as const

/** The text of the bootstrap of the sidecar in `pod`; the agent itself tells istiod its dual-stack flag. */
export function sidecarBootstrap(pod: Pod, apiType: AdsProtocol): string {
  return JSON.stringify(
    {
      node: nodeOf(pod),
      admin: { address: address('127.0.0.1', ADMIN_PORT) },
      dynamic_resources: {
        lds_config: FROM_ADS,
        cds_config: FROM_ADS,
        ads_config: {
          api_type: apiType,
          transport_api_version: 'V3',
          set_node_on_first_message_only: true,
          grpc_services: [{ envoy_grpc: { cluster_name: CLUSTER } }],
        },
      },
      static_resources: { clusters: [istiodCluster()] },
    },
    undefined,
    2,
  )
}

function nodeOf({ namespace, name, app, node, addresses }: Pod): Message {
  const instanceIps = Object.values(addresses)
  return {
    id: ['sidecar', instanceIps[0], `${name}.${namespace}`, `${namespace}.svc.cluster.local`].join('~'),
    cluster: `${app}.${namespace}`,
    metadata: {
      NAME: name,
      NAMESPACE: namespace,
      INSTANCE_IPS: instanceIps.join(),
      NODE_NAME: node,
      CLUSTER_ID: 'Kubernetes',
      SERVICE_ACCOUNT: app,
      LABELS: { app },
    },
  }
}

/** istiod as one endpoint with its addresses of both families. */
function istiodCluster(): Message {
  const port = XDS_PORTS.plaintext
  const endpoint = {
    address: address(ISTIOD.ipv4, port),
    additional_addresses: [{ address: address(ISTIOD.ipv6, port) }],
  }
  return {
    name: CLUSTER,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: { cluster_name: CLUSTER, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
  }
}
