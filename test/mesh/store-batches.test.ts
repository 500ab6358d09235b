/** Any sequence of batches, whole or in slices, gives what a naive model of the store gives, indexes included. */
import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import fc from 'fast-check'
import t from 'tap'

import { parseIp } from '../../src/core/address.ts'
import { parseCidr } from '../../src/core/cidr.ts'
import { MeshStore, keyOf } from '../../src/mesh/store.ts'

import type { IpAddress } from '../../src/core/address.ts'
import type { MeshSnapshot, MeshUpdate, MeshUpsert } from '../../src/mesh/store.ts'
import type { AuthorizationPolicy, Service, Workload } from '../../src/mesh/workload.ts'

const ADDRESSES = ['10.0.0.1', '10.0.0.2', '255.0.0.1', 'fd00::1', 'fd00::2', 'fe80::1%eth0'].map(parseIp)
const NETWORKS = ['', 'far']
const SERVICE_KEYS = ['a/one', 'a/two', 'b/one']
const NAMESPACES = ['a', 'b']

const smallNumber = fc.nat({ max: 5 })

const workload: fc.Arbitrary<Workload> = fc
  .record({
    n: smallNumber,
    isPod: fc.boolean(),
    addresses: fc.subarray(ADDRESSES, { maxLength: 3 }),
    network: fc.constantFrom(...NETWORKS),
    protocol: fc.constantFrom('tcp' as const, 'hbone' as const),
    isHostNetwork: fc.boolean(),
    services: fc.subarray(SERVICE_KEYS),
    capacity: fc.integer({ min: 1, max: 2 }),
  })
  .map(({ n, isPod, services, ...fields }) => ({
    ...fields,
    uid: isPod ? `cluster//Pod/a/${n}` : `cluster/vm/${n}`,
    name: `${n}`,
    namespace: 'a',
    hostname: '',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    node: '',
    clusterId: 'cluster',
    canonicalName: '',
    canonicalRevision: '',
    workloadName: '',
    workloadType: 'pod',
    status: 'healthy',
    isNativeTunnel: false,
    locality: { region: '', zone: '', subzone: '' },
    services: new Map(services.map((key) => [key, new Map([[80, 8080]])])),
    authorizationPolicies: [],
  }))

const service: fc.Arbitrary<Service> = fc
  .record({
    key: fc.constantFrom(...SERVICE_KEYS),
    vips: fc.subarray(ADDRESSES),
    network: fc.constantFrom(...NETWORKS),
    ranges: fc.subarray(['10.0.0.0/8', '10.0.0.0/30', 'fd00::/16']),
    isCanonical: fc.boolean(),
    visibility: fc.constantFrom('public' as const, 'namespace' as const),
  })
  .map(({ key, vips, network, ranges, ...fields }) => ({
    ...fields,
    name: '',
    namespace: key.slice(0, 1),
    hostname: key.slice(2),
    vips: vips.map((ip) => ({ network, ip })),
    cidrVips: ranges.map((text) => ({ network, cidr: parseCidr(text) })),
    ports: new Map([[80, 8080]]),
    families: 'automatic',
    loadBalancing: { routingPreferences: [], mode: 'standard', healthPolicy: 'only-healthy' },
    subjectAltNames: [],
  }))

const policy: fc.Arbitrary<AuthorizationPolicy> = fc.record({
  name: smallNumber.map(String),
  namespace: fc.constantFrom(...NAMESPACES),
  scope: fc.constantFrom('global', 'namespace', 'workload-selector'),
  action: fc.constantFrom('allow', 'deny'),
  rules: fc.constant([]),
  isDryRun: fc.constant(false),
})

