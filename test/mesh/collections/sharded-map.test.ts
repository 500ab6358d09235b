/** The immutable map of the snapshots, against Map, below and above the size at which it is split. */
import fc from 'fast-check'
import t from 'tap'

import { ShardedMapDraft } from '../../../src/mesh/collections/sharded-map-draft.ts'
import { SHARD_COUNT, SPLIT_SIZE, ShardedMap, shardIndex } from '../../../src/mesh/collections/sharded-map.ts'

type Step = readonly ['set' | 'delete', number]

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.tuple(fc.constantFrom('set' as const, 'delete' as const), fc.nat({ max: 40 })),
  { maxLength: 60 },
)

/** A map of `size` entries, with the keys of whole numbers. */
function filled(size: number): ShardedMap<string, number> {
  const draft = new ShardedMapDraft(new ShardedMap<string, number>())
  for (let n = 0; n < size; n++) draft.set(`${n}`, n)
  return draft.seal()
}

function entriesOf(map: ReadonlyMap<string, number>): readonly (readonly [string, number])[] {
  return [...map].sort(([a], [b]) => a.localeCompare(b))
}

t.test('is what a Map would be after any steps, and leaves its predecessor as it was', async (t) => {
  for (const size of [0, 20, SPLIT_SIZE - 10, SPLIT_SIZE + 10]) {
    const base = filled(size)
    const entriesBefore = entriesOf(base)
    fc.assert(
      fc.property(steps, (steps) => {
        const model = new Map(base)
        const draft = new ShardedMapDraft(base)
        for (const [verb, n] of steps) {
          const key = `${n % 2 === 0 ? n : size + n}`
          if (verb === 'set') {
            model.set(key, -n)
            draft.set(key, -n)
          } else {
            model.delete(key)
            draft.delete(key)
          }
          t.equal(draft.get(key), model.get(key))
        }
        const sealed = draft.seal()
        t.strictSame(entriesOf(sealed), entriesOf(model))
        t.equal(sealed.size, model.size)
        for (const key of model.keys()) t.ok(sealed.has(key) && sealed.get(key) === model.get(key))
        t.strictSame([...sealed.values()].sort(), [...model.values()].sort())
        t.strictSame(entriesOf(base), entriesBefore)
      }),
      { numRuns: 20 },
    )
  }
})

t.test('copies no more shards than the change touches', async (t) => {
  const base = filled(SPLIT_SIZE + 1)
  t.equal(base.shards.length, SHARD_COUNT)
  const draft = new ShardedMapDraft(base)
  draft.set('7', 70)
  const sealed = draft.seal()
  const copied = sealed.shards.filter((shard, index) => shard !== base.shards[index])
  t.strictSame(copied, [sealed.shards[shardIndex(SHARD_COUNT, '7')]])
})

t.test('is the same map after a draft that nothing was written to', async (t) => {
  const base = filled(3)
  const draft = new ShardedMapDraft(base)
  draft.delete('absent')
  t.equal(draft.seal(), base)
})

t.test('spreads numbers and texts over all shards', async (t) => {
  for (const keyOf of [
    (n: number) => n,
    (n: number) => n << 16,
    (n: number) => `Kubernetes//Pod/shop/web-${n}`,
  ]) {
    const counts = new Array<number>(SHARD_COUNT).fill(0)
    for (let n = 0; n < 100 * SHARD_COUNT; n++) {
      const index = shardIndex(SHARD_COUNT, keyOf(n))
      counts[index] = (counts[index] ?? 0) + 1
    }
    t.ok(
      Math.min(...counts) > 30 && Math.max(...counts) < 300,
      `${Math.min(...counts)} to ${Math.max(...counts)}`,
    )
  }
})
