import fc from 'fast-check'
import t from 'tap'

import { parseDurationMs } from '../../../src/agent/settings/duration.ts'
import { drainDeadlineMs, readSettings } from '../../../src/agent/settings/settings.ts'
import { SETTINGS } from '../../../src/agent/settings/settings-schema.ts'
import { renderSettingsHelp, settingFlags } from '../../../src/agent/settings/settings-table.ts'
import { countWorkers } from '../../../src/agent/settings/worker-count.ts'

import type { Settings, SettingsInput } from '../../../src/agent/settings/settings.ts'

const SOURCE = { LOCAL_XDS_PATH: '/etc/mesh.yaml' }

function settingsOf(env: SettingsInput['env'], rest: Omit<SettingsInput, 'env'> = {}): Settings {
  const result = readSettings({ env: { ...SOURCE, ...env }, ...rest })
  if (!result.ok) throw new Error(result.problems.map(({ message }) => message).join('\n'))
  return result.value
}

function messagesOf(env: SettingsInput['env'], rest: Omit<SettingsInput, 'env'> = {}): readonly string[] {
  const result = readSettings({ env: { ...SOURCE, ...env }, ...rest })
  return result.ok ? [] : result.problems.map(({ message }) => message)
}

t.test('has the documented defaults when nothing is set', async (t) => {
  const settings = settingsOf({})
  t.ok(Object.isFrozen(settings))
  t.match(settings, {
    source: { kind: 'ambient-file', path: '/etc/mesh.yaml' },
    dualStack: { mode: 'auto' },
    families: ['ipv4', 'ipv6'],
    requiredFamilies: [],
    familyPolicy: 'native-first',
    engine: 'auto',
    attemptDelayMs: 250,
    idleTimeoutMs: 0,
    halfClosedTimeoutMs: 300_000,
    keepalive: { idleMs: 180_000, intervalMs: 180_000, probes: 9 },
    drainDeadlineMs: 5_000,
    ports: { outbound: 15_001, inbound: 15_006, admin: 15_000, metrics: 15_020, readiness: 15_021 },
    logLevel: 'info',
    logFormat: 'plain',
    accessLog: { kind: 'stdout' },
    node: { clusterId: 'Kubernetes', clusterDomain: 'cluster.local', instanceIps: [] },
    warnings: [],
  })
})

t.test('reads every value that it is given', async (t) => {
  const settings = settingsOf({
    TWINSTACK_FAMILY_POLICY: 'ipv6-first',
    TWINSTACK_ATTEMPT_DELAY_MS: '10',
    TWINSTACK_REQUIRE_FAMILIES: 'ipv4, ipv6',
    TWINSTACK_ALLOW_PLAINTEXT: 'default/web, legacy',
    TWINSTACK_ENGINE: 'node',
    TWINSTACK_IDLE_TIMEOUT: '1h',
    TWINSTACK_HALF_CLOSED_TIMEOUT: '0s',
    TWINSTACK_LOG_LEVEL: 'warn',
    RUST_LOG: 'debug',
    LOG_FORMAT: 'json',
    TWINSTACK_ACCESS_LOG: '/var/log/access.log',
    KEEPALIVE_TIME: '30',
    ISTIO_META_CLUSTER_ID: 'east',
    CLUSTER_ID: 'west',
    INSTANCE_IPS: 'fd00:0::1,10.0.0.1',
    TWINSTACK_OUTBOUND_PORT: '0',
    TWINSTACK_INBOUND_PORT: '0',
  })
  t.match(settings, {
    familyPolicy: 'ipv6-first',
    attemptDelayMs: 10,
    requiredFamilies: ['ipv4', 'ipv6'],
    allowPlaintext: ['default/web', 'legacy'],
    engine: 'node',
    idleTimeoutMs: 3_600_000,
    halfClosedTimeoutMs: 0,
    logLevel: 'warn',
    logFormat: 'json',
    accessLog: { kind: 'file', path: '/var/log/access.log' },
    keepalive: { idleMs: 30_000 },
    node: { clusterId: 'east', instanceIps: [{ text: 'fd00::1' }, { text: '10.0.0.1' }] },
    proxyMetadata: { CLUSTER_ID: 'east' },
    ports: { outbound: 0, inbound: 0 },
  })
})