const upsert: fc.Arbitrary<MeshUpsert> = fc.oneof(
  { weight: 3, arbitrary: workload.map((resource) => ({ kind: 'workload' as const, upsert: resource })) },
  { weight: 2, arbitrary: service.map((resource) => ({ kind: 'service' as const, upsert: resource })) },
  policy.map((resource) => ({ kind: 'policy' as const, upsert: resource })),
)
const update: fc.Arbitrary<MeshUpdate> = fc.oneof(
  { weight: 3, arbitrary: upsert },
  upsert.map(({ kind, upsert: resource }) => ({ kind, remove: keyOf(kind, resource) })),
)
const slices = fc.array(fc.array(update, { maxLength: 6 }), { minLength: 1, maxLength: 3 })

/** The kinds of resources in these batches. */
const KINDS = ['workload', 'service', 'policy'] as const

/** `kind key` to the resource. */
type Model = ReadonlyMap<string, object>

/** What a batch makes of the model: slice by slice, removals first. */
function applied(model: Model, batch: readonly (readonly MeshUpdate[])[]): Model {
  const next = new Map(model)
  for (const slice of batch) {
    for (const each of slice) if ('remove' in each) next.delete(`${each.kind} ${each.remove}`)
    for (const each of slice)
      if ('upsert' in each) next.set(`${each.kind} ${keyOf(each.kind, each.upsert)}`, each.upsert)
  }
  return next
}

function differing(a: Model, b: Model): readonly string[] {
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((key) => !isDeepStrictEqual(a.get(key), b.get(key)))
    .sort()
}

/** What a snapshot holds, in the order of the keys and with addresses in their text. */
function contents(snapshot: MeshSnapshot): readonly string[] {
  return KINDS.flatMap((kind) => {
    const lines: string[] = []
    for (const [key, each] of snapshot[kind]) lines.push(`${kind} ${key} ${readable(each)}`)
    return lines
  }).sort()
}

function modelContents(model: Model): readonly string[] {
  return Array.from(model, ([key, each]) => `${key} ${readable(each)}`).sort()
}

function readable(resource: object): string {
  return JSON.stringify(resource, (_key, value: unknown) => {
    if (value instanceof Map) return [...value]
    return isAddress(value) ? value.text : value
  })
}

function isAddress(value: unknown): value is IpAddress {
  return typeof value === 'object' && value !== null && 'family' in value && 'bytes' in value
}

/** What the indexes of a snapshot answer to every question that these resources can be asked. */
function answers(snapshot: MeshSnapshot): unknown {
  const { workloadIndex, serviceIndex, policyIndex } = snapshot
  return {
    owners: NETWORKS.flatMap((network) =>
      ADDRESSES.map((ip) => {
        const owner = workloadIndex.at({ network, ip })
        // Which of equally likely owners came last depends on the order of batches.
        return owner && `${owner.uid.includes('//Pod/')} ${owner.protocol}`
      }),
    ),
    members: SERVICE_KEYS.map((key) =>
      workloadIndex
        .membersOf(key)
        .map(({ uid }) => uid)
        .sort(),
    ),
    services: NETWORKS.flatMap((network) =>
      ADDRESSES.flatMap((ip) =>
        ['a', undefined].map((client) => {
          const found = serviceIndex.at({ network, ip }, client)
          return found && `${found.namespace === client} ${found.isCanonical}`
        }),
      ),
    ),
    policies: NAMESPACES.map((namespace) =>
      [...snapshot.workload.values()]
        .slice(0, 1)
        .flatMap((each) => [...policyIndex.applicableTo({ ...each, namespace }).policies])
        .map(({ namespace: own, name }) => `${own}/${name}`)
        .sort(),
    ),
  }
}

/** A store into which all resources of a snapshot have come at once. */
function rebuilt(snapshot: MeshSnapshot): MeshSnapshot {
  const store = new MeshStore()
  store.apply([
    ...Array.from(snapshot.workload.values(), (each) => ({ kind: 'workload' as const, upsert: each })),
    ...Array.from(snapshot.service.values(), (each) => ({ kind: 'service' as const, upsert: each })),
    ...Array.from(snapshot.policy.values(), (each) => ({ kind: 'policy' as const, upsert: each })),
  ])
  return store.snapshot
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc()')
}

