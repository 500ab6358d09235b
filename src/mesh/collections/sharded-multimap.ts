/**
 * Items by a key that several of them may share: the immutable form that indexes of a snapshot have. A key with one item
 * costs no list. Changed through {@link ShardedMultimapDraft}.
 */
import { ShardedMapDraft } from './sharded-map-draft.ts'
import { ShardedMap } from './sharded-map.ts'

export class ShardedMultimap<Key extends string | number, Item extends object> {
  /** For the draft of the successor. */
  readonly entries: ShardedMap<Key, Item | Several<Item>>

  constructor(entries: ShardedMap<Key, Item | Several<Item>> = new ShardedMap()) {
    this.entries = entries
  }

  /** The items of a key in the order in which they came; one that took the place of another keeps that one's. */
  get(key: Key): readonly Item[] {
    const entry = this.entries.get(key)
    if (entry === undefined) return NOTHING
    return entry instanceof Several ? entry.items : [entry]
  }

  /** Something that is the same object in two states of the map if and only if {@link get} gives the same items. */
  identityOf(key: Key): object | undefined {
    return this.entries.get(key)
  }
}

/** Makes the successor of a {@link ShardedMultimap}. */
export class ShardedMultimapDraft<Key extends string | number, Item extends object> {
  readonly #base: ShardedMultimap<Key, Item>
  readonly #entries: ShardedMapDraft<Key, Item | Several<Item>>
  /** Marks the lists of this draft. Were it the draft itself, its lists would keep every earlier state of the map. */
  readonly #mark = {}

  constructor(base: ShardedMultimap<Key, Item>) {
    this.#base = base
    this.#entries = new ShardedMapDraft(base.entries)
  }

  add(key: Key, item: Item): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) this.#entries.set(key, item)
    else this.#writable(key, entry).push(item)
  }

  remove(key: Key, item: Item): void {
    const entry = this.#entries.get(key)
    if (entry === item) this.#entries.delete(key)
    if (!(entry instanceof Several)) return
    const items = this.#writable(key, entry)
    const position = items.indexOf(item)
    if (position >= 0) items.splice(position, 1)
    const [last] = items
    if (items.length === 1 && last !== undefined) this.#entries.set(key, last)
  }

  /** Puts `after` where `before` is. */
  replace(key: Key, before: Item, after: Item): void {
    const entry = this.#entries.get(key)
    if (entry === before) this.#entries.set(key, after)
    if (!(entry instanceof Several)) return
    const items = this.#writable(key, entry)
    const position = items.indexOf(before)
    if (position >= 0) items[position] = after
  }

  /** The successor, or the base itself when nothing has been written. The draft must not be written to afterwards. */
  seal(): ShardedMultimap<Key, Item> {
    const entries = this.#entries.seal()
    return entries === this.#base.entries ? this.#base : new ShardedMultimap(entries)
  }

  /** A list that nobody else has seen yet, in the place of the entry of a key. */
  #writable(key: Key, entry: Item | Several<Item>): Item[] {
    if (entry instanceof Several && entry.mark === this.#mark) return entry.items
    const own = new Several(this.#mark, entry instanceof Several ? [...entry.items] : [entry])
    this.#entries.set(key, own)
    return own.items
  }
}

const NOTHING: readonly never[] = []

/** The items of a key that has more than one; written by the draft that made it and by nobody after that. */
class Several<Item extends object> {
  readonly mark: object
  readonly items: Item[]

  constructor(mark: object, items: Item[]) {
    this.mark = mark
    this.items = items
  }
}
