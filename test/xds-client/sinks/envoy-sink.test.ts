/** What responses of the Envoy dialect make of the mesh, and in which order. */
import assert from 'node:assert/strict'

import fc from 'fast-check'
import t from 'tap'

import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { INITIAL_FETCH_TIMEOUT_MS, ORDER_TIMEOUT_MS } from '../../../src/xds-client/sinks/envoy-resources.ts'
import { startEnvoySink } from '../../fixtures/envoy-updates.ts'
import { update, wholeState } from '../../fixtures/updates.ts'
import { staticCluster } from '../../mesh/envoy-fixtures.ts'

import type { MeshStore } from '../../../src/mesh/store.ts'
import type { EnvoySink } from '../../../src/xds-client/sinks/envoy-sink.ts'
import type { AssignmentText, ClusterText, ListenerText } from '../../fixtures/envoy-updates.ts'

const { cluster: CDS, assignment: EDS, listener: LDS, nameTable: NDS } = TYPE_URLS
const WEB: ClusterText = { name: 'web', eds: 'web' }
const DB: ClusterText = { name: 'db' }
const WEB_ENDPOINTS: AssignmentText = { name: 'web', endpoints: ['10.1.0.1:80'] }
const FRONT: ListenerText = { name: 'front', clusters: ['web'] }

const clusters = (...texts: readonly object[]) => wholeState(CDS, texts)
const assignments = (...texts: readonly object[]) => wholeState(EDS, texts)
const listeners = (...texts: readonly object[]) => wholeState(LDS, texts)

function connectTimeoutOf(store: MeshStore, name: string): number | undefined {
  return store.snapshot.cluster.get(name)?.settings.connectTimeoutMs
}

/** The clusters that are in force. */
function clusterNames(store: MeshStore): readonly string[] {
  return [...store.snapshot.cluster.keys()].sort()
}

/** Names of the clusters that the listeners in force lead to. */
function targets(store: MeshStore): readonly string[] {
  return [...store.snapshot.listener.values()].flatMap(({ filterChains }) =>
    filterChains.map(({ name }) => name),
  )
}

/** Brings a sink to where `front` leads to `web` and its endpoint. */
async function serveWeb(sink: EnvoySink, web: ClusterText = WEB): Promise<void> {
  await sink.apply(clusters(web))
  await sink.apply(assignments(WEB_ENDPOINTS))
  await sink.apply(listeners(FRONT))
}

t.test('uses a new cluster when its assignment is there, in one change', async (t) => {
  const { store, sink, wanted } = startEnvoySink()
  await sink.apply(clusters(WEB, DB))
  t.strictSame(clusterNames(store), ['db'], 'one that needs no assignment is used at once')
  t.strictSame(wanted, [['web']])
  const changes: unknown[] = []
  store.watch((change) => changes.push([...change.keys()].sort()))
  await sink.apply(assignments(WEB_ENDPOINTS))
  t.strictSame(changes, [['assignment', 'cluster']])
  t.strictSame(clusterNames(store), ['db', 'web'])
})

t.test('asks for the assignments of all clusters with one call, and only when they are others', async (t) => {
  const { sink, wanted } = startEnvoySink()
  await sink.apply(clusters(WEB, { name: 'api', eds: 'api-endpoints' }, DB))
  await sink.apply(clusters(WEB, { name: 'api', eds: 'api-endpoints' }))
  await sink.apply(clusters(WEB))
  await sink.apply(clusters())
  t.strictSame(wanted, [['web', 'api-endpoints'], ['web'], []])
})

t.test('a changed cluster takes over when its assignment has come again, even unchanged', async (t) => {
  const { store, sink, wanted } = startEnvoySink()
  await serveWeb(sink)
  t.equal(connectTimeoutOf(store, 'web'), 5_000)
  await sink.apply(clusters({ ...WEB, connectTimeoutMs: 1_000 }))
  t.equal(connectTimeoutOf(store, 'web'), 5_000, 'the old one serves meanwhile')
  t.ok(store.snapshot.assignment.has('web'))
  await sink.apply(clusters({ ...WEB, connectTimeoutMs: 1_000 }))
  t.equal(connectTimeoutOf(store, 'web'), 5_000)
  await sink.apply(assignments(WEB_ENDPOINTS))
  t.equal(connectTimeoutOf(store, 'web'), 1_000)
  t.strictSame(wanted, [['web']])
})

