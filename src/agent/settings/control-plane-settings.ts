/**
 * Where the control plane is and how the agent proves who it is: ztunnel's variables, turned into a target, a root, a
 * token and headers. Reads no file: what a file holds is read at each connection, because it is rotated.
 */
import type { ProxyConfig } from './proxy-config.ts'
import type { SettingsReader } from './settings-reader.ts'

/** Who signs the certificate of the control plane. */
export type RootCertificate =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'system' }
  | { readonly kind: 'inline'; readonly pem: string }

/** What the agent shows as `authorization: Bearer …`. */
export type BearerToken =
  /** `isOptional`: where there is no such file, no token is shown. */
  | { readonly kind: 'file'; readonly path: string; readonly isOptional: boolean }
  | { readonly kind: 'literal'; readonly token: string }

/** What the agent shows to any control plane, that of a bootstrap too. */
export interface ControlPlaneCredentials {
  readonly token: BearerToken
  /** Of XDS_HEADER_*, names in lower case. */
  readonly headers: Readonly<Record<string, string>>
}

/** A control plane to take the configuration from. */
export interface ControlPlane {
  readonly host: string
  readonly port: number
  /** False: plain text, for an `http://` address. */
  readonly isTls: boolean
  readonly rootCertificate: RootCertificate
  /** A name that the certificate may have instead of the host's. */
  readonly alternativeHostname?: string
  /** True: addresses are asked for when a connection needs them, instead of all being kept. */
  readonly isOnDemand: boolean
}

/** The address of istiod in a cluster, where nothing else is said. */
const CLUSTER_DEFAULT = 'https://istiod.istio-system.svc:15012'
const DEFAULT_TOKEN_PATH = './var/run/secrets/tokens/istio-token'
const HEADER_PREFIX = 'XDS_HEADER_'
const DEFAULT_PORTS = { 'https:': 443, 'http:': 80 } as const

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The control plane that the settings ask for, `undefined` where they ask for none: XDS_ADDRESS is empty, or nothing is
 * said and this is no pod. What is wrong is reported to `reader`.
 */
export function readControlPlane(
  reader: SettingsReader,
  env: Environment,
  { discoveryAddress }: ProxyConfig,
): ControlPlane | undefined {
  const isInCluster = (env['KUBERNETES_SERVICE_HOST'] ?? '') !== ''
  const text = reader.isSet('XDS_ADDRESS')
    ? reader.text('XDS_ADDRESS')
    : (discoveryAddress ?? (isInCluster ? CLUSTER_DEFAULT : ''))
  if (text === '') return undefined
  const target = parseTarget(text)
  if (target === undefined) {
    const remedy = 'write https://HOST:PORT, HOST:PORT for the same, or http://HOST:PORT for plain text'
    if (reader.isSet('XDS_ADDRESS')) reader.refuse('XDS_ADDRESS', remedy)
    else reader.report('XDS_ADDRESS', `invalid discoveryAddress ${text} of the proxy config (${remedy})`)
    return undefined
  }
  const alternativeHostname = reader.text('ALT_XDS_HOSTNAME')
  return {
    ...target,
    rootCertificate: rootCertificateOf(reader.text('XDS_ROOT_CA')),
    ...(alternativeHostname !== '' && { alternativeHostname }),
    isOnDemand: reader.boolean('XDS_ON_DEMAND'),
  }
}

/** What the agent shows, whoever names the control plane. */
export function readCredentialSettings(reader: SettingsReader, env: Environment): ControlPlaneCredentials {
  return { token: readToken(reader), headers: readHeaders(reader, env) }
}

/** As ztunnel: an address without a scheme is one of TLS. */
function parseTarget(text: string): Pick<ControlPlane, 'host' | 'port' | 'isTls'> | undefined {
  const hasScheme = /^[a-z]+:\/\//i.test(text)
  const url = URL.canParse(hasScheme ? text : `https://${text}`)
    ? new URL(hasScheme ? text : `https://${text}`)
    : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) return undefined
  if (url.hostname === '' || url.pathname.length > 1 || url.search !== '') return undefined
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? DEFAULT_PORTS[url.protocol] : Number(url.port),
    isTls: url.protocol === 'https:',
  }
}

function rootCertificateOf(text: string): RootCertificate {
  if (text === 'SYSTEM') return { kind: 'system' }
  return text.includes('-----BEGIN') ? { kind: 'inline', pem: text } : { kind: 'file', path: text }
}

/** A path is what looks like one; anything else is the token itself. */
function readToken(reader: SettingsReader): BearerToken {
  const text = reader.text('AUTH_TOKEN')
  if (text === '') return { kind: 'file', path: DEFAULT_TOKEN_PATH, isOptional: true }
  // A JSON web token has no slash.
  return text.includes('/')
    ? { kind: 'file', path: text, isOptional: false }
    : { kind: 'literal', token: text.trim() }
}

function readHeaders(reader: SettingsReader, env: Environment): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(HEADER_PREFIX) || value === undefined) continue
    const header = name.slice(HEADER_PREFIX.length).toLowerCase()
    // What gRPC allows in the name of a header: https://grpc.io/docs/guides/metadata/
    if (/^[a-z0-9_.-]+$/.test(header)) headers[header] = value
    else reader.report('XDS_ADDRESS', `invalid env var ${name} (${header} is no name of a gRPC header)`)
  }
  return headers
}
