import t from 'tap'

import { decodeBootstrap } from '../../../src/xds-client/resources/bootstrap.ts'
import { bootstrap, cluster, lbEndpoint, loadAssignment, problemsOf } from './envoy-documents.ts'

import type { BootstrapControlPlane } from '../../../src/xds-client/resources/bootstrap.ts'
import type { Message } from './envoy-documents.ts'

const ADS: Message = { ads: {} }
const ADS_CONFIG: Message = {
  api_type: 'GRPC',
  transport_api_version: 'V3',
  set_node_on_first_message_only: true,
  grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
}
const DYNAMIC: Message = { ads_config: ADS_CONFIG, lds_config: ADS, cds_config: ADS }
const XDS_CLUSTER: Message = {
  name: 'xds-grpc',
  type: 'STRICT_DNS',
  connect_timeout: '1s',
  typed_extension_protocol_options: { http: { '@type': 'type.googleapis.com/x.HttpProtocolOptions' } },
  load_assignment: loadAssignment([lbEndpoint('istiod.istio-system.svc', 15_010)]),
}

/** A bootstrap whose resources come from a control plane. */
function dynamic(dynamicResources: Message = DYNAMIC, xdsCluster: Message = XDS_CLUSTER): Message {
  return bootstrap({ clusters: [cluster(), xdsCluster] }, { dynamic_resources: dynamicResources })
}

function controlPlaneOf(document: Message): BootstrapControlPlane | undefined {
  const decoded = decodeBootstrap(document)
  if (decoded.bootstrap === undefined) throw new Error(problemsOf(decoded.report).join('\n'))
  return decoded.bootstrap.controlPlane
}

const errorsOf = (document: Message): readonly string[] => problemsOf(decodeBootstrap(document).report)

t.test('finds the control plane through the cluster that ads_config names', async (t) => {
  t.strictSame(controlPlaneOf(dynamic()), {
    protocol: 'sotw',
    metadata: {},
    hasListeners: true,
    hasClusters: true,
    cluster: { host: 'istiod.istio-system.svc', port: 15_010 },
  })
  const { bootstrap: decoded } = decodeBootstrap(dynamic())
  t.strictSame(
    decoded?.clusters.map(({ name }) => name),
    ['web'],
    'it is no cluster of the mesh',
  )
  t.equal(controlPlaneOf(bootstrap()), undefined)
})

t.test('reads the protocol, the headers and what comes from there', async (t) => {
  const grpc = { envoy_grpc: { cluster_name: 'xds-grpc' }, initial_metadata: [{ key: 'X-A', value: 'b' }] }
  const ads = { ...ADS_CONFIG, api_type: 'DELTA_GRPC', grpc_services: [grpc] }
  t.match(controlPlaneOf(dynamic({ ads_config: ads, cds_config: ADS })), {
    protocol: 'delta',
    metadata: { 'x-a': 'b' },
    hasListeners: false,
    hasClusters: true,
  })
})

t.test('reads TLS to the control plane: name and root', async (t) => {
  const tls = (config: Message): Message => ({
    ...XDS_CLUSTER,
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
        ...config,
      },
    },
  })
  const withRoot = (trusted_ca: Message): Message => ({ validation_context: { trusted_ca } })
  t.strictSame(
    controlPlaneOf(
      dynamic(DYNAMIC, tls({ sni: 'istiod', common_tls_context: withRoot({ filename: '/ca.pem' }) })),
    )?.cluster.tls,
    { serverName: 'istiod', rootCertificate: { kind: 'file', path: '/ca.pem' } },
  )
  t.strictSame(
    controlPlaneOf(dynamic(DYNAMIC, tls({ common_tls_context: withRoot({ inline_string: 'PEM' }) })))?.cluster
      .tls,
    { serverName: '', rootCertificate: { kind: 'inline', pem: 'PEM' } },
  )
  t.match(errorsOf(dynamic(DYNAMIC, tls({ common_tls_context: { tls_certificates: [{}] } }))), [
    /client certificates are not supported/,
  ])
})

t.test('listeners of the file may name clusters that are to come', async (t) => {
  const document = (dynamicResources: Message) =>
    bootstrap({ clusters: [XDS_CLUSTER] }, { dynamic_resources: dynamicResources })
  t.strictSame(errorsOf(document(DYNAMIC)), [])
  t.match(errorsOf(document({ ads_config: ADS_CONFIG, lds_config: ADS })), [/there is no cluster 'web'/])
})

t.test('says what is wrong with the way to a control plane', async (t) => {
  const place = 'error dynamic_resources'
  for (const [document, expected] of [
    [dynamic({ lds_config: ADS }), [`${place}: DynamicResources needs ads_config`]],
    [
      dynamic({ ...DYNAMIC, ads_config: { ...ADS_CONFIG, grpc_services: [] } }),
      [`${place}.ads_config: ads_config needs grpc_services`],
    ],
    [
      dynamic({ ...DYNAMIC, ads_config: { ...ADS_CONFIG, api_type: 'REST' } }),
      [`${place}.ads_config.api_type: REST is not supported; write GRPC or DELTA_GRPC`],
    ],
    [
      dynamic({
        ...DYNAMIC,
        ads_config: { ...ADS_CONFIG, grpc_services: [{ google_grpc: { target_uri: 'a:1' } }] },
      }),
      [
        `${place}.ads_config.grpc_services[0].google_grpc: GrpcService.google_grpc is not supported: write envoy_grpc with a cluster of static_resources`,
      ],
    ],
    [
      dynamic({ ...DYNAMIC, lds_config: { path_config_source: { path: '/x' } } }),
      [
        `${place}.lds_config: lds_config needs ads: {}; resources come from ads_config, or stand in static_resources`,
        `${place}.lds_config.path_config_source: ConfigSource.path_config_source is not supported: a file of resources is for endpoints only; write ads, or static_resources`,
      ],
    ],
    [
      bootstrap({}, { dynamic_resources: DYNAMIC }),
      [
        `${place}.ads_config.grpc_services[0].envoy_grpc.cluster_name: there is no cluster 'xds-grpc'; define the way to the control plane under static_resources.clusters`,
      ],
    ],
    [
      dynamic(DYNAMIC, { name: 'xds-grpc', type: 'STATIC' }),
      ['error static_resources.clusters[1]: the cluster of the control plane needs load_assignment'],
    ],
  ] as const) {
    t.strictSame(errorsOf(document), expected)
  }
})