t.test('a changed cluster takes over with the endpoints that there are when none come', async (t) => {
  for (const fetchTimeoutMs of [0, 60_000]) {
    const { store, clock, sink } = startEnvoySink()
    await serveWeb(sink, { ...WEB, fetchTimeoutMs })
    await sink.apply(clusters({ ...WEB, fetchTimeoutMs, connectTimeoutMs: 1_000 }))
    clock.advance(ORDER_TIMEOUT_MS - 1)
    t.equal(connectTimeoutOf(store, 'web'), 5_000)
    clock.advance(1)
    t.equal(connectTimeoutOf(store, 'web'), 1_000)
    t.equal(store.snapshot.assignment.get('web')?.endpoints.length, 1)
  }
})

t.test('a change that is taken back waits for nothing', async (t) => {
  const { store, clock, sink } = startEnvoySink()
  await serveWeb(sink)
  await sink.apply(clusters({ ...WEB, connectTimeoutMs: 1_000 }))
  await sink.apply(clusters(WEB))
  await sink.apply(assignments({ name: 'web', endpoints: ['10.1.0.2:80'] }))
  t.equal(connectTimeoutOf(store, 'web'), 5_000)
  t.equal(clock.pendingTimers, 0)
})

t.test('uses a cluster without its assignment after initial_fetch_timeout; 0 waits for ever', async (t) => {
  const { store, clock, sink } = startEnvoySink()
  const short = { name: 'short', eds: 'short', fetchTimeoutMs: 2_000 }
  const endless = { name: 'endless', eds: 'endless', fetchTimeoutMs: 0 }
  await sink.apply(clusters(WEB, short, endless))
  clock.advance(1_999)
  t.strictSame(clusterNames(store), [])
  clock.advance(1)
  t.strictSame(clusterNames(store), ['short'])
  // The same again does not begin a new wait.
  await sink.apply(clusters(WEB, short, endless))
  clock.advance(INITIAL_FETCH_TIMEOUT_MS - 2_000)
  t.strictSame(clusterNames(store), ['short', 'web'])
  clock.advance(3_600_000)
  t.strictSame(clusterNames(store), ['short', 'web'])
  t.equal(clock.pendingTimers, 0)
})

t.test(
  'keeps the endpoints that there are when an assignment is removed, or missing in a response',
  async (t) => {
    const { store, sink } = startEnvoySink()
    await serveWeb(sink)
    await sink.apply(update(EDS, {}, { removed: ['web'] }))
    await sink.apply(assignments())
    t.equal(store.snapshot.assignment.get('web')?.endpoints.length, 1)
  },
)

t.test('an assignment that the control plane does not have ends the wait for it', async (t) => {
  const { store, sink } = startEnvoySink()
  await sink.apply(clusters(WEB))
  await sink.apply(update(EDS, {}, { removed: ['web'] }))
  t.strictSame(clusterNames(store), ['web'])
})

t.test('forgets assignments that no cluster needs, and takes none that it did not ask for', async (t) => {
  const { store, sink } = startEnvoySink()
  await serveWeb(sink)
  await sink.apply(assignments({ name: 'other', endpoints: [] }))
  t.strictSame([...store.snapshot.assignment.keys()], ['web'])
  await sink.apply(clusters({ ...WEB, eds: 'web-2' }))
  t.ok(store.snapshot.assignment.has('web'), 'the old cluster serves with it')
  await sink.apply(assignments({ name: 'web-2', endpoints: [] }))
  t.strictSame([...store.snapshot.assignment.keys()], ['web-2'])
})

t.test('a listener takes over when its clusters can be used', async (t) => {
  const { store, clock, sink } = startEnvoySink()
  await serveWeb(sink)
  const api = { name: 'api', eds: 'api', fetchTimeoutMs: 0 }
  await sink.apply(clusters(WEB, api))
  await sink.apply(listeners({ ...FRONT, clusters: ['web', 'api'] }))
  t.strictSame(targets(store), ['web'], 'the old one serves meanwhile')
  await sink.apply(assignments({ name: 'api', endpoints: ['10.1.0.3:80'] }))
  t.strictSame(targets(store), ['web', 'api'])

  const { fetchTimeoutMs } = api
  await sink.apply(clusters(WEB, api, { name: 'late', eds: 'late', fetchTimeoutMs }))
  await sink.apply(listeners({ ...FRONT, clusters: ['late'] }))
  clock.advance(ORDER_TIMEOUT_MS - 1)
  t.strictSame(targets(store), ['web', 'api'])
  clock.advance(1)
  t.strictSame(targets(store), ['late'], 'it does not wait for ever')
})

