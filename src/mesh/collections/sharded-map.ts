/**
 * An immutable map that a small change costs little of, however large it is: it is cut into shards, and its successor
 * shares those that the change leaves alone. Changed through sharded-map-draft.ts. Small maps have one shard and keep the
 * order of insertion; larger ones are in no order that means anything.
 */

/** Entries from which on a map has {@link SHARD_COUNT} shards; below, copying all costs less than a millisecond. */
export const SPLIT_SIZE = 4096

/** Shards of a map that has more than one: so many that a slice of a large batch copies a fraction of them. */
export const SHARD_COUNT = 1024

export class ShardedMap<Key extends string | number, Value> implements ReadonlyMap<Key, Value> {
  readonly size: number
  /** One or {@link SHARD_COUNT}, never written again; for the draft of the successor. */
  readonly shards: readonly ReadonlyMap<Key, Value>[]

  /** @param size entries of all `shards` together: to count them would cost more than most changes */
  constructor(shards: readonly ReadonlyMap<Key, Value>[] = [new Map()], size = 0) {
    this.shards = shards
    this.size = size
  }

  get(key: Key): Value | undefined {
    return this.shards[shardIndex(this.shards.length, key)]?.get(key)
  }

  has(key: Key): boolean {
    return this.shards[shardIndex(this.shards.length, key)]?.has(key) ?? false
  }

  forEach(visit: (value: Value, key: Key, map: ReadonlyMap<Key, Value>) => void): void {
    for (const shard of this.shards) {
      shard.forEach((value, key) => {
        visit(value, key, this)
      })
    }
  }

  *keys(): MapIterator<Key> {
    for (const shard of this.shards) yield* shard.keys()
  }

  *values(): MapIterator<Value> {
    for (const shard of this.shards) yield* shard.values()
  }

  *entries(): MapIterator<[Key, Value]> {
    for (const shard of this.shards) yield* shard.entries()
  }

  [Symbol.iterator](): MapIterator<[Key, Value]> {
    return this.entries()
  }
}

/** The shard of `count` that holds a key. */
export function shardIndex(count: number, key: string | number): number {
  if (count === 1) return 0
  return Math.imul(typeof key === 'number' ? key : textHash(key), GOLDEN_RATIO) >>> 22
}

/** 2^32 divided by the golden ratio: multiplied by it, every bit of a key reaches the upper ten, which are the shard. */
const GOLDEN_RATIO = 0x9e3779b1

/** FNV-1a over UTF-16 units. */
function textHash(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  return hash
}
