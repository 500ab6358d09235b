import t from 'tap'

import { readSettings } from '../../../src/agent/settings/settings.ts'

import type { SettingsInput } from '../../../src/agent/settings/settings.ts'

function read(env: SettingsInput['env'], rest: Omit<SettingsInput, 'env'> = {}) {
  return readSettings({ env: { LOCAL_XDS: '{}', ...env }, ...rest })
}

function captureOf(env: SettingsInput['env']) {
  const result = read(env)
  if (!result.ok) throw new Error(result.problems.map(({ message }) => message).join('\n'))
  return result.value.podCapture
}

function messagesOf(...input: Parameters<typeof read>): readonly string[] {
  const result = read(...input)
  return result.ok ? [] : result.problems.map(({ message }) => message)
}

t.test("pods are captured where it is asked, at ztunnel's socket", async (t) => {
  t.equal(captureOf({}), undefined)
  t.equal(captureOf({ INPOD_ENABLED: 'false', INPOD_UDS: '/run/x' }), undefined)
  t.strictSame(captureOf({ INPOD_ENABLED: 'true' }), {
    socketPath: '/var/run/ztunnel/ztunnel.sock',
    reusePort: true,
  })
  t.strictSame(captureOf({ INPOD_ENABLED: 'true', INPOD_UDS: '/run/x', INPOD_PORT_REUSE: 'false' }), {
    socketPath: '/run/x',
    reusePort: false,
  })
})

t.test('a value that is none is refused by its variable', async (t) => {
  for (const name of ['INPOD_ENABLED', 'INPOD_PORT_REUSE']) {
    const [message, ...more] = messagesOf({ [name]: 'perhaps' })
    t.match(message, new RegExp(`^invalid env var ${name}=perhaps `))
    t.strictSame(more, [])
  }
})

t.test("capture with another mark than that of istio-cni's rules is refused", async (t) => {
  // 1338 is right in some bits, 0x10000 + 7 beyond the twelve that are looked at.
  for (const mark of ['0', '7', '1338', '65543']) {
    t.match(
      messagesOf({ INPOD_ENABLED: 'true', PACKET_MARK: mark }),
      [/^invalid env var PACKET_MARK=\d+ .*write 1337\)$/],
      mark,
    )
    t.strictSame(messagesOf({ PACKET_MARK: mark }), [])
  }
  for (const mark of ['1337', String(0xffff_f539)])
    t.strictSame(messagesOf({ INPOD_ENABLED: 'true', PACKET_MARK: mark }), [])
})

t.test('capture on other ports than those that istio-cni redirects to is refused', async (t) => {
  const ports = { TWINSTACK_OUTBOUND_PORT: '16001', TWINSTACK_INBOUND_PORT: '0' }
  t.strictSame(messagesOf({ INPOD_ENABLED: 'true', ...ports }), [
    'invalid env var TWINSTACK_OUTBOUND_PORT=16001 (istio-cni redirects to 15001 in every pod; remove it)',
    'invalid env var TWINSTACK_INBOUND_PORT=0 (istio-cni redirects to 15006 in every pod; remove it)',
  ])
  t.strictSame(messagesOf(ports), [])
})

t.test('capture with an Envoy bootstrap is refused: it says nothing of pods', async (t) => {
  const result = readSettings({ env: { INPOD_ENABLED: 'true' }, flags: { config: '/etc/envoy.yaml' } })
  t.notOk(result.ok)
  if (!result.ok)
    t.match(
      result.problems.map(({ message }) => message),
      [/INPOD_ENABLED.*start without -c, or write false/],
    )
})