t.test('a listener whose cluster the control plane does not have is in force at once', async (t) => {
  const { store, sink } = startEnvoySink()
  t.strictSame(await sink.apply(listeners(FRONT)), [])
  t.strictSame(targets(store), ['web'])
})

t.test('a listener whose changed cluster waits leads to the old one', async (t) => {
  const { store, sink } = startEnvoySink()
  await serveWeb(sink)
  await sink.apply(clusters({ ...WEB, connectTimeoutMs: 1_000 }))
  await sink.apply(listeners({ name: 'second', clusters: ['web'] }))
  t.strictSame([...store.snapshot.listener.keys()], ['second'])
})

t.test('a cluster goes when no listener names it any more', async (t) => {
  const { store, clock, sink } = startEnvoySink()
  await serveWeb(sink)
  await sink.apply(clusters(DB))
  t.strictSame(clusterNames(store), ['db', 'web'])
  t.ok(store.snapshot.assignment.has('web'))
  const changes: unknown[] = []
  store.watch((change) => changes.push([...change.keys()].sort()))
  await sink.apply(listeners({ ...FRONT, clusters: ['db'] }))
  t.strictSame(clusterNames(store), ['db'])
  t.strictSame(changes, [['assignment', 'cluster', 'listener']], 'in one change with the listener')
  t.equal(clock.pendingTimers, 0)
})

t.test('a cluster that a listener goes on to name goes after a while', async (t) => {
  const { store, clock, sink } = startEnvoySink()
  await serveWeb(sink)
  await sink.apply(clusters())
  clock.advance(ORDER_TIMEOUT_MS - 1)
  t.strictSame(clusterNames(store), ['web'])
  clock.advance(1)
  t.strictSame(clusterNames(store), [])
  t.strictSame(targets(store), ['web'])
})

t.test('a cluster that comes back unchanged serves on', async (t) => {
  const { store, clock, sink } = startEnvoySink()
  await serveWeb(sink)
  const before = store.snapshot.cluster.get('web')
  await sink.apply(clusters())
  await sink.apply(clusters(WEB))
  clock.advance(ORDER_TIMEOUT_MS)
  t.equal(store.snapshot.cluster.get('web'), before)
  t.equal(clock.pendingTimers, 0)
})

t.test('takes what a delta names as gone, and nothing else', async (t) => {
  const { store, sink } = startEnvoySink()
  await sink.apply(update(CDS, { db: DB, api: { name: 'api' } }))
  await sink.apply(update(LDS, { front: { ...FRONT, clusters: [] }, back: { name: 'back', clusters: [] } }))
  await sink.apply(update(CDS, { more: { name: 'more' } }, { removed: ['api'] }))
  await sink.apply(update(LDS, {}, { removed: ['front'] }))
  t.strictSame(clusterNames(store), ['db', 'more'])
  t.strictSame([...store.snapshot.listener.keys()], ['back'])
})

t.test('rejects by name what cannot be decoded, keeps its last good version, applies the rest', async (t) => {
  const { store, sink } = startEnvoySink()
  await serveWeb(sink)
  const broken = { web: { broken: true }, db: DB, api: { name: 'other' } }
  const rejections = await sink.apply(update(CDS, broken))
  t.match(rejections, [
    { name: 'web', problems: ['field[0]: is broken'] },
    { name: 'api', problems: ["calls itself 'other'; both names must be the same"] },
  ])
  t.strictSame(clusterNames(store), ['db', 'web'])
  const ofListener = await sink.apply(
    update(LDS, { front: { broken: true }, back: { name: 'back', clusters: [] } }),
  )
  t.match(ofListener, [{ name: 'front' }])
  t.strictSame([...store.snapshot.listener.keys()], ['front', 'back'])
  const ofAssignment = await sink.apply(update(EDS, { web: { broken: true } }))
  t.match(ofAssignment, [{ name: 'web' }])
  t.equal(store.snapshot.assignment.get('web')?.endpoints.length, 1)
})

t.test('a damaged resource without a name in a whole state takes nothing for gone', async (t) => {
  const { store, sink } = startEnvoySink()
  await serveWeb(sink)
  await sink.apply(clusters({ broken: true }, DB))
  t.strictSame(clusterNames(store), ['db', 'web'])
  const [rejection] = await sink.apply(clusters({ ...WEB, broken: true }))
  t.equal(rejection?.name, 'web', 'one that has its name is there, and the others are gone')
  t.strictSame(clusterNames(store), ['web'])
  await sink.apply(listeners({ broken: true }))
  t.strictSame(targets(store), ['web'])
})

