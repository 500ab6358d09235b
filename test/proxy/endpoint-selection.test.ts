import fc from 'fast-check'
import t from 'tap'

import { FAMILIES, familyOrder } from '../../src/core/family.ts'
import { seededRandom } from '../../src/core/random.ts'
import { FamilyHealth } from '../../src/proxy/endpoint-health.ts'
import { orderAttempts, selectEndpoints } from '../../src/proxy/endpoint-selection.ts'
import { UpstreamState } from '../../src/proxy/upstream-state.ts'
import { upstreamOf } from '../fixtures/upstreams.ts'

import type { Test } from 'tap'
import type { Family } from '../../src/core/family.ts'
import type { Locality } from '../../src/mesh/endpoint.ts'
import type { LoadBalancing, Upstream } from '../../src/mesh/upstream.ts'
import type { SelectionContext } from '../../src/proxy/endpoint-selection.ts'
import type { TestEndpoint } from '../fixtures/upstreams.ts'

const BALANCERS: readonly LoadBalancing[] = ['round-robin', 'least-request', 'random']
const V6_FIRST: readonly Family[] = ['ipv6', 'ipv4']
const V4_FIRST: readonly Family[] = ['ipv4', 'ipv6']

function contextOf(parts: Partial<SelectionContext> = {}): SelectionContext {
  return {
    families: V6_FIRST,
    state: new UpstreamState(),
    health: new FamilyHealth(),
    nowMs: 0,
    random: seededRandom(1),
    count: 1,
    ...parts,
  }
}

