import t from 'tap'

import { readSettings } from '../../../src/agent/settings/settings.ts'

import type {
  ControlPlane,
  ControlPlaneCredentials,
} from '../../../src/agent/settings/control-plane-settings.ts'
import type { SettingsInput } from '../../../src/agent/settings/settings.ts'

type Environment = SettingsInput['env']

function controlPlaneOf(env: Environment): ControlPlane {
  const result = readSettings({ env })
  if (!result.ok) throw new Error(result.problems.map(({ message }) => message).join('\n'))
  const { source } = result.value
  if (source.kind !== 'control-plane') throw new Error(`the source is ${source.kind}`)
  return source.controlPlane
}

/** The address as people write it: `https://istiod.istio-system.svc:15012`. */
function formatTarget({ host, port, isTls }: ControlPlane): string {
  return `${isTls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

function credentialsOf(env: Environment): ControlPlaneCredentials {
  const result = readSettings({ env: { XDS_ADDRESS: 'a:1', ...env } })
  if (!result.ok) throw new Error(result.problems.map(({ message }) => message).join('\n'))
  return result.value.credentials
}

function messagesOf(env: Environment): readonly string[] {
  const result = readSettings({ env })
  return result.ok ? [] : result.problems.map(({ message }) => message)
}

t.test('reads the address as ztunnel does: TLS unless it says http', async (t) => {
  for (const [text, expected] of [
    ['istiod.istio-system.svc:15012', 'https://istiod.istio-system.svc:15012'],
    ['https://istiod:15012', 'https://istiod:15012'],
    ['http://127.0.0.1:15010', 'http://127.0.0.1:15010'],
    ['http://[::1]:15010', 'http://[::1]:15010'],
    ['[fd00::1]:15012', 'https://[fd00::1]:15012'],
    ['https://istiod', 'https://istiod:443'],
    ['https://istiod:15012/', 'https://istiod:15012'],
  ] as const) {
    t.equal(formatTarget(controlPlaneOf({ XDS_ADDRESS: text })), expected, text)
  }
})

t.test('finds the address in the proxy config, and in a pod at the default of the mesh', async (t) => {
  const PROXY_CONFIG = 'discoveryAddress: istiod.other:15012'
  t.equal(formatTarget(controlPlaneOf({ PROXY_CONFIG })), 'https://istiod.other:15012')
  t.equal(formatTarget(controlPlaneOf({ PROXY_CONFIG, XDS_ADDRESS: 'a:1' })), 'https://a:1')
  const KUBERNETES_SERVICE_HOST = '10.96.0.1'
  t.equal(formatTarget(controlPlaneOf({ KUBERNETES_SERVICE_HOST })), 'https://istiod.istio-system.svc:15012')
  t.match(
    messagesOf({ KUBERNETES_SERVICE_HOST, XDS_ADDRESS: '' }),
    [/^nothing says where/],
    'an empty address asks for none',
  )
})

t.test('refuses what is no address, and says what to write', async (t) => {
  const remedy = 'write https://HOST:PORT, HOST:PORT for the same, or http://HOST:PORT for plain text'
  for (const text of [
    'ftp://istiod:1',
    'http://',
    'istiod:15012/path',
    'istiod:port',
    'unix:///run/x.sock',
  ]) {
    t.strictSame(messagesOf({ XDS_ADDRESS: text }), [`invalid env var XDS_ADDRESS=${text} (${remedy})`], text)
  }
  t.strictSame(messagesOf({ PROXY_CONFIG: 'discoveryAddress: "a b"' }), [
    `invalid discoveryAddress a b of the proxy config (${remedy})`,
  ])
})

t.test('takes the root from a file, from the text itself, or from the system', async (t) => {
  const rootOf = (env: Environment) => controlPlaneOf({ XDS_ADDRESS: 'a:1', ...env }).rootCertificate
  t.strictSame(rootOf({}), { kind: 'file', path: './var/run/secrets/istio/root-cert.pem' })
  t.strictSame(rootOf({ XDS_ROOT_CA: '/etc/ca.pem' }), { kind: 'file', path: '/etc/ca.pem' })
  t.strictSame(rootOf({ XDS_ROOT_CA: 'SYSTEM' }), { kind: 'system' })
  const pem = '-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n'
  t.strictSame(rootOf({ XDS_ROOT_CA: pem }), { kind: 'inline', pem })
})

t.test('shows a token from a file or from the text itself', async (t) => {
  const tokenOf = (env: Environment) => credentialsOf(env).token
  t.strictSame(tokenOf({}), {
    kind: 'file',
    path: './var/run/secrets/tokens/istio-token',
    isOptional: true,
  })
  t.strictSame(tokenOf({ AUTH_TOKEN: '/t' }), { kind: 'file', path: '/t', isOptional: false })
  t.strictSame(tokenOf({ AUTH_TOKEN: 'eyJh.eyJz.c2ln' }), { kind: 'literal', token: 'eyJh.eyJz.c2ln' })
})

t.test('sends the headers of XDS_HEADER_*', async (t) => {
  const env = { XDS_ADDRESS: 'a:1', XDS_HEADER_X_Tenant: 'blue', XDS_HEADER_B: '', ALT_XDS_HOSTNAME: 'alt' }
  const { alternativeHostname, isOnDemand } = controlPlaneOf(env)
  t.strictSame(credentialsOf(env).headers, { x_tenant: 'blue', b: '' })
  t.equal(alternativeHostname, 'alt')
  t.equal(isOnDemand, false)
  t.equal(controlPlaneOf({ ...env, XDS_ON_DEMAND: 'true' }).isOnDemand, true)
  t.strictSame(messagesOf({ XDS_ADDRESS: 'a:1', 'XDS_HEADER_a b': 'x' }), [
    'invalid env var XDS_HEADER_a b (a b is no name of a gRPC header)',
  ])
})

t.test('permits plain text to all with true, to none with false', async (t) => {
  const permitted = (text: string): unknown => {
    const result = readSettings({ env: { XDS_ADDRESS: 'a:1', TWINSTACK_ALLOW_PLAINTEXT: text } })
    return result.ok && result.value.allowPlaintext
  }
  t.strictSame(permitted('true'), ['*'])
  t.strictSame(permitted('false'), [])
  t.strictSame(permitted('default,ns/svc'), ['default', 'ns/svc'])
})
