import t from 'tap'

import { packetMarkOf, unmetDemands } from '../../src/agent/engine-demands.ts'
import { readSettings } from '../../src/agent/settings/settings.ts'

import type { Settings } from '../../src/agent/settings/settings.ts'
import type { TransportCapabilities } from '../../src/proxy/transport.ts'

const YES = { isAvailable: true } as const
const NO = { isAvailable: false, reason: 'not here' } as const
const ALL: TransportCapabilities = {
  originalDestination: YES,
  transparentSource: YES,
  packetMark: YES,
  socketOptions: YES,
  userTimeout: YES,
  splice: YES,
  networkNamespaces: YES,
}
const NONE: TransportCapabilities = {
  originalDestination: NO,
  transparentSource: NO,
  packetMark: NO,
  socketOptions: NO,
  userTimeout: NO,
  splice: NO,
  networkNamespaces: NO,
}

function settingsOf(env: Readonly<Record<string, string>>): Settings {
  const read = readSettings({ env: { LOCAL_XDS: '{}', ...env } })
  if (!read.ok) throw new Error(read.problems.map(({ message }) => message).join('; '))
  return read.value
}

t.test('what the engine cannot do is refused by the variable that asks for it', async (t) => {
  const asking = settingsOf({ USER_TIMEOUT_ENABLED: 'true', PACKET_MARK: '1337', ENABLE_ORIG_SRC: 'true' })
  t.strictSame(unmetDemands(asking, NONE), [
    'invalid env var USER_TIMEOUT_ENABLED=true (not here; remove it or write false)',
    'invalid env var PACKET_MARK=1337 (not here; grant it, or write 0)',
    'invalid env var ENABLE_ORIG_SRC=true (not here; grant it, or remove the variable)',
  ])
  t.strictSame(unmetDemands(asking, ALL), [])
  t.strictSame(unmetDemands(settingsOf({}), NONE), [], 'who asks for nothing is refused nothing')
  t.strictSame(unmetDemands(settingsOf({ PACKET_MARK: '0', ENABLE_ORIG_SRC: 'false' }), NONE), [])
})

t.test(
  "packets carry the mark that is set, ztunnel's in the ambient dialect, none where none may be",
  async (t) => {
    t.equal(packetMarkOf(settingsOf({}), 'ambient', ALL), 1_337)
    t.equal(packetMarkOf(settingsOf({}), 'ambient', NONE), undefined)
    t.equal(packetMarkOf(settingsOf({}), 'envoy', ALL), undefined)
    t.equal(packetMarkOf(settingsOf({ PACKET_MARK: '7' }), 'envoy', ALL), 7)
    t.equal(packetMarkOf(settingsOf({ PACKET_MARK: '0' }), 'ambient', ALL), undefined)
  },
)

t.test('pods are captured only where the agent may enter namespaces and mark packets', async (t) => {
  const asking = settingsOf({ INPOD_ENABLED: 'true' })
  const refusal = (reason: string): string =>
    `invalid env var INPOD_ENABLED=true (${reason}; grant it, or write false)`
  t.strictSame(unmetDemands(asking, ALL), [])
  t.strictSame(unmetDemands(asking, NONE), [refusal('not here')])
  t.strictSame(
    unmetDemands(asking, { ...ALL, networkNamespaces: { isAvailable: false, reason: 'setns: EPERM' } }),
    [refusal('setns: EPERM')],
  )
  t.strictSame(
    unmetDemands(asking, { ...ALL, packetMark: { isAvailable: false, reason: 'SO_MARK: EPERM' } }),
    [refusal('SO_MARK: EPERM')],
  )
  t.strictSame(unmetDemands(settingsOf({ INPOD_ENABLED: 'false' }), NONE), [])
})