function sampleWorkload(uid: string): Workload {
  const [sample] = fc.sample(workload, 1)
  if (sample === undefined) throw new Error('there is no sample')
  return { ...sample, uid }
}

t.test('any sequence of batches leaves the contents, changes and indexes of a naive model', async (t) => {
  fc.assert(
    fc.property(fc.array(slices, { maxLength: 8 }), (batches) => {
      const store = new MeshStore()
      let model: Model = new Map()
      for (const batch of batches) {
        const before = store.snapshot
        const saidBefore = [contents(before), answers(before)]
        const draft = store.draft()
        for (const slice of batch) draft.stage(slice)
        t.equal(store.snapshot, before, 'what is staged is not in force')
        const change = draft.commit()
        const next = applied(model, batch)
        t.strictSame(
          [...change].flatMap(([kind, keys]) => [...keys].map((key) => `${kind} ${key}`)).sort(),
          differing(model, next),
        )
        t.strictSame([contents(before), answers(before)], saidBefore, 'the snapshot before is as it was')
        model = next
      }
      t.strictSame(contents(store.snapshot), modelContents(model))
      t.strictSame(answers(store.snapshot), answers(rebuilt(store.snapshot)))
    }),
    { numRuns: 200 },
  )
})

t.test('a draft that another batch has overtaken has the last word on what it has staged', async (t) => {
  const store = new MeshStore()
  const one = sampleWorkload('one')
  const put = (capacity: number): MeshUpsert => ({ kind: 'workload', upsert: { ...one, capacity } })
  const other: MeshUpsert = { kind: 'workload', upsert: sampleWorkload('other') }
  store.apply([put(1)])
  const draft = store.draft()
  draft.stage([put(1)])
  store.apply([put(2), other])
  t.strictSame([...draft.commit()], [['workload', new Set([one.uid])]])
  t.equal(store.snapshot.workload.get(one.uid)?.capacity, 1)
  t.ok(store.snapshot.workload.has('other'), 'and none on the rest')
  t.throws(() => draft.commit(), TypeError)
  t.throws(() => {
    draft.stage([])
  }, TypeError)
})

t.test('a state that nobody holds is let go, whatever came after it', async (t) => {
  const store = new MeshStore()
  const [first] = fc.sample(service, 1)
  const member = { ...sampleWorkload('one'), services: new Map([['a/one', new Map([[80, 80]])]]) }
  const put = (capacity: number): readonly MeshUpsert[] => [
    { kind: 'workload', upsert: { ...member, capacity } },
    { kind: 'workload', upsert: { ...member, uid: 'two', capacity } },
    ...(first === undefined ? [] : [{ kind: 'service' as const, upsert: { ...first, name: `${capacity}` } }]),
  ]
  const states: WeakRef<object>[] = []
  for (let capacity = 1; capacity <= 4; capacity++) {
    store.apply(put(capacity))
    const { workload: workloads, workloadIndex, serviceIndex } = store.snapshot
    const { entries } = workloadIndex.byService
    states.push(...[workloads, workloadIndex, entries, serviceIndex].map((each) => new WeakRef<object>(each)))
  }
  // A WeakRef holds its target until the turn ends in which it was made.
  await setImmediate()
  collectGarbage()
  t.strictSame(
    states.map((state) => state.deref() !== undefined),
    [...new Array<boolean>(12).fill(false), true, true, true, true],
  )
})

t.test('watchers are told once of a batch in slices', async (t) => {
  const store = new MeshStore()
  const told: unknown[] = []
  store.watch((change, snapshot) => told.push([[...change.keys()], snapshot.version, snapshot.workload.size]))
  const draft = store.draft()
  for (const uid of ['one', 'two']) draft.stage([{ kind: 'workload', upsert: sampleWorkload(uid) }])
  draft.commit()
  t.strictSame(told, [[['workload'], 1, 2]])
})
