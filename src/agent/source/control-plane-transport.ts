/** The connection to a control plane, as the environment or an Envoy bootstrap describes it. */
import { existsSync } from 'node:fs'

import type { GrpcTransportOptions } from '../../xds-client/stream/grpc-transport.ts'
import type { ControlPlaneCluster } from '../../xds-client/resources/dynamic-resources.ts'
import type { ControlPlane, RootCertificate } from '../settings/control-plane-settings.ts'
import type { Settings } from '../settings/settings.ts'

/** For the control plane that XDS_ADDRESS names. */
export function transportOfSettings(controlPlane: ControlPlane, settings: Settings): GrpcTransportOptions {
  const { host, port, isTls, rootCertificate, alternativeHostname } = controlPlane
  return {
    ...credentialsOf(settings),
    address: { host, port, isTls },
    root: rootOf(rootCertificate),
    ...(alternativeHostname !== undefined && { alternativeName: alternativeHostname }),
  }
}

/** For the control plane that a bootstrap's `ads_config` names, with the headers of its `initial_metadata`. */
export function transportOfBootstrap(
  { host, port, tls }: ControlPlaneCluster,
  metadata: Readonly<Record<string, string>>,
  settings: Settings,
): GrpcTransportOptions {
  const credentials = credentialsOf(settings)
  return {
    ...credentials,
    headers: { ...credentials.headers, ...metadata },
    address: { host, port, isTls: tls !== undefined },
    root: rootOf(tls?.rootCertificate ?? { kind: 'system' }),
    ...(tls !== undefined && tls.serverName !== '' && { alternativeName: tls.serverName }),
  }
}

function credentialsOf({
  credentials: { token, headers },
  node,
}: Settings): Pick<GrpcTransportOptions, 'token' | 'clusterId' | 'headers'> {
  const common = { clusterId: node.clusterId, headers }
  if (token.kind === 'literal') return { ...common, token: { text: token.token } }
  // As ztunnel, the default file is looked for once, when the agent starts.
  if (token.isOptional && !existsSync(token.path)) return common
  return { ...common, token: { path: token.path } }
}

function rootOf(root: RootCertificate): GrpcTransportOptions['root'] {
  switch (root.kind) {
    case 'system':
      return 'system'
    case 'file':
      return { path: root.path }
    case 'inline':
      return { pem: root.pem }
  }
}
