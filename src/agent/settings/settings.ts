/**
 * Turns environment, flags and the mesh file into one frozen Settings, or into every problem that they have. What exists
 * is the table in settings-schema.ts; beside this `twinstack rules` reads variables of it.
 */
import { AddressError, parseIp } from '../../core/address.ts'
import { FAMILY_POLICIES } from '../../core/family.ts'
import { resolveDualStack } from './dual-stack.ts'
import { readControlPlane, readCredentialSettings } from './control-plane-settings.ts'
import { readPodCapture } from './pod-settings.ts'
import { mergeProxyConfig, readMeshFile, readProxyConfig } from './proxy-config.ts'
import { SettingsReader } from './settings-reader.ts'
import { ENGINE_CHOICES, SETTINGS, UNSUPPORTED_VARIABLES } from './settings-schema.ts'
import { parseWorkerCount, workersOf } from './worker-count.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Family, FamilyPolicy } from '../../core/family.ts'
import type { LogLevel } from '../../core/logger.ts'
import type { Result } from '../../core/result.ts'
import type { Keepalive } from '../../mesh/upstream.ts'
import type { ControlPlane, ControlPlaneCredentials } from './control-plane-settings.ts'
import type { DualStack } from './dual-stack.ts'
import type { PodCapture } from './pod-settings.ts'
import type { ProxyConfig } from './proxy-config.ts'
import type { EngineChoice } from './settings-schema.ts'
import type { WorkerCount } from './worker-count.ts'

/** Where the mesh's configuration comes from. */
export type MeshSource =
  | { readonly kind: 'bootstrap'; readonly path: string }
  | { readonly kind: 'ambient-file'; readonly path: string }
  | { readonly kind: 'ambient-text'; readonly text: string }
  | { readonly kind: 'control-plane'; readonly controlPlane: ControlPlane }
  | { readonly kind: 'none' }

/** Where one line per connection goes. */
export type AccessLogTarget =
  { readonly kind: 'off' | 'stdout' } | { readonly kind: 'file'; readonly path: string }

/** Who and where the agent is; a part that is not known is empty. */
export interface NodeIdentity {
  readonly nodeName: string
  readonly podName: string
  readonly podNamespace: string
  readonly serviceAccount: string
  readonly network: string
  readonly clusterId: string
  readonly clusterDomain: string
  readonly instanceIps: readonly IpAddress[]
}

/** Everything that an operator can set, checked. */
export interface Settings {
  readonly source: MeshSource
  readonly credentials: ControlPlaneCredentials
  readonly dualStack: DualStack
  /** The families that may be used: those of the dual-stack flag without those that are switched off. */
  readonly families: readonly Family[]
  readonly requiredFamilies: readonly Family[]
  readonly familyPolicy: FamilyPolicy
  readonly engine: EngineChoice
  /** Absent: the default of countWorkers. */
  readonly workers?: WorkerCount
  readonly attemptDelayMs: number
  /** 0: no limit. */
  readonly idleTimeoutMs: number
  /** 0: no limit. */
  readonly halfClosedTimeoutMs: number
  /** Empty: keepalive is off. */
  readonly keepalive: Keepalive
  /** Absent: not set. 0: no mark. */
  readonly packetMark?: number
  /** Upstream connections of the ambient dialect are made from the client's address; absent: not set. */
  readonly preservesSource?: boolean
  /** Absent: what is redirected to the agent in its own network namespace is served. */
  readonly podCapture?: PodCapture
  /** How long connections may go on after the drain has begun. */
  readonly drainDeadlineMs: number
  readonly allowPlaintext: readonly string[]
  readonly ports: Readonly<Record<'outbound' | 'inbound' | 'admin' | 'metrics' | 'readiness', number>>
  readonly logLevel: LogLevel
  readonly logFormat: 'plain' | 'json'
  readonly accessLog: AccessLogTarget
  readonly node: NodeIdentity
  /** proxyMetadata of mesh file, PROXY_CONFIG and ISTIO_META_*, with the dual-stack flag if one was given. */
  readonly proxyMetadata: Readonly<Record<string, string>>
  /** What the operator should know although the agent starts. */
  readonly warnings: readonly string[]
}

/** What settings are read from. */
export interface SettingsInput {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Values by flag name, without dashes. */
  readonly flags?: Readonly<Record<string, string | boolean | undefined>>
  /** The text of the mesh file; absent when there is none. */
  readonly meshFile?: string
}

