/**
 * Keeps one object for equal values. A mesh repeats itself: a hundred thousand workloads share a few namespaces, nodes
 * and service maps, and held once each they cost next to nothing.
 */

/** A bound far above what a mesh has of different values; past it, sharing starts anew and nothing else happens. */
const DEFAULT_MAX_ENTRIES = 131_072

/** Values by a key that says all about them. */
export class InternPool<Value> {
  readonly #maxEntries: number
  #held = new Map<string, Value>()

  constructor(maxEntries: number = DEFAULT_MAX_ENTRIES) {
    this.#maxEntries = maxEntries
  }

  get(key: string): Value | undefined {
    return this.#held.get(key)
  }

  /** Keeps `value` for the next one with its key. */
  keep(key: string, value: Value): Value {
    // What is gone from the mesh must not stay here for ever.
    if (this.#held.size >= this.#maxEntries) this.#held = new Map()
    this.#held.set(key, value)
    return value
  }
}

/** Texts, each held once. */
export class TextPool {
  readonly #texts: InternPool<string>

  constructor(maxEntries?: number) {
    this.#texts = new InternPool(maxEntries)
  }

  share(text: string): string {
    return text === '' ? '' : (this.#texts.get(text) ?? this.#texts.keep(text, text))
  }
}