const REFUSED = [
  {
    name: 'TWINSTACK_FAMILY_POLICY',
    value: 'v4',
    why: 'write native-first, native-only, ipv4-first or ipv6-first',
  },
  { name: 'TWINSTACK_ATTEMPT_DELAY_MS', value: '9', why: 'write a whole number from 10 to 2000' },
  { name: 'TWINSTACK_ATTEMPT_DELAY_MS', value: '2001', why: 'write a whole number from 10 to 2000' },
  { name: 'TWINSTACK_ATTEMPT_DELAY_MS', value: '1e2', why: 'write a whole number from 10 to 2000' },
  { name: 'TWINSTACK_REQUIRE_FAMILIES', value: 'ipv5', why: 'write a list of ipv4 or ipv6' },
  { name: 'TWINSTACK_ENGINE', value: 'epoll', why: 'write auto, node or linux' },
  { name: 'TWINSTACK_WORKERS', value: '254', why: 'write a whole number from 0 to 253' },
  {
    name: 'ZTUNNEL_WORKER_THREADS',
    value: 'half',
    why: 'write a whole number, or a percentage such as 50%',
  },
  {
    name: 'ZTUNNEL_WORKER_THREADS',
    value: '101%',
    why: 'write a whole number, or a percentage such as 50%',
  },
  { name: 'TWINSTACK_IDLE_TIMEOUT', value: 'soon', why: 'write a duration such as 250ms, 10s or 5m' },
  { name: 'KEEPALIVE_TIME', value: '10ms', why: 'write 1000ms or more' },
  { name: 'KEEPALIVE_ENABLED', value: 'yes', why: 'write true or false' },
  { name: 'IPV6_ENABLED', value: '1', why: 'write true or false' },
  { name: 'TWINSTACK_ADMIN_PORT', value: '65536', why: 'write a whole number from 0 to 65535' },
  { name: 'RUST_LOG', value: 'loud', why: 'write error, warn, info or debug' },
  { name: 'INSTANCE_IPS', value: '10.0.0.1,x', why: "'x' is not an IP address" },
  { name: 'PACKET_MARK', value: '0x539', why: 'write a whole number from 0 to 4294967295' },
  { name: 'ISTIO_DUAL_STACK', value: 'yes', why: 'write true or false' },
]
for (const { name, value, why } of REFUSED) {
  t.test(`refuses ${name}=${value}`, async (t) => {
    t.strictSame(messagesOf({ [name]: value }), [`invalid env var ${name}=${value} (${why})`])
  })
}

t.test('reports all problems at once, each once', async (t) => {
  const messages = messagesOf({
    TWINSTACK_ATTEMPT_DELAY_MS: 'x',
    KEEPALIVE_TIME: 'y',
    ISTIO_DUAL_STACK: 'z',
    PROXY_CONFIG: '{statsPort: none}',
  })
  t.equal(messages.length, 4, messages.join('\n'))
  t.match(messages.join('\n'), /env var PROXY_CONFIG: statsPort is "none"; write a whole number/)
})

t.test('prefers a flag to its variable and names the flag that is wrong', async (t) => {
  const flags = { 'attempt-delay-ms': '30' }
  t.equal(settingsOf({ TWINSTACK_ATTEMPT_DELAY_MS: '40' }, { flags }).attemptDelayMs, 30)
  t.strictSame(messagesOf({}, { flags: { 'admin-port': 'x' } }), [
    'invalid flag --admin-port=x (write a whole number from 0 to 65535)',
  ])
})

