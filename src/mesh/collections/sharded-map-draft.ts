/** Makes the successor of a {@link ShardedMap}: copies a shard when it is first written to, and shares the others. */
import { SHARD_COUNT, SPLIT_SIZE, ShardedMap, shardIndex } from './sharded-map.ts'

/** What is a draft's own once something is written: the shards of its successor, and which of them are copies. */
interface OwnShards<Key, Value> {
  readonly shards: ReadonlyMap<Key, Value>[]
  /** By index: few of them where the change is small. */
  readonly copies: Map<number, Map<Key, Value>>
}

export class ShardedMapDraft<Key extends string | number, Value> {
  readonly #base: ShardedMap<Key, Value>
  /** Those of the base until something is written. */
  #shards: readonly ReadonlyMap<Key, Value>[]
  #own: OwnShards<Key, Value> | undefined
  #size: number

  constructor(base: ShardedMap<Key, Value>) {
    this.#base = base
    this.#shards = base.shards
    this.#size = base.size
  }

  get(key: Key): Value | undefined {
    return this.#shards[shardIndex(this.#shards.length, key)]?.get(key)
  }

  set(key: Key, value: Value): void {
    const shard = this.#writable(key)
    const sizeBefore = shard.size
    shard.set(key, value)
    this.#size += shard.size - sizeBefore
    if (this.#shards.length === 1 && this.#size > SPLIT_SIZE) this.#split()
  }

  delete(key: Key): void {
    const index = shardIndex(this.#shards.length, key)
    if (this.#shards[index]?.has(key) !== true) return
    this.#writable(key).delete(key)
    this.#size--
  }

  /** The successor, or the base itself when nothing has been written. The draft must not be written to afterwards. */
  seal(): ShardedMap<Key, Value> {
    if (this.#own === undefined) return this.#base
    return this.#size === 0 ? new ShardedMap() : new ShardedMap(this.#shards, this.#size)
  }

  #writable(key: Key): Map<Key, Value> {
    const { shards, copies } = this.#owned()
    const index = shardIndex(shards.length, key)
    let copy = copies.get(index)
    if (copy === undefined) {
      copy = new Map(shards[index])
      copies.set(index, copy)
      shards[index] = copy
    }
    return copy
  }

  #owned(): OwnShards<Key, Value> {
    if (this.#own === undefined) {
      this.#own = { shards: [...this.#base.shards], copies: new Map() }
      this.#shards = this.#own.shards
    }
    return this.#own
  }

  #split(): void {
    const shards = Array.from({ length: SHARD_COUNT }, () => new Map<Key, Value>())
    for (const shard of this.#shards)
      for (const [key, value] of shard) shards[shardIndex(SHARD_COUNT, key)]?.set(key, value)
    this.#own = { shards: [...shards], copies: new Map(shards.entries()) }
    this.#shards = this.#own.shards
  }
}
