import fc from 'fast-check'
import t from 'tap'

import { formatSocketAddress, parseSocketAddress } from '../../src/core/address.ts'
import { UpstreamEnds } from '../../src/proxy/upstream-ends.ts'

import type { ConnectionEnds } from '../../src/proxy/upstream-ends.ts'

function endsOf(from: string, to = '10.0.0.2:80'): ConnectionEnds {
  return { from: parseSocketAddress(from), to: parseSocketAddress(to) }
}

/** Few enough connections to meet again, of both families. */
const someEnds = fc
  .tuple(fc.boolean(), fc.nat(40), fc.nat(30))
  .map(([isIpv6, host, port]) =>
    isIpv6
      ? endsOf(`[fd00::${host.toString(16)}]:${port}`, `[fd00::99]:${port % 3}`)
      : endsOf(`10.0.0.${host}:${port}`, `10.0.0.99:${port % 3}`),
  )
  .chain((ends) =>
    fc.constantFrom(undefined, 1, 2).map((namespaceId): ConnectionEnds => ({ ...ends, namespaceId })),
  )

t.test('holds what a multiset of connections holds, for every reader', async (t) => {
  const steps = fc.array(fc.tuple(fc.boolean(), someEnds), { maxLength: 600 })
  fc.assert(
    fc.property(steps, (all) => {
      const table = UpstreamEnds.allocate(0)
      const reader = new UpstreamEnds(table.shared)
      const counts = new Map<string, number>()
      const seen = new Map<string, ConnectionEnds>()
      for (const [isAdded, ends] of all) {
        const key = `${formatSocketAddress(ends.from)} ${formatSocketAddress(ends.to)} ${ends.namespaceId ?? 0}`
        seen.set(key, ends)
        if (isAdded) table.add(ends)
        else table.delete(ends)
        counts.set(key, Math.max(0, (counts.get(key) ?? 0) + (isAdded ? 1 : -1)))
      }
      for (const [key, ends] of seen) {
        if (reader.has(ends) !== (counts.get(key) ?? 0) > 0) throw new Error(`${key} is wrong`)
      }
    }),
    { numRuns: 200 },
  )
  t.pass('every sequence of additions and removals')
})

t.test('a full table takes no more and still answers', async (t) => {
  const table = UpstreamEnds.allocate(0)
  const all = Array.from({ length: 1_024 }, (_, port) => endsOf(`[fd00::1]:${port}`))
  for (const ends of all) table.add(ends)
  const held = all.filter((ends) => table.has(ends))
  t.equal(held.length, 768)
  for (const ends of all) table.delete(ends)
  t.strictSame(
    all.filter((ends) => table.has(ends)),
    [],
  )
})

t.test('the same ports of two families, and one source with two destinations, are two', async (t) => {
  const table = UpstreamEnds.allocate(0)
  table.add(endsOf('0.0.0.1:1', '0.0.0.1:1'))
  t.equal(table.has(endsOf('[::1]:1', '[::1]:1')), false)
  t.equal(table.has(endsOf('0.0.0.1:1', '0.0.0.1:2')), false)
  t.equal(table.has(endsOf('0.0.0.1:2', '0.0.0.1:1')), false)
  t.equal(table.has(endsOf('0.0.0.1:1', '0.0.0.1:1')), true)
})

t.test(
  'the same ends in other network namespaces are others, however many namespaces there have been',
  async (t) => {
    const table = UpstreamEnds.allocate(0)
    const ends = endsOf('[fd00::1]:40000')
    const namespaces = [undefined, 1, 2, 255, 65_535, 65_536, 1_000_000]
    for (const [at, namespaceId] of namespaces.entries()) {
      table.add({ ...ends, namespaceId })
      for (const [other, each] of namespaces.entries())
        t.equal(table.has({ ...ends, namespaceId: each }), other <= at, `${each ?? 'own'} of ${at}`)
    }
    t.notOk(table.has({ ...endsOf('[fd00::1]:40001'), namespaceId: 1 }))
    for (const namespaceId of namespaces) table.delete({ ...ends, namespaceId })
    t.notOk(namespaces.some((namespaceId) => table.has({ ...ends, namespaceId })))
  },
)
