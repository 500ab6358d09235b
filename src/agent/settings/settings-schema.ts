/**
 * Every setting of the agent in one table: its variable, flag, kind of value, default and meaning. What is read, what
 * `twinstack help settings` prints and docs/CONFIGURATION.md all come from it. ztunnel's variables keep their meaning.
 */
import { FAMILY_POLICIES } from '../../core/family.ts'

/** The part of the agent that a setting belongs to; the tables are grouped by it. */
export const SETTING_GROUPS = [
  'Configuration source',
  'Families',
  'Connections',
  'Pods',
  'Ports',
  'Logs',
  'Identity of the node',
  'Accepted without effect',
] as const

export type SettingGroup = (typeof SETTING_GROUPS)[number]

/** How the text of a setting is read. */
export type SettingKind =
  | { readonly type: 'text'; readonly default: string }
  | { readonly type: 'boolean'; readonly default: boolean }
  | {
      readonly type: 'integer'
      readonly default: number | undefined
      readonly min: number
      readonly max: number
      readonly unit?: string
    }
  /** Read by parseDurationMs. */
  | { readonly type: 'duration'; readonly default: string; readonly minMs?: number }
  | { readonly type: 'choice'; readonly default: string; readonly choices: readonly string[] }
  /** Separated by commas; with `choices` each part must be one of them. */
  | { readonly type: 'list'; readonly default: ''; readonly choices?: readonly string[] }

export type SettingDefinition = SettingKind & {
  /** The environment variable. */
  readonly name: string
  /** The command line flag without dashes; it wins over the variable. */
  readonly flag?: string
  readonly short?: string
  readonly group: SettingGroup
  /** What it does, one line. */
  readonly help: string
  /** Where the default comes from when another setting decides it, for the table. */
  readonly defaultText?: string
}

/** Mark of upstream packets in the ambient dialect: ztunnel's, which Istio's redirection rules let pass. */
export const AMBIENT_MARK = 1_337

/** Where istio-cni makes the kubelet's probes of pods come from, by family. */
export const PROBE_SOURCES = {
  ipv4: '169.254.7.127',
  ipv6: 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff',
} as const

/** What an operator can ask for, see engine.ts. */
export const ENGINE_CHOICES = ['auto', 'node', 'linux'] as const

export type EngineChoice = (typeof ENGINE_CHOICES)[number]

const PORT = { type: 'integer', min: 0, max: 65_535, unit: 'port' } as const
const UNUSED = { group: 'Accepted without effect', type: 'text', default: '' } as const
const TEXT = { type: 'text', default: '' } as const

