/** What responses of the ambient dialect make of the mesh. */
import assert from 'node:assert/strict'

import fc from 'fast-check'
import t from 'tap'

import { AmbientRouter } from '../../../src/mesh/ambient-router.ts'
import { MeshStore } from '../../../src/mesh/store.ts'
import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import { SLICE_MS } from '../../../src/xds-client/slices.ts'
import { AMBIENT_DECODERS, ambientSink } from '../../fixtures/ambient-updates.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { aListener } from '../../fixtures/mesh-builder.ts'
import { factsOf } from '../../fixtures/plan-lab.ts'
import { update } from '../../fixtures/updates.ts'

import type { AmbientSink } from '../../../src/xds-client/sinks/ambient-sink.ts'
import type { TypeUpdate } from '../../../src/xds-client/discovery.ts'

const POD = 'Kubernetes//Pod/shop/echo-0'
const SERVICE = 'shop/echo.shop'
const { address: ADDRESS, authorization: AUTHORIZATION } = TYPE_URLS

function pod(name: string, workloadIps: readonly string[] = ['10.1.0.1', 'fd00:1::1']): object {
  return { workload: { name, namespace: 'shop', workloadIps, services: { [SERVICE]: { 80: 8080 } } } }
}

function service(vips: readonly string[] = ['/10.96.0.1', '/fd00:96::1']): object {
  return { service: { name: 'echo', namespace: 'shop', hostname: 'echo.shop', vips, ports: { 80: 8080 } } }
}

function policy(name: string, action = 'Deny'): object {
  return { policy: { name, namespace: 'shop', scope: 'Namespace', action, rules: [] } }
}

function start() {
  const store = new MeshStore()
  return { store, sink: ambientSink(store) }
}

/** Everything that a store holds, in an order of its own. */
function content(store: MeshStore): unknown {
  const { workload, service: services, policy: policies } = store.snapshot
  return [workload, services, policies].map((map) => [...map].sort(([a], [b]) => (a < b ? -1 : 1)))
}

t.test('applies a response as one change of the mesh', async (t) => {
  const { store, sink } = start()
  const changes: string[][] = []
  store.watch((change) => changes.push([...change].map(([kind, keys]) => `${kind} ${[...keys].join(' ')}`)))
  const rejections = await sink.apply(update(ADDRESS, { [POD]: pod('echo-0'), [SERVICE]: service() }))
  t.strictSame(rejections, [])
  t.strictSame(changes, [[`workload ${POD}`, `service ${SERVICE}`]])
})

t.test('removes by name what the name stands for', async (t) => {
  const { store, sink } = start()
  await sink.apply(update(ADDRESS, { [POD]: pod('echo-0'), [SERVICE]: service() }))
  await sink.apply(update(AUTHORIZATION, { 'shop/deny': policy('deny') }))
  await sink.apply(update(ADDRESS, {}, { removed: [SERVICE, 'shop/deny', '/10.9.9.9'] }))
  t.strictSame([...store.snapshot.workload.keys()], [POD])
  t.strictSame([...store.snapshot.service.keys()], [])
  t.strictSame([...store.snapshot.policy.keys()], ['shop/deny'], 'a policy is no address')
  await sink.apply(update(AUTHORIZATION, {}, { removed: ['shop/deny', POD] }))
  await sink.apply(update(ADDRESS, {}, { removed: [POD] }))
  t.equal(store.snapshot.policy.size + store.snapshot.workload.size, 0)
})

t.test('knows a resource by the name under which it came, also when that is not its key', async (t) => {
  const { store, sink } = start()
  await sink.apply(update(ADDRESS, { other: pod('echo-0') }))
  await sink.apply(update(ADDRESS, { other: pod('echo-1') }))
  t.strictSame(
    [...store.snapshot.workload.keys()],
    ['Kubernetes//Pod/shop/echo-1'],
    'one name is one resource',
  )
  await sink.apply(update(ADDRESS, { other: service() }))
  t.strictSame([...store.snapshot.workload.keys()], [])
  await sink.apply(update(ADDRESS, {}, { removed: ['other'] }))
  t.equal(store.snapshot.service.size, 0)
})

t.test('rejects by name what cannot be decoded, keeps its last good version, applies the rest', async (t) => {
  const { store, sink } = start()
  await sink.apply(update(ADDRESS, { [POD]: pod('echo-0') }))
  const rejections = await sink.apply(
    update(ADDRESS, { [POD]: pod('echo-0', ['10.1.0']), [SERVICE]: service() }),
  )
  t.match(rejections, [{ name: POD, problems: [/^field\[0\]: .*10\.1\.0/] }])
  t.equal(store.snapshot.workload.get(POD)?.addresses.length, 2)
  t.ok(store.snapshot.service.has(SERVICE))
  const refused = await sink.apply(update(AUTHORIZATION, { 'shop/deny': { policy: { name: 'deny' } } }))
  t.match(refused, [{ name: 'shop/deny' }])
})

t.test('rejects a type that it does not keep', async (t) => {
  const { sink } = start()
  t.match(await sink.apply(update(TYPE_URLS.cluster, {})), [{ name: '', problems: [/nothing of type/] }])
})