export interface ReadSettingsOptions {
  /** False for what runs without a mesh of its own, such as the demo; true without it. */
  readonly needsSource?: boolean
}

const DEFAULT_DRAIN_MS = 5_000
const METADATA_PREFIX = 'ISTIO_META_'

/** Reads all settings. Every problem names its variable, what that holds and what it may be. */
export function readSettings(input: SettingsInput, options: ReadSettingsOptions = {}): Result<Settings> {
  const reader = new SettingsReader(input.env, input.flags ?? {})
  const own = readOwnProxyConfig(reader)
  const mesh = readResult(reader, readMeshFile('the mesh file', input.meshFile ?? ''))
  const proxyConfig = mergeProxyConfig(mesh, own)
  const instanceIps = readInstanceIps(reader)
  const dualStack = reader.take(
    resolveDualStack({
      env: input.env,
      proxyMetadata: own.proxyMetadata,
      meshMetadata: mesh.proxyMetadata,
      instanceIps,
    }),
  )
  const families = (dualStack?.families ?? []).filter(
    (family) => reader.boolean('IPV6_ENABLED') || family !== 'ipv6',
  )
  const requiredFamilies = readRequiredFamilies(reader, dualStack, families)
  refuseUnsupported(reader, input.env)
  const packetMark = reader.integer('PACKET_MARK')
  const source = readSource(reader, input.env, proxyConfig, options.needsSource ?? true)
  const ports = readPorts(reader, proxyConfig)
  const podCapture = readPodCapture(reader, {
    isBootstrap: source.kind === 'bootstrap',
    packetMark,
    ports,
  })
  const settings: Omit<Settings, 'dualStack'> = {
    source,
    credentials: readCredentialSettings(reader, input.env),
    families,
    requiredFamilies,
    familyPolicy: reader.choice('TWINSTACK_FAMILY_POLICY', FAMILY_POLICIES) ?? 'native-first',
    engine: reader.choice('TWINSTACK_ENGINE', ENGINE_CHOICES) ?? 'auto',
    ...readWorkers(reader, proxyConfig),
    attemptDelayMs: reader.integer('TWINSTACK_ATTEMPT_DELAY_MS') ?? 250,
    idleTimeoutMs: reader.durationMs('TWINSTACK_IDLE_TIMEOUT') ?? 0,
    halfClosedTimeoutMs: reader.durationMs('TWINSTACK_HALF_CLOSED_TIMEOUT') ?? 0,
    keepalive: readKeepalive(reader),
    ...(packetMark !== undefined && { packetMark }),
    ...((input.env['ENABLE_ORIG_SRC'] ?? '') !== '' && {
      preservesSource: reader.boolean('ENABLE_ORIG_SRC'),
    }),
    ...(podCapture !== undefined && { podCapture }),
    drainDeadlineMs: readDrainDeadlineMs(reader),
    allowPlaintext: readAllowPlaintext(reader),
    ports,
    logLevel: readLogLevel(reader),
    logFormat: reader.choice('LOG_FORMAT', ['plain', 'json']) ?? 'plain',
    accessLog: readAccessLog(reader.text('TWINSTACK_ACCESS_LOG')),
    node: {
      nodeName: reader.text('NODE_NAME'),
      podName: reader.text('POD_NAME'),
      podNamespace: reader.text('POD_NAMESPACE'),
      serviceAccount: reader.text('SERVICE_ACCOUNT'),
      network: reader.text('NETWORK'),
      clusterId: reader.text('ISTIO_META_CLUSTER_ID') || reader.text('CLUSTER_ID'),
      clusterDomain: reader.text('CLUSTER_DOMAIN'),
      instanceIps,
    },
    proxyMetadata: {
      ...proxyConfig.proxyMetadata,
      ...metadataOf(input.env),
      ...(dualStack && dualStack.mode !== 'auto' && { ISTIO_DUAL_STACK: String(dualStack.mode === 'on') }),
    },
    warnings: unknownVariables(input.env),
  }
  return dualStack === undefined || reader.problems.length > 0
    ? { ok: false, problems: reader.problems }
    : { ok: true, value: Object.freeze({ ...settings, dualStack }) }
}

/** The time that connections get after SIGTERM for a pod that is killed after `graceSeconds` (ztunnel's rule). */
export function drainDeadlineMs(graceSeconds: number): number {
  return Math.max(1, graceSeconds > 10 ? graceSeconds - 5 : graceSeconds - 1) * 1_000
}