t.test('treats an empty variable as one that is not set', async (t) => {
  const env = Object.fromEntries(
    SETTINGS.filter(({ name }) => name !== 'LOCAL_XDS_PATH').map(({ name }) => [name, '']),
  )
  t.strictSame(settingsOf(env), settingsOf({}))
})

t.test('takes ports from PROXY_CONFIG, then from the mesh file, where no variable is set', async (t) => {
  const meshFile = 'defaultConfig: {proxyAdminPort: 1, statsPort: 2, proxyMetadata: {A: mesh, B: mesh}}'
  const env = { PROXY_CONFIG: 'statsPort: 3\nproxyMetadata: {B: own}' }
  const settings = settingsOf(env, { meshFile })
  t.match(settings, { ports: { admin: 1, metrics: 3 }, proxyMetadata: { A: 'mesh', B: 'own' } })
  t.equal(settingsOf({ ...env, TWINSTACK_METRICS_PORT: '4' }, { meshFile }).ports.metrics, 4)
})

t.test('refuses two servers on one port', async (t) => {
  t.strictSame(messagesOf({ TWINSTACK_METRICS_PORT: '15000' }), [
    'TWINSTACK_METRICS_PORT is 15000, which is the admin port already; write another one',
  ])
})

t.test('needs exactly one place that configuration comes from', async (t) => {
  const read = (env: SettingsInput['env'], flags = {}): unknown => {
    const result = readSettings({ env, flags })
    return result.ok ? result.value.source.kind : result.problems.map(({ message }) => message)
  }
  const nothing =
    'nothing says where the configuration comes from (set XDS_ADDRESS, LOCAL_XDS_PATH or LOCAL_XDS, or start with -c FILE)'
  t.strictSame(read({}), [nothing])
  t.strictSame(read({ XDS_ADDRESS: '' }), [nothing])
  t.equal(read({ XDS_ADDRESS: 'istiod:15012' }), 'control-plane')
  t.equal(read({ XDS_ADDRESS: 'istiod:15012', LOCAL_XDS_PATH: 'x' }), 'ambient-file')
  t.equal(read({ XDS_ADDRESS: 'istiod:15012' }, { config: 'x' }), 'bootstrap')
  t.equal(read({ LOCAL_XDS: 'workloads: []' }), 'ambient-text')
  t.match(read({ LOCAL_XDS: 'x', LOCAL_XDS_PATH: 'y' }), [/only one may be set/])
  t.ok(readSettings({ env: {} }, { needsSource: false }).ok)
})

