import t from 'tap'

import { ambientDialect, envoyDialect } from '../../../src/agent/source/control-plane-dialect.ts'
import { COMPLETION_TIMEOUT_MS, ControlPlaneFeed } from '../../../src/agent/source/control-plane-feed.ts'
import { systemRandom } from '../../../src/core/random.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { eventually } from '../../fixtures/eventually.ts'
import { SCHEMA } from '../../fixtures/envoy-wire.ts'
import { FakeAdsTransport } from '../../fixtures/fake-ads-transport.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { recordedResources } from '../../fixtures/recorded-xds.ts'

import type { Test } from 'tap'
import type { ControlPlaneDialect } from '../../../src/agent/source/control-plane-dialect.ts'
import type { TransportCapabilities } from '../../../src/proxy/transport.ts'
import type { XdsMode } from '../../../src/xds-client/stream/discovery-messages.ts'

const LOGGER = { isEnabled: () => true, log: () => undefined }
const ADDRESSES = recordedResources('wds-dual-stack.delta', 'Address')

const LISTENER = {
  name: 'outbound',
  addresses: [],
  capture: 'redirect',
  direction: 'outbound',
  bindToPort: true,
  filterChains: [],
  accessLogs: [],
} as const
const AVAILABLE = { isAvailable: true } as const
const CAPABILITIES: TransportCapabilities = {
  originalDestination: AVAILABLE,
  transparentSource: AVAILABLE,
  packetMark: AVAILABLE,
  socketOptions: AVAILABLE,
  userTimeout: AVAILABLE,
  splice: AVAILABLE,
  networkNamespaces: AVAILABLE,
}

function startFeed(t: Test, { isOnDemand = false } = {}) {
  return start(t, 'delta', ambientDialect({ isOnDemand, network: '', isPlaintextPermitted: false }))
}

function startSidecarFeed(t: Test) {
  const staticNames = { clusters: new Set<string>(), listeners: new Set<string>() }
  const options = { schema: SCHEMA, capabilities: CAPABILITIES, hasClusters: true, hasListeners: true }
  return start(t, 'sotw', envoyDialect({ ...options, staticNames }))
}

function start(t: Test, mode: XdsMode, dialect: ControlPlaneDialect) {
  const transport = new FakeAdsTransport()
  const clock = new FakeClock()
  const store = new MeshStore()
  const feed = new ControlPlaneFeed(
    { transport, clock, store, logger: LOGGER, random: systemRandom },
    { mode, node: { id: 'n', metadata: {} }, dialect },
  )
  let hasState = false
  void feed.firstState.then(() => (hasState = true))
  t.teardown(() => feed.close())
  feed.start()
  return { transport, clock, store, feed, hasState: () => hasState }
}

const seriesOf = (feed: ControlPlaneFeed, type: string, result: string): number | undefined =>
  [...feed.read().messages].find((each) => each.type === type && each.result === result)?.count

t.test('has its first state when every type has been answered, well or badly', async (t) => {
  const { transport, store, feed, hasState } = startFeed(t)
  t.equal(feed.read().isConnected, false)
  transport.last.respond({ typeUrl: TYPE_URLS.address, nonce: '1', version: 'v1', resources: ADDRESSES })
  await eventually('addresses are in force', () => store.snapshot.workload.size > 0)
  await eventually('they are acknowledged', () => seriesOf(feed, 'istio.workload.Address', 'accepted') === 1)
  t.equal(hasState(), false, 'without policies nothing can be judged')
  const damaged = { name: 'default/deny', value: Buffer.from([0xff]) }
  transport.last.respond({ typeUrl: TYPE_URLS.authorization, nonce: '2', resources: [damaged] })
  await eventually('the state is there', hasState)
  t.equal(seriesOf(feed, 'istio.security.Authorization', 'rejected'), 1)
  t.match(transport.last.requests.at(-1), { nonce: '2', error: { message: /default\/deny/ } })
  t.match(feed.stream.status.types[1], { lastNack: { text: /default\/deny/ } })
})