/** The share of the picks that each endpoint gets. */
function shares(upstream: Upstream, context: SelectionContext, picks = 100_000): (id: string) => number {
  const counts = new Map<string, number>()
  for (let pick = 0; pick < picks; pick++) {
    const id = selectEndpoints(upstream, context)[0]?.id ?? 'none'
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return (id) => (counts.get(id) ?? 0) / picks
}

function isAbout(t: Test, actual: number, wanted: number, name: string): void {
  t.ok(Math.abs(actual - wanted) <= 0.02, `${name}: ${actual}, wanted ${wanted}`)
}

function ids(upstream: Upstream, context: SelectionContext): readonly string[] {
  return selectEndpoints(upstream, context).map(({ id }) => id)
}

/** The attempts as text: endpoint, family and the place of the address in the endpoint. */
function attempts(upstream: Upstream, context: SelectionContext): string {
  return orderAttempts(upstream.endpoints, upstream, context)
    .map(
      ({ endpoint, address, family }) =>
        `${endpoint.id}${family.slice(-1)}.${endpoint.addresses.indexOf(address)}`,
    )
    .join(' ')
}

for (const loadBalancing of BALANCERS) {
  t.test(`rule 5: ${loadBalancing} respects weights within 2 %`, async (t) => {
    const upstream = upstreamOf(
      [1, 2, 3, 4].map((weight) => ({ id: `w${weight}`, weight })),
      { loadBalancing },
    )
    const share = shares(upstream, contextOf())
    for (const weight of [1, 2, 3, 4]) isAbout(t, share(`w${weight}`), weight / 10, `w${weight}`)
  })

  t.test(`rule 5: ${loadBalancing} prefers the native family and respects weights among those`, async (t) => {
    const upstream = upstreamOf(
      [
        { id: 'dual', weight: 1 },
        { id: 'six', families: ['ipv6'], weight: 3 },
        { id: 'four', families: ['ipv4'], weight: 100 },
      ],
      { loadBalancing },
    )
    const share = shares(upstream, contextOf())
    isAbout(t, share('dual'), 0.25, 'dual')
    isAbout(t, share('six'), 0.75, 'six')
    t.equal(share('four'), 0)
    t.equal(shares(upstream, contextOf({ families: ['ipv4'] }), 1_000)('six'), 0)
  })
}

t.test('rule 5: clients of one family do not disturb the shares among those of the other', async (t) => {
  const upstream = upstreamOf([
    { id: 'dual' },
    { id: 'four-1', families: ['ipv4'] },
    { id: 'four-3', families: ['ipv4'], weight: 3 },
  ])
  const context = contextOf()
  const counts = new Map<string | undefined, number>()
  for (let pick = 0; pick < 10_000; pick++) {
    for (let other = 0; other < 7; other++) selectEndpoints(upstream, context)
    const id = selectEndpoints(upstream, { ...context, families: V4_FIRST })[0]?.id
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  isAbout(t, (counts.get('dual') ?? 0) / 10_000, 0.2, 'dual')
  isAbout(t, (counts.get('four-1') ?? 0) / 10_000, 0.2, 'four-1')
  isAbout(t, (counts.get('four-3') ?? 0) / 10_000, 0.6, 'four-3')
})

t.test('round robin is a strict rotation over equal weights', async (t) => {
  const upstream = upstreamOf(['a', 'b', 'c'].map((id) => ({ id })))
  const context = contextOf({ random: { next: () => 0 } })
  t.strictSame(
    [1, 2, 3, 4, 5, 6].flatMap(() => ids(upstream, context)),
    ['a', 'b', 'c', 'a', 'b', 'c'],
  )
})

t.test('further endpoints do not use up turns', async (t) => {
  const upstream = upstreamOf(['a', 'b', 'c'].map((id) => ({ id })))
  const share = shares(upstream, contextOf({ count: 3 }), 3_000)
  for (const id of ['a', 'b', 'c']) t.equal(share(id), 1 / 3)
})

t.test('least-request takes the one of two with fewer connections per weight', async (t) => {
  const upstream = upstreamOf([{ id: 'busy' }, { id: 'idle' }], { loadBalancing: 'least-request' })
  const context = contextOf()
  context.state.connected('busy')
  isAbout(t, shares(upstream, context, 20_000)('idle'), 0.75, 'both draws must hit the busy one')
  const weighted = upstreamOf([{ id: 'busy', weight: 4 }, { id: 'idle' }], { loadBalancing: 'least-request' })
  context.state.connected('idle')
  isAbout(t, shares(weighted, context, 20_000)('busy'), 1 - 0.2 ** 2, 'a fourth per weight is less than one')
})

t.test('rule 5: a native family that failed gives way to another endpoint, not to nothing', async (t) => {
  const upstream = upstreamOf([{ id: 'a' }, { id: 'b' }, { id: 'four', families: ['ipv4'] }])
  const context = contextOf()
  const share = (nowMs: number): ((id: string) => number) => shares(upstream, { ...context, nowMs }, 1_000)
  context.health.failed({ endpointId: 'a', family: 'ipv6', reason: 'refused' }, 0)
  t.equal(share(1)('b'), 1)
  context.health.failed({ endpointId: 'b', family: 'ipv6', reason: 'refused' }, 1_000)
  const other = share(1_000)
  for (const id of ['a', 'b', 'four']) isAbout(t, other(id), 1 / 3, `${id} by its IPv4 address`)
  t.equal(share(10_000)('a'), 1, 'a is due for another try')
  context.health.succeeded({ endpointId: 'b', family: 'ipv6' })
  isAbout(t, share(10_000)('b'), 0.5, 'both are native again')
})

t.test('rule 7: a failure is seen among any number of failures elsewhere', async (t) => {
  for (const elsewhere of [0, 1, 5_000]) {
    const upstream = upstreamOf([{ id: 'a' }, { id: 'b' }])
    const context = contextOf()
    t.ok(shares(upstream, context, 10)('a') > 0)
    context.health.failed({ endpointId: 'a', family: 'ipv6', reason: 'refused' }, 0)
    for (let index = 0; index < elsewhere; index++) {
      context.health.failed({ endpointId: `else-${index}`, family: 'ipv6', reason: 'refused' }, 0)
    }
    t.equal(shares(upstream, context, 10)('a'), 0)
    context.health.failed({ endpointId: 'else', family: 'ipv6', reason: 'refused' }, 0)
    context.health.succeeded({ endpointId: 'a', family: 'ipv6' })
    t.ok(shares(upstream, context, 10)('a') > 0)
  }
})

t.test('rule 7: when every family of every endpoint failed all are still chosen from', async (t) => {
  const upstream = upstreamOf([{ id: 'a' }, { id: 'b' }])
  const context = contextOf()
  for (const endpointId of ['a', 'b']) {
    for (const family of FAMILIES) context.health.failed({ endpointId, family, reason: 'timeout' }, 0)
  }
  const share = shares(upstream, context, 1_000)
  t.strictSame([share('a'), share('b')], [0.5, 0.5])
})

t.test('rule 5: the native family does not cross priorities', async (t) => {
  const upstream = upstreamOf([
    { id: 'near', families: ['ipv4'] },
    { id: 'far', families: ['ipv6'], priority: 1 },
  ])
  t.strictSame(ids(upstream, contextOf({ count: 2 })), ['near', 'far'])
  t.strictSame(ids(upstream, contextOf({ families: ['ipv6'], count: 2 })), ['far'])
})

t.test('rule 5: a priority without a usable family gets no share', async (t) => {
  const upstream = upstreamOf([
    { id: 'near', families: ['ipv4'] },
    { id: 'far', families: ['ipv6'], priority: 1, health: 'unhealthy' },
  ])
  t.strictSame(ids(upstream, contextOf({ families: ['ipv6'] })), ['far'])
})

t.test('a priority spills over by its available endpoints', async (t) => {
  const upstream = upstreamOf([
    { id: 'a' },
    { id: 'b', health: 'unhealthy' },
    { id: 'far-1', priority: 7 },
    { id: 'far-2', priority: 7 },
  ])
  const share = shares(upstream, contextOf())
  isAbout(t, share('a'), 0.7, 'a')
  t.equal(share('b'), 0)
  isAbout(t, share('far-1') + share('far-2'), 0.3, 'far')
})

t.test('an endpoint that is ejected is not chosen until its time is over', async (t) => {
  const outlierDetection = {
    consecutiveConnectFailures: 1,
    baseEjectionMs: 30_000,
    maxEjectionMs: 300_000,
    maxEjectionPercent: 100,
    canAlwaysEjectOne: false,
  }
  const upstream = upstreamOf([{ id: 'a' }, { id: 'b' }, { id: 'c' }], { outlierDetection })
  const context = contextOf()
  t.ok(shares(upstream, context, 300)('a') > 0)
  context.state.ejection.failed('a', { settings: outlierDetection, endpointCount: 3, nowMs: 0 })
  t.equal(shares(upstream, context, 300)('a'), 0)
  isAbout(t, shares(upstream, { ...context, nowMs: 30_000 }, 3_000)('a'), 1 / 3, 'it is back')
})

t.test('degraded endpoints are used where healthy ones do not suffice', async (t) => {
  const upstream = upstreamOf([
    { id: 'healthy' },
    { id: 'degraded', health: 'degraded' },
    { id: 'unhealthy', health: 'unhealthy' },
  ])
  // 1 of 3: 46 % each, scaled to 50 % each.
  const share = shares(upstream, contextOf())
  isAbout(t, share('healthy'), 0.5, 'healthy')
  isAbout(t, share('degraded'), 0.5, 'degraded')
  t.equal(share('unhealthy'), 0)
})

t.test('in panic every endpoint is used; without panic only what is available', async (t) => {
  const endpoints: readonly TestEndpoint[] = ['a', 'b', 'c', 'd'].map((id, index) => ({
    id,
    health: index === 0 ? 'healthy' : 'unhealthy',
  }))
  const inPanic = shares(upstreamOf(endpoints), contextOf(), 10_000)
  for (const id of ['a', 'b', 'c', 'd']) isAbout(t, inPanic(id), 0.25, id)
  const calm = upstreamOf(endpoints, { panicThresholdPercent: 0 })
  t.strictSame(ids(calm, contextOf({ count: 4 })), ['a'], 'nor behind the one that is')
})

t.test('what is not available is tried when nothing else is there, even with panic off', async (t) => {
  const endpoints: readonly TestEndpoint[] = [
    { id: 'a', health: 'unhealthy' },
    { id: 'b', health: 'unhealthy', priority: 1 },
  ]
  const upstream = upstreamOf(endpoints, { panicThresholdPercent: 0 })
  t.strictSame(ids(upstream, contextOf({ count: 3 })), ['a', 'b'])
})

t.test('localities share the load by their weight and by what they have available', async (t) => {
  const zone = (name: string): Locality => ({ region: 'r', zone: name, subzone: '' })
  const endpoints: readonly TestEndpoint[] = [
    { id: 'x1', locality: zone('x'), localityWeight: 3 },
    { id: 'x2', locality: zone('x'), localityWeight: 3, health: 'unhealthy' },
    { id: 'y1', locality: zone('y'), localityWeight: 1, families: ['ipv4'] },
    { id: 'y2', locality: zone('y'), localityWeight: 1, families: ['ipv4'] },
    { id: 'z1', locality: zone('z') },
  ]
  const share = shares(upstreamOf(endpoints, { localityWeighted: true }), contextOf())
  // x: 3 × 70 %, y: 1 × 100 %.
  isAbout(t, share('x1'), 2.1 / 3.1, 'x')
  isAbout(t, share('y1'), 0.5 / 3.1, 'half of y, although it lacks the native family')
  t.equal(share('z1'), 0, 'a locality without a weight')
  t.equal(shares(upstreamOf(endpoints), contextOf(), 100)('y1'), 0, 'no localities, so the family decides')
  const unweighted = [
    { id: 'a', locality: zone('x') },
    { id: 'b', locality: zone('y') },
  ]
  t.equal(shares(upstreamOf(unweighted, { localityWeighted: true }), contextOf(), 100)('a'), 0.5)
})

t.test('rule 6: further endpoints come by priority, then by tier', async (t) => {
  const upstream = upstreamOf([
    { id: 'far', priority: 1 },
    { id: 'four', families: ['ipv4'] },
    { id: 'six', families: ['ipv6'] },
    { id: 'failed', families: ['ipv6'] },
  ])
  const context = contextOf({ count: 9 })
  context.health.failed({ endpointId: 'failed', family: 'ipv6', reason: 'refused' }, 0)
  t.strictSame(ids(upstream, context), ['six', 'four', 'failed', 'far'])
  t.strictSame(ids(upstream, { ...context, count: 2 }), ['six', 'four'])
  t.strictSame(ids(upstream, { ...context, count: 0 }), [])
})

t.test('rule 6: further endpoints are drawn by weight', async (t) => {
  const upstream = upstreamOf([
    { id: 'first' },
    { id: 'heavy', weight: 3, families: ['ipv4'] },
    { id: 'light', weight: 1, families: ['ipv4'] },
  ])
  const context = contextOf({ count: 2 })
  let heavy = 0
  for (let pick = 0; pick < 20_000; pick++) if (ids(upstream, context)[1] === 'heavy') heavy++
  isAbout(t, heavy / 20_000, 0.75, 'heavy')
})

t.test('an update of the upstream is seen at once', async (t) => {
  const context = contextOf({ count: 2 })
  t.strictSame([...ids(upstreamOf([{ id: 'a' }, { id: 'b' }]), context)].sort(), ['a', 'b'])
  t.strictSame([...ids(upstreamOf([{ id: 'b' }, { id: 'c' }]), context)].sort(), ['b', 'c'])
})

t.test('rule 6: the attempts go endpoint by endpoint, native addresses first', async (t) => {
  const upstream = upstreamOf([{ id: 'a', families: ['ipv4', 'ipv6', 'ipv4'] }, { id: 'b' }])
  t.equal(attempts(upstream, contextOf()), 'a6.1 a4.0 a4.2 b6.1 b4.0')
  t.equal(attempts(upstream, contextOf({ families: V4_FIRST })), 'a4.0 a4.2 a6.1 b4.0 b6.1')
  t.equal(attempts(upstream, contextOf({ families: ['ipv4'] })), 'a4.0 a4.2 b4.0')
  t.equal(attempts(upstream, contextOf({ families: [] })), '')
})

t.test('rule 6: an upstream may have the families interleaved', async (t) => {
  const families: readonly Family[] = ['ipv6', 'ipv6', 'ipv6', 'ipv4', 'ipv4', 'ipv4', 'ipv4']
  const expected = [
    [1, 'a6.0 a4.3 a6.1 a4.4 a6.2 a4.5 a4.6'],
    [2, 'a6.0 a6.1 a4.3 a6.2 a4.4 a4.5 a4.6'],
    [3, 'a6.0 a6.1 a6.2 a4.3 a4.4 a4.5 a4.6'],
    [9, 'a6.0 a6.1 a6.2 a4.3 a4.4 a4.5 a4.6'],
  ] as const
  for (const [firstFamilyCount, order] of expected) {
    t.equal(attempts(upstreamOf([{ id: 'a', families }], { firstFamilyCount }), contextOf()), order)
  }
})

t.test('rule 7: an unhealthy family comes last of all attempts and is not dropped', async (t) => {
  const upstream = upstreamOf([{ id: 'a' }, { id: 'b' }])
  const context = contextOf()
  context.health.failed({ endpointId: 'a', family: 'ipv6', reason: 'refused' }, 0)
  t.equal(attempts(upstream, context), 'a4.0 b6.1 b4.0 a6.1')
  context.health.failed({ endpointId: 'b', family: 'ipv4', reason: 'refused' }, 0)
  t.equal(attempts(upstream, context), 'a4.0 b6.1 a6.1 b4.0')
  t.equal(attempts(upstream, { ...context, nowMs: 10_000 }), 'a6.1 a4.0 b6.1 b4.0')
})

const someEndpoint = fc.record({
  families: fc.array(fc.constantFrom(...FAMILIES), { minLength: 1, maxLength: 4 }),
  weight: fc.integer({ min: 1, max: 5 }),
  priority: fc.nat({ max: 2 }),
  health: fc.constantFrom('healthy' as const, 'degraded' as const, 'unhealthy' as const),
  localityWeight: fc.nat({ max: 3 }),
  zone: fc.constantFrom('x', 'y'),
})

/** Any upstream, any memory of failures, any client. `make` builds the same thing each time. */
const someCase = fc
  .record({
    endpoints: fc.array(someEndpoint, { maxLength: 7 }),
    loadBalancing: fc.constantFrom(...BALANCERS),
    localityWeighted: fc.boolean(),
    panicThresholdPercent: fc.constantFrom(0, 50),
    firstFamilyCount: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    failures: fc.array(fc.tuple(fc.nat({ max: 6 }), fc.constantFrom(...FAMILIES)), { maxLength: 8 }),
    policy: fc.constantFrom('native-first' as const, 'native-only' as const, 'ipv4-first' as const),
    native: fc.constantFrom(...FAMILIES),
    enabled: fc.subarray([...FAMILIES]),
    count: fc.nat({ max: 8 }),
    seed: fc.nat(),
  })
  .map(({ endpoints, failures, policy, native, enabled, count, seed, firstFamilyCount, ...settings }) => ({
    failures: new Set(failures.map(([index, family]) => `${index} ${family}`)),
    make: () => {
      const health = new FamilyHealth()
      for (const [index, family] of failures) {
        health.failed({ endpointId: `${index}`, family, reason: 'refused' }, 0)
      }
      const families = familyOrder(policy, native, enabled)
      const upstream = upstreamOf(
        endpoints.map(({ zone, ...endpoint }, index) => ({
          id: `${index}`,
          locality: { region: '', zone, subzone: '' },
          ...endpoint,
        })),
        { ...settings, ...(firstFamilyCount !== undefined && { firstFamilyCount }) },
      )
      return { upstream, context: contextOf({ health, families, count, random: seededRandom(seed) }) }
    },
  }))

type Case = typeof someCase extends fc.Arbitrary<infer Value> ? Value : never

function holds(predicate: (value: Case) => boolean): void {
  fc.assert(fc.property(someCase, predicate), { numRuns: 400 })
}

t.test(
  'rule 5: chooses distinct endpoints with an allowed family, and none only when there is none',
  async () => {
    holds(({ make }) => {
      const { upstream, context } = make()
      const usable = upstream.endpoints.filter(({ addresses }) =>
        addresses.some(({ ip }) => context.families.includes(ip.family)),
      )
      for (let pick = 0; pick < 5; pick++) {
        const chosen = selectEndpoints(upstream, context)
        if (new Set(chosen).size !== chosen.length || chosen.length > context.count) return false
        if (!chosen.every((endpoint) => usable.includes(endpoint))) return false
        if ((chosen.length === 0) !== (usable.length === 0 || context.count === 0)) return false
      }
      return true
    })
  },
)

t.test(
  'rule 5: the first choice has no better one among endpoints of its priority, health and locality',
  async () => {
    holds(({ make, failures }) => {
      const { upstream, context } = make()
      const chosen = selectEndpoints(upstream, context)[0]
      if (chosen === undefined) return true
      const isGood = (id: string, family: Family | undefined): boolean => {
        const endpoint = upstream.endpoints.find((other) => other.id === id)
        return (
          family !== undefined &&
          endpoint?.addresses.some(({ ip }) => ip.family === family) === true &&
          !failures.has(`${id} ${family}`)
        )
      }
      const isBeside = upstream.endpoints.filter(
        ({ priority, health, locality }) =>
          priority === chosen.priority &&
          health === chosen.health &&
          locality?.zone === chosen.locality?.zone,
      )
      const [first, second] = context.families
      if (isGood(chosen.id, first)) return true
      if (isBeside.some(({ id }) => isGood(id, first))) return false
      return isGood(chosen.id, second) || !isBeside.some(({ id }) => isGood(id, second))
    })
  },
)

t.test('rules 5 and 6: equal input gives equal output', async () => {
  holds(({ make }) => {
    const [a, b] = [make(), make()].map(({ upstream, context }) =>
      Array.from({ length: 10 }, () => {
        const chosen = selectEndpoints(upstream, context)
        const targets = orderAttempts(chosen, upstream, context)
        return targets.map(({ endpoint, address }) => `${endpoint.id} ${address.ip.text}`).join()
      }).join(),
    )
    return a === b
  })
})

t.test(
  'rule 6: every usable address of the chosen endpoints is tried exactly once, and no other',
  async () => {
    holds(({ make }) => {
      const { upstream, context } = make()
      const chosen = selectEndpoints(upstream, context)
      const targets = orderAttempts(chosen, upstream, context)
      const usable = chosen.flatMap(({ addresses }) =>
        addresses.filter(({ ip }) => context.families.includes(ip.family)),
      )
      const tried = targets.map(({ address }) => address)
      return (
        tried.length === usable.length &&
        usable.every((address) => tried.includes(address)) &&
        targets.every(({ endpoint, address, family }) => {
          return endpoint.addresses.includes(address) && address.ip.family === family
        })
      )
    })
  },
)

t.test('rule 7: no healthy family is tried after an unhealthy one', async () => {
  holds(({ make, failures }) => {
    const { upstream, context } = make()
    const isBad = orderAttempts(upstream.endpoints, upstream, context).map(({ endpoint, family }) =>
      failures.has(`${endpoint.id} ${family}`),
    )
    return isBad.every((bad, at) => !bad || isBad.slice(at).every(Boolean))
  })
})
