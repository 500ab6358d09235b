import t from 'tap'

import { captureListeners } from '../../src/agent/capture-listeners.ts'
import { readSettings } from '../../src/agent/settings/settings.ts'
import { formatSocketAddress } from '../../src/core/address.ts'

import type { Listener } from '../../src/mesh/listener.ts'
import type { Capability } from '../../src/proxy/transport.ts'

const MAY: Capability = { isAvailable: true }
const MAY_NOT: Capability = { isAvailable: false, reason: 'not here' }

function listenersOf(
  env: Readonly<Record<string, string>>,
  transparentSource: Capability = MAY,
): readonly Listener[] {
  const read = readSettings({ env: { LOCAL_XDS: '{}', ...env } })
  if (!read.ok) throw new Error(read.problems.map(({ message }) => message).join('; '))
  return captureListeners(read.value, { transparentSource })
}

/** `name direction address address`, with what is kept of the source. */
function summary(listeners: readonly Listener[]): readonly string[] {
  return listeners.map(({ name, direction, addresses, preservesSource }) =>
    [
      name,
      direction,
      ...addresses.map(({ address }) => formatSocketAddress(address)),
      ...(preservesSource === true ? ['keeps source'] : []),
    ].join(' '),
  )
}

t.test('rule 1: captures on any address of both families', async (t) => {
  const listeners = listenersOf({})
  t.strictSame(summary(listeners), [
    'outbound outbound 0.0.0.0:15001 [::]:15001',
    'inbound inbound 0.0.0.0:15006 [::]:15006',
  ])
  t.ok(listeners.every(({ bindToPort, capture }) => bindToPort && capture === 'redirect'))
})

t.test('in pods HBONE is listened for too, and nothing in the namespace of the agent', async (t) => {
  const listeners = listenersOf({ INPOD_ENABLED: 'true' })
  t.strictSame(summary(listeners), [
    'outbound outbound 0.0.0.0:15001 [::]:15001',
    'inbound inbound 0.0.0.0:15006 [::]:15006 keeps source',
    'hbone inbound 0.0.0.0:15008 [::]:15008',
  ])
  t.notOk(listeners.some(({ bindToPort }) => bindToPort))
  const [, , hbone] = listeners
  t.match(hbone, { capture: 'none', defaultFilterChain: { refusal: { reason: 'mtls_required' } } })
})

t.test('the ports are those of the settings', async (t) => {
  const env = { TWINSTACK_OUTBOUND_PORT: '1', TWINSTACK_INBOUND_PORT: '2' }
  t.strictSame(
    listenersOf(env).map(({ addresses }) => addresses.map(({ address }) => address.port)),
    [
      [1, 1],
      [2, 2],
    ],
  )
})

t.test('rule 9: the source is kept into pods where the agent may, elsewhere where it is asked', async (t) => {
  const keeping = (env: Readonly<Record<string, string>>, may?: Capability): readonly string[] =>
    listenersOf(env, may).flatMap(({ name, preservesSource }) => (preservesSource === true ? [name] : []))
  const inPods = { INPOD_ENABLED: 'true' }
  t.strictSame(keeping(inPods), ['inbound'])
  t.strictSame(keeping(inPods, MAY_NOT), [])
  t.strictSame(keeping({ ...inPods, ENABLE_ORIG_SRC: 'false' }), [])
  t.strictSame(keeping({ ...inPods, ENABLE_ORIG_SRC: 'true' }), ['inbound'], 'a pod is its own source')
  t.strictSame(keeping({}), [])
  t.strictSame(keeping({ ENABLE_ORIG_SRC: 'true' }), ['outbound', 'inbound'])
})