function readOwnProxyConfig(reader: SettingsReader): ProxyConfig {
  return readResult(reader, readProxyConfig('env var PROXY_CONFIG', reader.text('PROXY_CONFIG')))
}

function readResult(reader: SettingsReader, result: Result<ProxyConfig>): ProxyConfig {
  return reader.take(result) ?? { proxyMetadata: {} }
}

function readInstanceIps(reader: SettingsReader): readonly IpAddress[] {
  const name = reader.isSet('INSTANCE_IPS') ? 'INSTANCE_IPS' : 'INSTANCE_IP'
  const texts =
    name === 'INSTANCE_IPS' ? reader.list(name) : [reader.text(name)].filter((text) => text !== '')
  return texts.flatMap((text) => {
    try {
      return [parseIp(text)]
    } catch (error) {
      if (!(error instanceof AddressError)) throw error
      reader.refuse(name, error.message)
      return []
    }
  })
}

function readRequiredFamilies(
  reader: SettingsReader,
  dualStack: DualStack | undefined,
  families: readonly Family[],
): readonly Family[] {
  const required = reader
    .list('TWINSTACK_REQUIRE_FAMILIES')
    .flatMap((text): readonly Family[] => (text === 'ipv4' || text === 'ipv6' ? [text] : []))
  if (dualStack === undefined) return required
  if (families.length === 0) {
    reader.refuse(
      'IPV6_ENABLED',
      `the only family that ${dualStack.source} leaves is IPv6; set one of the two otherwise`,
    )
  }
  for (const family of required) {
    if (!families.includes(family)) {
      reader.refuse('TWINSTACK_REQUIRE_FAMILIES', `${family} is switched off by another setting`)
    }
  }
  return required
}

function refuseUnsupported(reader: SettingsReader, env: SettingsInput['env']): void {
  for (const { name, harmless, why } of UNSUPPORTED_VARIABLES) {
    const value = env[name]
    if (value === undefined || value === '' || harmless.includes(value)) continue
    reader.report(
      name,
      `invalid env var ${name}=${value} (${why}; remove it or write ${harmless.join(' or ')})`,
    )
  }
}

function readSource(
  reader: SettingsReader,
  env: SettingsInput['env'],
  proxyConfig: ProxyConfig,
  needsSource: boolean,
): MeshSource {
  const bootstrap = reader.text('TWINSTACK_CONFIG')
  const path = reader.text('LOCAL_XDS_PATH')
  const text = reader.text('LOCAL_XDS')
  const files: MeshSource[] = []
  if (bootstrap !== '') files.push({ kind: 'bootstrap', path: bootstrap })
  if (path !== '') files.push({ kind: 'ambient-file', path })
  if (text !== '') files.push({ kind: 'ambient-text', text })
  const [file, second] = files
  if (second !== undefined) {
    reader.report(
      'LOCAL_XDS_PATH',
      'of -c (TWINSTACK_CONFIG), LOCAL_XDS_PATH and LOCAL_XDS only one may be set',
    )
  }
  if (file !== undefined || !needsSource) return file ?? { kind: 'none' }
  const before = reader.problems.length
  const controlPlane = readControlPlane(reader, env, proxyConfig)
  if (controlPlane !== undefined) return { kind: 'control-plane', controlPlane }
  if (reader.problems.length === before) {
    reader.report(
      'XDS_ADDRESS',
      'nothing says where the configuration comes from (set XDS_ADDRESS, LOCAL_XDS_PATH or LOCAL_XDS, or start with -c FILE)',
    )
  }
  return { kind: 'none' }
}

/** The first of the agent's own variable, ztunnel's, and the proxy config's. */
function readWorkers(
  reader: SettingsReader,
  { concurrency }: ProxyConfig,
): { readonly workers?: WorkerCount } {
  const own = reader.integer('TWINSTACK_WORKERS')
  if (own !== undefined) return { workers: workersOf(own) }
  const text = reader.text('ZTUNNEL_WORKER_THREADS')
  if (text === '') return concurrency === undefined ? {} : { workers: workersOf(concurrency) }
  const workers = parseWorkerCount(text)
  if (workers !== undefined) return { workers }
  reader.refuse('ZTUNNEL_WORKER_THREADS', 'write a whole number, or a percentage such as 50%')
  return {}
}