t.test('keeps the last state when the stream ends, and counts why it was opened anew', async (t) => {
  const { transport, clock, store, feed, hasState } = startFeed(t)
  transport.last.respond({ typeUrl: TYPE_URLS.address, nonce: '1', resources: ADDRESSES })
  transport.last.respond({ typeUrl: TYPE_URLS.authorization, nonce: '2' })
  await eventually('the state is there', hasState)
  const { size } = store.snapshot.workload
  t.ok(size > 0)
  t.equal(feed.read().isConnected, true)
  transport.last.end()
  t.equal(feed.read().isConnected, false)
  t.equal(store.snapshot.workload.size, size)
  t.strictSame([...feed.read().reconnects], [{ reason: 'ended', count: 1 }])
  clock.advance(30_000)
  t.equal(transport.streams.length, 2)
  const [first] = transport.last.requests
  t.equal(Object.keys(first?.initialVersions ?? {}).length, ADDRESSES.length, 'it says what it has')
})

t.test('asks for addresses on demand, and lets a connection wait for the answer', async (t) => {
  const { transport, store, feed } = startFeed(t, { isOnDemand: true })
  t.match(transport.last.requests[0], { subscribe: ['*'], unsubscribe: ['*'] })
  transport.last.respond({ typeUrl: TYPE_URLS.address, nonce: '1' })
  transport.last.respond({ typeUrl: TYPE_URLS.authorization, nonce: '2' })
  const pod = ADDRESSES.find(({ name }) => name === 'Kubernetes//Pod/dual-stack/tcp-echo-0')
  if (pod === undefined || feed.discovery === undefined) throw new Error('nothing to ask for')
  await feed.firstState
  const { parseIp } = await import('../../../src/core/address.ts')
  let isKnown = false
  feed.discovery.whenKnown(
    {
      listener: LISTENER,
      client: { ip: parseIp('10.244.2.2'), port: 40_000 },
      destination: { ip: parseIp('10.244.2.2'), port: 9_000 },
    },
    () => (isKnown = true),
  )
  t.equal(isKnown, false)
  t.match(transport.last.requests.at(-1), { subscribe: ['/10.244.2.2'] })
  t.match(feed.read().onDemand, { pending: 1 })
  transport.last.respond({
    typeUrl: TYPE_URLS.address,
    nonce: '3',
    resources: [{ ...pod, aliases: ['/10.244.2.2', '/fd00:10:244:2::2'] }],
  })
  await eventually('the connection goes on', () => isKnown)
  t.equal(store.snapshot.workload.size, 1)
})

/** Answers for a type with everything that was recorded of it, and waits until that is acknowledged. */
async function answerRecorded(
  { transport, feed }: ReturnType<typeof startSidecarFeed>,
  typeUrl: string,
): Promise<void> {
  const type = typeUrl.replace('type.googleapis.com/', '')
  const resources = recordedResources('sidecar-sleep-dual-stack.sotw', type.slice(type.lastIndexOf('.') + 1))
  transport.last.respond({ typeUrl, nonce: typeUrl, version: 'v1', resources })
  await eventually(`${type} is acknowledged`, () => seriesOf(feed, type, 'accepted') === 1)
}

t.test('a sidecar has its first state when what its clusters and listeners need is there too', async (t) => {
  const lab = startSidecarFeed(t)
  for (const typeUrl of [TYPE_URLS.cluster, TYPE_URLS.listener, TYPE_URLS.assignment]) {
    await answerRecorded(lab, typeUrl)
    t.equal(lab.hasState(), false, typeUrl)
  }
  await answerRecorded(lab, TYPE_URLS.nameTable)
  await eventually('the state is there', lab.hasState)
  t.equal(lab.clock.pendingTimers, 0)
  const counts = [...lab.feed.read().resources].filter(({ type }) => type === 'name')
  t.strictSame(counts, [{ type: 'name', count: 6 }], 'counted once, from the mesh')
})

t.test(
  'a control plane that does not send what it has announced delays the first state, no more',
  async (t) => {
    const lab = startSidecarFeed(t)
    for (const typeUrl of [TYPE_URLS.cluster, TYPE_URLS.listener]) await answerRecorded(lab, typeUrl)
    lab.clock.advance(COMPLETION_TIMEOUT_MS - 1)
    await Promise.resolve()
    t.equal(lab.hasState(), false)
    lab.clock.advance(1)
    await eventually('the state is there', lab.hasState)
  },
)

t.test('waits for nothing any more once it is closed', async (t) => {
  const lab = startSidecarFeed(t)
  for (const typeUrl of [TYPE_URLS.cluster, TYPE_URLS.listener]) await answerRecorded(lab, typeUrl)
  t.ok(lab.clock.pendingTimers > 0)
  await lab.feed.close()
  t.equal(lab.clock.pendingTimers, 0)
})