t.test('keeps the fields that were ignored, by name, for as long as the resource is there', async (t) => {
  const { sink } = startEnvoySink()
  await sink.apply(clusters({ ...WEB, ignored: ['transport_socket_matches'] }, DB))
  await sink.apply(assignments({ ...WEB_ENDPOINTS, ignored: ['metadata'] }))
  await sink.apply(listeners({ ...FRONT, ignored: ['listener_filters[1]'] }))
  t.strictSame([...sink.ignoredFields(CDS)], [['web', ['transport_socket_matches']]])
  t.strictSame([...sink.ignoredFields(EDS)], [['web', ['metadata']]])
  t.strictSame([...sink.ignoredFields(LDS)], [['front', ['listener_filters[1]']]])
  await sink.apply(clusters())
  await sink.apply(listeners(FRONT))
  t.equal(sink.ignoredFields(CDS).size + sink.ignoredFields(EDS).size + sink.ignoredFields(LDS).size, 0)
})

/** The names of the mesh, each as its addresses. */
function namesIn(store: MeshStore): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    Array.from(store.snapshot.name.values(), ({ hostname, addresses }) => [
      hostname,
      addresses.map(({ text }) => text),
    ]),
  )
}

t.test('a name table is all names of the mesh, in one change of what has become another', async (t) => {
  const { store, sink } = startEnvoySink()
  const names = (table: object) => sink.apply(wholeState(NDS, [table]))
  await names({ 'a.shop': ['10.96.0.1'], 'b.shop': ['10.96.0.2'], 'c.shop': ['10.96.0.3'] })
  const changes: unknown[] = []
  store.watch((change) => changes.push([...change].map(([kind, keys]) => [kind, [...keys].sort()])))
  const next = { 'a.shop': ['10.96.0.1'], 'b.shop': ['10.96.0.2', 'fd00:96::2'] }
  await names(next)
  await names(next)
  t.strictSame(changes, [[['name', ['b.shop', 'c.shop']]]])
  t.strictSame(namesIn(store), next)
  t.match(await sink.apply(wholeState('type.googleapis.com/other', [])), [{ problems: [/nothing of type/] }])
})

t.test('keeps the names that there are when a table is damaged or missing', async (t) => {
  const { store, sink } = startEnvoySink()
  await sink.apply(wholeState(NDS, [{ 'a.shop': ['10.96.0.1'] }]))
  t.match(await sink.apply(wholeState(NDS, ['broken'])), [{ problems: ['field[0]: is broken'] }])
  await sink.apply(wholeState(NDS, []))
  t.strictSame(namesIn(store), { 'a.shop': ['10.96.0.1'] })
})

t.test('leaves out and lists what of a name table is no address, until another one comes', async (t) => {
  const { store, sink } = startEnvoySink()
  const table = { 'a.shop': ['10.96.0.0/16', '::ffff:10.96.0.1'], 'b.shop': ['nonsense'] }
  t.strictSame(await sink.apply(wholeState(NDS, [table])), [])
  t.strictSame(namesIn(store), { 'a.shop': ['10.96.0.1'], 'b.shop': [] })
  t.strictSame(
    [...sink.ignoredFields(NDS)],
    [
      ['a.shop', ['NameInfo.ips(10.96.0.0/16)']],
      ['b.shop', ['NameInfo.ips(nonsense)']],
    ],
  )
  await sink.apply(wholeState(NDS, [{ 'a.shop': [] }]))
  t.equal(sink.ignoredFields(NDS).size, 0)
})

t.test('rejects what would replace a static resource, by name, and applies the rest', async (t) => {
  const { store, sink } = startEnvoySink({
    staticNames: { clusters: new Set(['web', 'front']), listeners: new Set(['back']) },
  })
  const upsert = staticCluster('web')
  store.apply([{ kind: 'cluster', upsert }])
  const problems = ['static_resources has one of this name, which stays; rename one of the two']
  t.strictSame(await sink.apply(clusters({ name: 'web', connectTimeoutMs: 1 }, DB)), [
    { name: 'web', problems },
  ])
  t.strictSame(clusterNames(store), ['db', 'web'])
  t.equal(store.snapshot.cluster.get('web'), upsert)
  const back = { name: 'back', clusters: [] }
  t.strictSame(await sink.apply(listeners(back, FRONT)), [{ name: 'back', problems }])
  t.strictSame(
    [...store.snapshot.listener.keys()],
    ['front'],
    'the names of clusters are not those of listeners',
  )
  await sink.apply(clusters())
  await sink.apply(update(CDS, {}, { removed: ['web'] }))
  t.equal(store.snapshot.cluster.get('web'), upsert, 'nor does it go with what is gone')
})