t.test('yields while it decodes a large response, and applies it as one change all the same', async (t) => {
  const store = new MeshStore()
  const clock = new FakeClock()
  const versions: number[] = []
  const sink = ambientSink(store, {
    clock,
    nextTurn: () => {
      versions.push(store.snapshot.version)
      return Promise.resolve()
    },
    decoders: {
      ...AMBIENT_DECODERS,
      address: (value, name) => {
        clock.advance(SLICE_MS / 2)
        return AMBIENT_DECODERS.address(value, name)
      },
    },
  })
  const pods = Object.fromEntries(
    [1, 2, 3, 4, 5].map((n) => [`Kubernetes//Pod/shop/echo-${n}`, pod(`echo-${n}`)]),
  )
  await sink.apply(update(ADDRESS, pods))
  t.strictSame(versions, [0, 0], 'nothing was in force in between')
  t.equal(store.snapshot.workload.size, 5)
  t.equal(store.snapshot.version, 1)
})

t.test('tells what a response answers, under every name', async (t) => {
  const answers: unknown[] = []
  const sink = ambientSink(new MeshStore(), { answered: (answer) => answers.push(answer) })
  await sink.apply(
    update(ADDRESS, { [POD]: pod('echo-0') }, { removed: ['/10.9.9.9'], aliases: { [POD]: ['/10.1.0.1'] } }),
  )
  t.match(answers, [{ found: [{ name: POD, aliases: ['/10.1.0.1'] }], missing: ['/10.9.9.9'] }])
})

t.test('rule 12: the second family of a pod or service joins the first and withdraws nothing', async (t) => {
  const client = '10.0.0.1:4000'
  const outbound = aListener('outbound', [], '', { capture: 'redirect' })
  const early = [pod('echo-0', ['10.1.0.1']), service(['/10.96.0.1'])]
  const late = [pod('echo-0'), service()]
  const orders = [
    [0, 1, 2, 3],
    [1, 0, 3, 2],
    [0, 2, 1, 3],
    [1, 3, 0, 2],
  ]
  for (const order of orders) {
    const { store, sink } = start()
    const router = new AmbientRouter({ store }, { network: '', plaintextPermitted: [] })
    const idsSeen = new Set<string>()
    for (const step of order) {
      const name = step % 2 === 0 ? POD : SERVICE
      await sink.apply(update(ADDRESS, { [name]: [...early, ...late][step] }))
      if (store.snapshot.workload.size === 0 || store.snapshot.service.size === 0) continue
      const [choice] = router.plan(factsOf(outbound, client, '10.96.0.1:80')).choices
      if (choice?.route.kind !== 'upstream') throw new Error(`no upstream after step ${step}`)
      for (const { id, addresses } of choice.route.upstream.endpoints) {
        idsSeen.add(id)
        t.equal(addresses[0]?.ip.text, '10.1.0.1', 'the first family stays')
      }
    }
    t.strictSame([...idsSeen], [`${POD}:8080`], 'one endpoint with one identity, whatever the order')
  }
})

t.test('any order and split of updates that ends in one state gives one mesh', async () => {
  const names = ['echo-0', 'echo-1', 'echo-2', 'svc'] as const
  const addressSets = [['10.1.0.1'], ['fd00:1::1'], ['10.1.0.1', 'fd00:1::1']] as const
  const resource = (name: string, variant: number): readonly [string, object] =>
    name === 'svc'
      ? [SERVICE, service(addressSets[variant]?.map((ip) => `/${ip}`))]
      : [`Kubernetes//Pod/shop/${name}`, pod(name, addressSets[variant])]
  const state = fc.dictionary(fc.constantFrom(...names), fc.nat(2), { noNullPrototype: true })
  const toState = async (
    sink: AmbientSink,
    known: Set<string>,
    wanted: Readonly<Record<string, number>>,
    cuts: number,
  ) => {
    const entries = Object.entries(wanted).map(([name, variant]) => resource(name, variant))
    const wantedNames = new Set(entries.map(([name]) => name))
    const gone = [...known].filter((name) => !wantedNames.has(name))
    const updates: TypeUpdate[] = entries.map((entry) => update(ADDRESS, Object.fromEntries([entry])))
    updates.splice(cuts % (updates.length + 1), 0, update(ADDRESS, {}, { removed: gone }))
    if (cuts % 2 === 0) updates.reverse()
    for (const each of updates) await sink.apply(each)
    return wantedNames
  }
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(state, fc.nat(7)), { minLength: 1, maxLength: 5 }), async (steps) => {
      const { store, sink } = start()
      let known = new Set<string>()
      for (const [wanted, cuts] of steps) known = await toState(sink, known, wanted, cuts)
      const direct = start()
      const [last] = steps.at(-1) ?? [{}]
      const all = Object.entries<number>(last).map(([name, variant]) => resource(name, variant))
      await direct.sink.apply(update(ADDRESS, Object.fromEntries(all)))
      assert.deepEqual(content(store), content(direct.store))
    }),
    { numRuns: 60 },
  )
})