/** Every setting, in the order in which tables list them. */
export const SETTINGS = [
  {
    ...TEXT,
    name: 'TWINSTACK_CONFIG',
    flag: 'config',
    short: 'c',
    group: 'Configuration source',
    help: 'Envoy bootstrap file (YAML or JSON); watched',
  },
  {
    ...TEXT,
    name: 'LOCAL_XDS_PATH',
    group: 'Configuration source',
    help: "ztunnel's local file with workloads, services and policies; watched; excludes LOCAL_XDS",
  },
  {
    ...TEXT,
    name: 'LOCAL_XDS',
    group: 'Configuration source',
    help: 'The text of such a file itself; excludes LOCAL_XDS_PATH',
  },
  {
    ...TEXT,
    name: 'XDS_ADDRESS',
    defaultText: 'discoveryAddress of PROXY_CONFIG; in a pod https://istiod.istio-system.svc:15012',
    group: 'Configuration source',
    help: 'Control plane of the ambient dialect, https://HOST:PORT (or HOST:PORT), http://HOST:PORT for plain text; empty: none; a file wins',
  },
  {
    type: 'boolean',
    name: 'XDS_ON_DEMAND',
    default: false,
    group: 'Configuration source',
    help: 'true: addresses are asked of the control plane when a connection needs them, instead of all being kept',
  },
  {
    type: 'text',
    name: 'XDS_ROOT_CA',
    default: './var/run/secrets/istio/root-cert.pem',
    group: 'Configuration source',
    help: 'Who signs the certificate of the control plane: a file (read at each connection), the PEM text itself, or SYSTEM',
  },
  {
    ...TEXT,
    name: 'ALT_XDS_HOSTNAME',
    group: 'Configuration source',
    help: 'A name that the certificate of the control plane may have instead of that of XDS_ADDRESS',
  },
  {
    ...TEXT,
    name: 'AUTH_TOKEN',
    defaultText: './var/run/secrets/tokens/istio-token if it exists',
    group: 'Configuration source',
    help: 'Bearer token for the control plane: a path (read at each connection), or the token itself; further headers are set by XDS_HEADER_NAME=value',
  },
  {
    ...TEXT,
    name: 'PROXY_CONFIG',
    group: 'Configuration source',
    help: 'YAML or JSON with discoveryAddress, proxyAdminPort, statsPort, concurrency, proxyMetadata; wins over the mesh file ./etc/istio/config/mesh (defaultConfig)',
  },
  {
    type: 'choice',
    name: 'ISTIO_DUAL_STACK',
    default: '',
    choices: ['', 'true', 'false'],
    defaultText: 'auto',
    group: 'Families',
    help: 'true: as auto, and a missing family is reported; false: only the family of the first INSTANCE_IPS address; read from the environment, then proxyMetadata of PROXY_CONFIG, then that of the mesh file',
  },
  {
    type: 'choice',
    name: 'ISTIO_AGENT_DUAL_STACK',
    default: '',
    choices: ['', 'true', 'false'],
    group: 'Families',
    help: 'The same under its name in Istio 1.17 and 1.18; ISTIO_DUAL_STACK wins',
  },
  {
    type: 'list',
    name: 'TWINSTACK_REQUIRE_FAMILIES',
    default: '',
    choices: ['ipv4', 'ipv6'],
    flag: 'require-families',
    group: 'Families',
    help: 'Families without which the agent is not ready',
  },
  {
    type: 'choice',
    name: 'TWINSTACK_FAMILY_POLICY',
    default: 'native-first',
    choices: FAMILY_POLICIES,
    flag: 'family-policy',
    group: 'Families',
    help: "Order of the upstream families; native is the client's",
  },
  {
    type: 'boolean',
    name: 'IPV6_ENABLED',
    default: true,
    group: 'Families',
    help: 'false: IPv6 is neither bound nor connected to',
  },
  {
    type: 'choice',
    name: 'TWINSTACK_ENGINE',
    default: 'auto',
    choices: ENGINE_CHOICES,
    flag: 'engine',
    group: 'Connections',
    help: 'What carries connections: linux (epoll and splice in worker threads), node (one thread, every platform), or auto: linux where it can run',
  },
  {
    type: 'integer',
    name: 'TWINSTACK_WORKERS',
    default: undefined,
    defaultText:
      'ZTUNNEL_WORKER_THREADS, concurrency of PROXY_CONFIG, a quarter of the processors but 2 at least',
    min: 0,
    max: 253,
    flag: 'workers',
    group: 'Connections',
    help: 'Worker threads of the linux engine; 0: one per processor',
  },
  {
    ...TEXT,
    name: 'ZTUNNEL_WORKER_THREADS',
    group: 'Connections',
    help: 'The same under the name that ztunnel uses; a percentage such as 50% is one of the processors',
  },
  {
    type: 'integer',
    name: 'TWINSTACK_ATTEMPT_DELAY_MS',
    default: 250,
    min: 10,
    max: 2_000,
    unit: 'ms',
    flag: 'attempt-delay-ms',
    group: 'Connections',
    help: 'Time before the next address is tried beside one that is still connecting',
  },
  {
    type: 'duration',
    name: 'TWINSTACK_IDLE_TIMEOUT',
    default: '0s',
    group: 'Connections',
    help: 'A connection on which no byte moved for so long is closed; 0s: never',
  },
  {
    type: 'duration',
    name: 'TWINSTACK_HALF_CLOSED_TIMEOUT',
    default: '5m',
    group: 'Connections',
    help: 'The same after one side has sent FIN; 0s: never',
  },
  {
    type: 'boolean',
    name: 'KEEPALIVE_ENABLED',
    default: true,
    group: 'Connections',
    help: 'TCP keepalive on both sides of a connection',
  },
  {
    type: 'duration',
    name: 'KEEPALIVE_TIME',
    default: '180s',
    minMs: 1_000,
    group: 'Connections',
    help: 'Silence before the first keepalive probe',
  },
  {
    type: 'duration',
    name: 'KEEPALIVE_INTERVAL',
    default: '180s',
    minMs: 1_000,
    group: 'Connections',
    help: 'Time between keepalive probes; the node engine leaves it to the kernel (1 s)',
  },
  {
    type: 'integer',
    name: 'KEEPALIVE_RETRIES',
    default: 9,
    min: 1,
    max: 127,
    group: 'Connections',
    help: 'Unanswered probes that end a connection; the node engine leaves it to the kernel (10)',
  },
  {
    type: 'boolean',
    name: 'USER_TIMEOUT_ENABLED',
    default: false,
    group: 'Connections',
    help: 'A connection whose data stays unacknowledged for as long as keepalive would take ends (TCP_USER_TIMEOUT); needs the linux engine',
  },
  {
    type: 'integer',
    name: 'PACKET_MARK',
    default: undefined,
    defaultText: `${AMBIENT_MARK} in the ambient dialect where the agent may set one, else none`,
    min: 0,
    max: 4_294_967_295,
    group: 'Connections',
    help: 'Mark of the packets of upstream connections, so that redirection lets them pass; 0: none; needs the linux engine; with INPOD_ENABLED only 1337, which istio-cni lets pass',
  },
  {
    type: 'boolean',
    name: 'ENABLE_ORIG_SRC',
    default: false,
    defaultText: 'true into captured pods where the agent may, else false',
    group: 'Connections',
    help: "Upstream connections of the ambient dialect are made from the client's address where the families match, with INPOD_ENABLED those into pods; needs the linux engine, and routes that bring the answers back",
  },
  {
    type: 'duration',
    name: 'CONNECTION_TERMINATION_DEADLINE',
    default: '',
    defaultText: 'see next',
    group: 'Connections',
    help: 'Time that connections get after SIGTERM',
  },
  {
    type: 'integer',
    name: 'TERMINATION_GRACE_PERIOD_SECONDS',
    default: undefined,
    defaultText: '5 s deadline',
    min: 0,
    max: 86_400,
    unit: 's',
    group: 'Connections',
    help: 'Where the deadline is not set: 5 s less than this, 1 s less up to 10 s, at least 1 s',
  },
  {
    type: 'list',
    name: 'TWINSTACK_ALLOW_PLAINTEXT',
    default: '',
    flag: 'allow-plaintext',
    group: 'Connections',
    help: 'Destinations that may be reached in plain text although the mesh asks for mTLS: namespaces, namespace/hostname of services, uids of workloads, clusters, or true (or *) for all; for tests and trusted networks',
  },
  {
    type: 'boolean',
    name: 'INPOD_ENABLED',
    default: false,
    group: 'Pods',
    help: 'true: the pods of the node that istio-cni tells of are captured, each in its own network namespace; needs the linux engine and CAP_SYS_ADMIN. false: what is redirected to the agent in its own namespace',
  },
  {
    type: 'text',
    name: 'INPOD_UDS',
    default: '/var/run/ztunnel/ztunnel.sock',
    group: 'Pods',
    help: 'The unix socket on which istio-cni tells of pods',
  },
  {
    type: 'boolean',
    name: 'INPOD_PORT_REUSE',
    default: true,
    group: 'Pods',
    help: 'The agent that takes the place of this one may listen in its pods beside it (SO_REUSEPORT), so that an update loses no connection',
  },
  {
    type: 'text',
    name: 'HOST_PROBE_SNAT_IP',
    default: PROBE_SOURCES.ipv4,
    group: 'Pods',
    help: "Where istio-cni makes the kubelet's probes over IPv4 come from, as it has the variable itself; read by `twinstack rules`, which lets them pass",
  },
  {
    type: 'text',
    name: 'HOST_PROBE_SNAT_IPV6',
    default: PROBE_SOURCES.ipv6,
    group: 'Pods',
    help: 'The same over IPv6',
  },
  {
    ...PORT,
    name: 'TWINSTACK_OUTBOUND_PORT',
    default: 15_001,
    group: 'Ports',
    help: 'Captured connections of local applications; ambient mode; with INPOD_ENABLED only 15001',
  },
  {
    ...PORT,
    name: 'TWINSTACK_INBOUND_PORT',
    default: 15_006,
    group: 'Ports',
    help: 'Captured connections to local applications; ambient mode; with INPOD_ENABLED only 15006',
  },
  {
    ...PORT,
    name: 'TWINSTACK_ADMIN_PORT',
    default: 15_000,
    defaultText: 'proxyAdminPort of PROXY_CONFIG, 15000',
    flag: 'admin-port',
    group: 'Ports',
    help: 'Admin endpoints on the loopback addresses of both families',
  },
  {
    ...PORT,
    name: 'TWINSTACK_METRICS_PORT',
    default: 15_020,
    defaultText: 'statsPort of PROXY_CONFIG, 15020',
    flag: 'metrics-port',
    group: 'Ports',
    help: '/metrics and /stats/prometheus on all addresses of both families',
  },
  {
    ...PORT,
    name: 'TWINSTACK_READINESS_PORT',
    default: 15_021,
    flag: 'readiness-port',
    group: 'Ports',
    help: '/healthz/ready and /readyz on all addresses of both families',
  },
  {
    type: 'choice',
    name: 'TWINSTACK_LOG_LEVEL',
    default: '',
    choices: ['', 'error', 'warn', 'info', 'debug'],
    defaultText: 'RUST_LOG, info',
    flag: 'log-level',
    group: 'Logs',
    help: "Lines below this level are not written to the agent's log (stderr)",
  },
  {
    ...TEXT,
    name: 'RUST_LOG',
    defaultText: 'info',
    group: 'Logs',
    help: 'The same under the name that ztunnel uses; trace means debug; parts with a scope (scope=level) are ignored',
  },
  {
    type: 'choice',
    name: 'LOG_FORMAT',
    default: 'plain',
    choices: ['plain', 'json'],
    flag: 'log-format',
    group: 'Logs',
    help: "Form of the agent's log and of its access log",
  },
  {
    type: 'text',
    name: 'TWINSTACK_ACCESS_LOG',
    default: 'stdout',
    flag: 'access-log',
    group: 'Logs',
    help: 'One line per connection: off, stdout, or a file that is opened again on SIGUSR1',
  },
  {
    type: 'list',
    name: 'INSTANCE_IPS',
    default: '',
    group: 'Identity of the node',
    help: "The agent's own addresses, comma separated; the first decides the family where dual stack is off",
  },
  {
    ...TEXT,
    name: 'INSTANCE_IP',
    group: 'Identity of the node',
    help: 'One own address, used where INSTANCE_IPS is not set',
  },
  {
    ...TEXT,
    name: 'NETWORK',
    group: 'Identity of the node',
    help: 'Network of the node; empty is the default network',
  },
  { ...TEXT, name: 'NODE_NAME', group: 'Identity of the node', help: 'Name of the node' },
  { ...TEXT, name: 'POD_NAME', group: 'Identity of the node', help: "Name of the agent's pod" },
  { ...TEXT, name: 'POD_NAMESPACE', group: 'Identity of the node', help: "Namespace of the agent's pod" },
  { ...TEXT, name: 'SERVICE_ACCOUNT', group: 'Identity of the node', help: 'Service account of the agent' },
  {
    ...TEXT,
    name: 'ISTIO_META_CLUSTER_ID',
    group: 'Identity of the node',
    help: 'Cluster of the node; wins over CLUSTER_ID',
  },
  {
    type: 'text',
    name: 'CLUSTER_ID',
    default: 'Kubernetes',
    group: 'Identity of the node',
    help: 'Cluster of the node',
  },
  {
    type: 'text',
    name: 'CLUSTER_DOMAIN',
    default: 'cluster.local',
    group: 'Identity of the node',
    help: 'Domain of the services of the cluster',
  },
  { ...UNUSED, name: 'CA_ADDRESS', help: 'This build holds no certificates' },
  { ...UNUSED, name: 'CA_ROOT_CA', help: 'This build holds no certificates' },
  { ...UNUSED, name: 'SECRET_TTL', help: 'This build holds no certificates' },
  { ...UNUSED, name: 'CRL_PATH', help: 'This build accepts no certificates' },
  { ...UNUSED, name: 'ZTUNNEL_CPU_LIMIT', help: 'Set TWINSTACK_WORKERS' },
  { ...UNUSED, name: 'ZTUNNEL_RESOURCE_CPU_LIMIT', help: 'Set TWINSTACK_WORKERS' },
  { ...UNUSED, name: 'ZTUNNEL_RESOURCE_CPU_REQUEST', help: 'Set TWINSTACK_WORKERS' },
  { ...UNUSED, name: 'POOL_MAX_STREAMS_PER_CONNECTION', help: 'This build has no HBONE' },
  { ...UNUSED, name: 'POOL_UNUSED_RELEASE_TIMEOUT', help: 'This build has no HBONE' },
] as const satisfies readonly SettingDefinition[]

/** The variable of a setting. */
export type SettingName = (typeof SETTINGS)[number]['name']

/** The variables whose values are read as `Type`. */
export type SettingNameOf<Type extends SettingKind['type']> = Extract<
  (typeof SETTINGS)[number],
  { readonly type: Type }
>['name']

/**
 * ztunnel's variables that ask for something which this build cannot do: ignoring them would do something else than
 * the operator said. The values listed are those that ask for nothing.
 */
export const UNSUPPORTED_VARIABLES: readonly {
  readonly name: string
  readonly harmless: readonly string[]
  readonly why: string
}[] = [
  { name: 'ENABLE_PROXY', harmless: ['true'], why: 'the agent cannot run without its proxy' },
  { name: 'PROXY_MODE', harmless: ['shared'], why: 'only shared mode exists' },
  { name: 'FAKE_CA', harmless: ['false'], why: 'this build holds no certificates' },
  { name: 'UNSTABLE_ENABLE_SOCKS5', harmless: ['false'], why: 'there is no SOCKS5 listener' },
]