/** `true` is what people write for all of them, and `false` for none. */
function readAllowPlaintext(reader: SettingsReader): readonly string[] {
  return reader
    .list('TWINSTACK_ALLOW_PLAINTEXT')
    .filter((name) => name !== 'false')
    .map((name) => (name === 'true' ? '*' : name))
}

function readKeepalive(reader: SettingsReader): Keepalive {
  const idleMs = reader.durationMs('KEEPALIVE_TIME')
  const intervalMs = reader.durationMs('KEEPALIVE_INTERVAL')
  const probes = reader.integer('KEEPALIVE_RETRIES')
  const hasUserTimeout = reader.boolean('USER_TIMEOUT_ENABLED')
  if (!reader.boolean('KEEPALIVE_ENABLED')) return {}
  return {
    ...(idleMs !== undefined && { idleMs }),
    ...(intervalMs !== undefined && { intervalMs }),
    ...(probes !== undefined && { probes }),
    // As ztunnel: data waits for its acknowledgement no longer than silence is borne.
    ...(hasUserTimeout && { userTimeoutMs: (idleMs ?? 0) + (intervalMs ?? 0) * (probes ?? 0) }),
  }
}

function readDrainDeadlineMs(reader: SettingsReader): number {
  const graceSeconds = reader.integer('TERMINATION_GRACE_PERIOD_SECONDS')
  return (
    reader.durationMs('CONNECTION_TERMINATION_DEADLINE') ??
    (graceSeconds === undefined ? DEFAULT_DRAIN_MS : drainDeadlineMs(graceSeconds))
  )
}

function readPorts(reader: SettingsReader, proxyConfig: ProxyConfig): Settings['ports'] {
  const ports = {
    outbound: reader.port('TWINSTACK_OUTBOUND_PORT'),
    inbound: reader.port('TWINSTACK_INBOUND_PORT'),
    admin: reader.port('TWINSTACK_ADMIN_PORT', proxyConfig.proxyAdminPort),
    metrics: reader.port('TWINSTACK_METRICS_PORT', proxyConfig.statsPort),
    readiness: reader.port('TWINSTACK_READINESS_PORT'),
  }
  const owners = new Map<number, string>()
  for (const [owner, port] of Object.entries(ports)) {
    const other = owners.get(port)
    // 0 asks the kernel, which gives each a port of its own.
    if (other !== undefined && port !== 0) {
      const name = `TWINSTACK_${owner.toUpperCase()}_PORT`
      reader.report(name, `${name} is ${port}, which is the ${other} port already; write another one`)
    }
    owners.set(port, owner)
  }
  return ports
}

function readLogLevel(reader: SettingsReader): LogLevel {
  const own = reader.choice('TWINSTACK_LOG_LEVEL', ['', 'error', 'warn', 'info', 'debug'])
  if (own !== undefined && own !== '') return own
  const bare = reader
    .text('RUST_LOG')
    .split(',')
    .map((part) => part.trim().toLowerCase())
    .findLast((part) => part !== '' && !part.includes('=') && !part.includes('::'))
  const level = bare === undefined ? 'info' : logLevelOf(bare)
  if (level === undefined) reader.refuse('RUST_LOG', 'write error, warn, info or debug')
  return level ?? 'info'
}

/** The log level of a name, with ztunnel's `trace` as debug; `undefined` for what is no level. */
export function logLevelOf(name: string): LogLevel | undefined {
  switch (name.toLowerCase()) {
    case 'error':
      return 'error'
    case 'warn':
    case 'warning':
      return 'warn'
    case 'info':
      return 'info'
    case 'debug':
    case 'trace':
      return 'debug'
    default:
      return undefined
  }
}

function readAccessLog(text: string): AccessLogTarget {
  if (text === 'off' || text === 'stdout') return { kind: text }
  return text === '/dev/stdout' ? { kind: 'stdout' } : { kind: 'file', path: text }
}

function metadataOf(env: SettingsInput['env']): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith(METADATA_PREFIX) && value !== undefined && value !== '')
      metadata[name.slice(METADATA_PREFIX.length)] = value
  }
  return metadata
}

function unknownVariables(env: SettingsInput['env']): readonly string[] {
  const known = new Set<string>(SETTINGS.map(({ name }) => name))
  return Object.keys(env)
    .filter((name) => name.startsWith('TWINSTACK_') && !known.has(name))
    .sort()
    .map((name) => `unknown env var ${name} is ignored; see twinstack help settings`)
}