t.test(
  'is complete when all that is new can be used, and names are there where they are needed',
  async (t) => {
    const { clock, sink } = startEnvoySink()
    t.equal(sink.isComplete, true)
    await sink.apply(clusters(WEB))
    t.equal(sink.isComplete, false, 'a cluster waits for its endpoints')
    await sink.apply(assignments(WEB_ENDPOINTS))
    t.equal(sink.isComplete, true)
    await sink.apply(clusters(WEB, { name: 'late', eds: 'late', fetchTimeoutMs: 0 }))
    clock.advance(3_600_000)
    t.equal(sink.isComplete, false)
    await sink.apply(clusters({ ...WEB, connectTimeoutMs: 1 }))
    t.equal(sink.isComplete, true, 'a changed cluster serves as it was')
    await sink.apply(listeners(FRONT))
    t.equal(sink.isComplete, true)
    await sink.apply(listeners({ ...FRONT, hasUnreadRoutes: true }))
    t.equal(sink.isComplete, false, 'HTTP goes by names')
    await sink.apply(wholeState(NDS, [{}]))
    t.equal(sink.isComplete, true)
  },
)

t.test('waits for nothing any more once it is closed', async (t) => {
  const { clock, sink } = startEnvoySink()
  await sink.apply(clusters(WEB))
  t.equal(clock.pendingTimers, 1)
  sink.close()
  sink.close()
  await sink.apply(clusters(WEB, { name: 'api', eds: 'api' }))
  t.equal(clock.pendingTimers, 0)
})

interface ServerState {
  readonly clusters: readonly ClusterText[]
  readonly listeners: readonly ListenerText[]
}

t.test('any order and split of updates that ends in one state gives one mesh', async () => {
  const name = fc.constantFrom('a', 'bb', 'ccc')
  const state: fc.Arbitrary<ServerState> = fc.record({
    clusters: fc.uniqueArray(
      fc.record(
        {
          name,
          eds: name,
          connectTimeoutMs: fc.constantFrom(1, 2),
          fetchTimeoutMs: fc.constantFrom(100, 200),
        },
        { requiredKeys: ['name'] },
      ),
      { selector: (each) => each.name },
    ),
    listeners: fc.uniqueArray(fc.record({ name, clusters: fc.uniqueArray(name) }), {
      selector: (each) => each.name,
    }),
  })
  const endpointsOf = (names: readonly string[]): readonly AssignmentText[] =>
    names.map((each) => ({ name: each, endpoints: [`10.1.0.${each.length}:80`] }))
  const step = fc.record({
    state,
    order: fc.shuffledSubarray(['cds', 'eds', 'lds'] as const),
    waitMs: fc.nat(300),
  })
  const content = ({ snapshot: { cluster, assignment, listener } }: MeshStore): unknown =>
    [cluster, assignment, listener].map((resources) => [...resources].sort(([a], [b]) => (a < b ? -1 : 1)))

  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 5 }), state, async (steps, last) => {
      const lab = startEnvoySink()
      for (const { state: passing, order, waitMs } of steps) {
        for (const each of order) {
          if (each === 'cds') await lab.sink.apply(clusters(...passing.clusters))
          if (each === 'lds') await lab.sink.apply(listeners(...passing.listeners))
          if (each === 'eds') await lab.sink.apply(assignments(...endpointsOf(lab.wanted.at(-1) ?? [])))
        }
        lab.clock.advance(waitMs)
      }
      const direct = startEnvoySink()
      for (const { sink, wanted, clock } of [lab, direct]) {
        await sink.apply(clusters(...last.clusters))
        await sink.apply(listeners(...last.listeners))
        await sink.apply(assignments(...endpointsOf(wanted.at(-1) ?? [])))
        clock.advance(ORDER_TIMEOUT_MS)
        assert.equal(clock.pendingTimers, 0)
      }
      assert.deepEqual(content(lab.store), content(direct.store))
    }),
    { numRuns: 300 },
  )
})
