/** What a start takes from an Envoy bootstrap beside the settings, and what is refused of it. */
import t from 'tap'

import { loadConfiguration } from '../../src/agent/configuration.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'
import { writeFile } from '../fixtures/envoy-files.ts'

import type { Test } from 'tap'

const IPV6_NODE = "node: { id: n, cluster: c, metadata: { INSTANCE_IPS: 'fd00::1' } }"

function load(t: Test, lines: readonly string[], env: Readonly<Record<string, string>>) {
  const file = writeFile(t.testdir(), 'envoy.yaml', `${lines.join('\n')}\n`)
  const base = { TWINSTACK_CONFIG: file, TWINSTACK_ENGINE: 'node', TWINSTACK_LOG_LEVEL: 'error' }
  return loadConfiguration({ clock: new FakeClock() }, { env: { ...base, ...env } })
}

function admin(port: number): string {
  return `admin: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } }`
}

t.test('a bootstrap says what the environment leaves open: the admin port and own addresses', async (t) => {
  const env = { ISTIO_DUAL_STACK: 'false' }
  const open = await load(t, [IPV6_NODE, admin(15_005)], { ...env, TWINSTACK_ADMIN_PORT: '' })
  if (!open.ok) throw new Error(open.errors.join('\n'))
  const { ports, families, node } = open.value.settings
  t.match({ ports, families, node }, { ports: { admin: 15_005 }, families: ['ipv6'] })
  t.strictSame(
    node.instanceIps.map(({ text }) => text),
    ['fd00::1'],
  )
  const given = { ...env, TWINSTACK_ADMIN_PORT: '15004', INSTANCE_IPS: '10.0.0.1' }
  const closed = await load(t, [IPV6_NODE, admin(15_005)], given)
  if (!closed.ok) throw new Error(closed.errors.join('\n'))
  t.match(closed.value.settings, { ports: { admin: 15_004 }, families: ['ipv4'] })
})

t.test("a bootstrap's admin port that is the agent's already is refused", async (t) => {
  const result = await load(t, [IPV6_NODE, admin(15_021)], { ISTIO_DUAL_STACK: 'false' })
  t.match(result, {
    ok: false,
    errors: [
      /envoy\.yaml: with INSTANCE_IPS fd00::1 of the node and admin port 15021: TWINSTACK_READINESS_PORT is 15021, which is the admin port already; write another one$/,
    ],
  })
})

t.test('own addresses of a bootstrap whose family is switched off are refused', async (t) => {
  const result = await load(t, [IPV6_NODE], { ISTIO_DUAL_STACK: 'false', IPV6_ENABLED: 'false' })
  t.match(result, {
    ok: false,
    errors: [
      /envoy\.yaml: with INSTANCE_IPS fd00::1 of the node: invalid env var IPV6_ENABLED=false \(the only family .* is IPv6; set one of the two otherwise\)$/,
    ],
  })
})