t.test('switches IPv6 off everywhere with IPV6_ENABLED=false', async (t) => {
  t.strictSame(settingsOf({ IPV6_ENABLED: 'false' }).families, ['ipv4'])
  t.match(messagesOf({ IPV6_ENABLED: 'false', TWINSTACK_REQUIRE_FAMILIES: 'ipv6' }), [
    /TWINSTACK_REQUIRE_FAMILIES=ipv6 \(ipv6 is switched off/,
  ])
  t.match(messagesOf({ IPV6_ENABLED: 'false', ISTIO_DUAL_STACK: 'false', INSTANCE_IPS: 'fd00::1' }), [
    /IPV6_ENABLED=false \(the only family/,
  ])
})

t.test('switches keepalive off with KEEPALIVE_ENABLED=false', async (t) => {
  t.strictSame(settingsOf({ KEEPALIVE_ENABLED: 'false' }).keepalive, {})
})

t.test(
  'bounds unacknowledged data by the time that keepalive takes, with USER_TIMEOUT_ENABLED',
  async (t) => {
    const keepalive = { KEEPALIVE_TIME: '10s', KEEPALIVE_INTERVAL: '2s', KEEPALIVE_RETRIES: '3' }
    t.equal(settingsOf({ ...keepalive, USER_TIMEOUT_ENABLED: 'true' }).keepalive.userTimeoutMs, 16_000)
    t.equal(settingsOf(keepalive).keepalive.userTimeoutMs, undefined)
  },
)

t.test('warns of a variable of ours that does not exist', async (t) => {
  t.match(settingsOf({ TWINSTACK_ATTEMPT_DELAY: '3' }).warnings, [/TWINSTACK_ATTEMPT_DELAY is ignored/])
})

t.test("reads the level of RUST_LOG as ztunnel's users write it", async (t) => {
  const levels = { info: 'info', 'warn,ztunnel::proxy=debug': 'warn', trace: 'debug', 'access=debug': 'info' }
  for (const [text, level] of Object.entries(levels))
    t.equal(settingsOf({ RUST_LOG: text }).logLevel, level, text)
})

t.test('rule 13: leaves the connections 5 s less than the grace period, and at least 1 s', async (t) => {
  const table = { 0: 1_000, 1: 1_000, 2: 1_000, 10: 9_000, 11: 6_000, 30: 25_000 }
  for (const [grace, deadlineMs] of Object.entries(table)) {
    t.equal(drainDeadlineMs(Number(grace)), deadlineMs, grace)
    t.equal(settingsOf({ TERMINATION_GRACE_PERIOD_SECONDS: grace }).drainDeadlineMs, deadlineMs)
  }
  const both = { TERMINATION_GRACE_PERIOD_SECONDS: '30', CONNECTION_TERMINATION_DEADLINE: '2s' }
  t.equal(settingsOf(both).drainDeadlineMs, 2_000)
})

t.test('reads durations as duration-str does', async (t) => {
  const table = {
    '5m': 300_000,
    '10s': 10_000,
    '250ms': 250,
    '1h30m': 5_400_000,
    '1m + 5s': 65_000,
    '7': 7_000,
  }
  for (const [text, ms] of Object.entries(table)) t.equal(parseDurationMs(text), ms, text)
  for (const text of ['', 's', '-1s', '1.5s', '5 parsecs', 'm5'])
    t.equal(parseDurationMs(text), undefined, text)
  fc.assert(
    fc.property(fc.nat(), fc.nat(59), (minutes, seconds) => {
      return parseDurationMs(`${minutes}m${seconds}s`) === (minutes * 60 + seconds) * 1_000
    }),
  )
})

t.test('names every setting in the help, and gives every flag to the command line', async (t) => {
  const help = renderSettingsHelp()
  for (const { name } of SETTINGS) t.ok(help.includes(`  ${name}`), name)
  t.match(settingFlags(), { config: { type: 'string', short: 'c' }, 'admin-port': { type: 'string' } })
  t.equal(new Set(SETTINGS.map(({ name }) => name)).size, SETTINGS.length, 'no name twice')
})

t.test('takes the number of workers from the first who says one', async (t) => {
  const proxyConfig = { PROXY_CONFIG: 'concurrency: 3' }
  const ztunnel = { ZTUNNEL_WORKER_THREADS: '50%' }
  const cases = [
    { env: {}, workers: [2, 2, 2, 16] },
    { env: proxyConfig, workers: [3, 3, 3, 3] },
    { env: { PROXY_CONFIG: 'concurrency: 0' }, workers: [1, 2, 6, 64] },
    { env: { ...proxyConfig, ...ztunnel }, workers: [1, 1, 3, 32] },
    { env: { ...proxyConfig, ...ztunnel, TWINSTACK_WORKERS: '7' }, workers: [7, 7, 7, 7] },
    { env: { ...ztunnel, TWINSTACK_WORKERS: '0' }, workers: [1, 2, 6, 64] },
    { env: { PROXY_CONFIG: 'concurrency: 1024' }, workers: [253, 253, 253, 253] },
  ]
  for (const { env, workers } of cases) {
    const settings = settingsOf(env)
    t.strictSame(
      [1, 2, 6, 64].map((processors) => countWorkers(settings.workers, processors)),
      workers,
      JSON.stringify(env),
    )
  }
})
