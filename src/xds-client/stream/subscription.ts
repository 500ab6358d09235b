/**
 * What a client wants of one type and what it has of it. Outlives streams: with it a new stream begins where the last one
 * ended. Knows nothing of nonces or of messages.
 */

/**
 * - `wildcard`: everything; names are never sent, istiod would answer one with everything again
 * - `named`: a set of names that changes with time, such as the assignments of clusters
 * - `on-demand`: as `named`, and what the control plane sends beside it (the workloads of a service); delta only
 */
export type Interest = 'wildcard' | 'named' | 'on-demand'

/** A type that a client subscribes to. */
export interface TypeInterest {
  readonly typeUrl: string
  readonly interest: Interest
}

/** Names that changed since the last request. */
export interface NameChanges {
  readonly subscribe: readonly string[]
  readonly unsubscribe: readonly string[]
}

export class Subscription {
  readonly typeUrl: string
  readonly interest: Interest
  /** The last version that was accepted as a whole; empty before. */
  version = ''
  /** Grows with each change of `known`. */
  revision = 0
  readonly #wanted = new Set<string>()
  /** Accepted resources by name, with their versions. */
  readonly #known = new Map<string, string>()
  /** Aliases to names of accepted resources; not for wildcards, where nobody asks by alias. */
  readonly #owners = new Map<string, string>()
  /** What the control plane was told on this stream. */
  readonly #told = new Set<string>()
  readonly #subscribe = new Set<string>()
  readonly #unsubscribe = new Set<string>()

  constructor({ typeUrl, interest }: TypeInterest) {
    this.typeUrl = typeUrl
    this.interest = interest
  }

  /** The names that are asked for; empty for a wildcard. */
  get names(): ReadonlySet<string> {
    return this.#wanted
  }

  /** Name and version of every resource that was accepted and is still there. */
  get known(): ReadonlyMap<string, string> {
    return this.#known
  }

  get hasChanges(): boolean {
    return this.#subscribe.size > 0 || this.#unsubscribe.size > 0
  }

  /** True when a resource of these names was asked for. */
  isAskedFor(name: string, aliases: readonly string[]): boolean {
    if (this.interest !== 'named') return true
    return this.#wanted.has(name) || aliases.some((alias) => this.#wanted.has(alias))
  }

  /** Wants these names and no others. Linear in the number of names. */
  setNames(names: Iterable<string>): void {
    if (this.interest === 'wildcard') return
    const wanted = new Set(names)
    this.unsubscribe([...this.#wanted].filter((name) => !wanted.has(name)))
    this.subscribe([...wanted].filter((name) => !this.#wanted.has(name)))
  }

  /** Wants these names too. One that is wanted already is asked for again, which makes the control plane send it again. */
  subscribe(names: Iterable<string>): void {
    if (this.interest === 'wildcard') return
    for (const name of names) {
      this.#wanted.add(name)
      this.#unsubscribe.delete(name)
      this.#subscribe.add(name)
    }
  }

  /** Wants these names no longer; what is known of them is forgotten. */
  unsubscribe(names: Iterable<string>): void {
    for (const name of names) {
      if (!this.#wanted.delete(name)) continue
      this.#subscribe.delete(name)
      if (this.#told.has(name)) this.#unsubscribe.add(name)
      this.#forget(name)
    }
  }

  /** Everything that is wanted is about to be told to a new stream: there is nothing to change on it. */
  beginStream(): void {
    this.#told.clear()
    this.takeChanges()
    for (const name of this.#wanted) this.#told.add(name)
  }

  /** The changes since the last call; they are told from now on. */
  takeChanges(): NameChanges {
    const changes = { subscribe: [...this.#subscribe], unsubscribe: [...this.#unsubscribe] }
    this.#subscribe.clear()
    this.#unsubscribe.clear()
    for (const name of changes.unsubscribe) this.#told.delete(name)
    for (const name of changes.subscribe) this.#told.add(name)
    return changes
  }

  /** A resource was accepted. */
  accept(name: string, version: string, aliases: readonly string[]): void {
    // Unsubscribed while it was being applied: at the next stream it must not look like something we keep.
    if (!this.isAskedFor(name, aliases)) return
    // An equal text that takes the place of the old one would leave a hole in the heap.
    if (this.#known.get(name) !== version) {
      this.#known.set(name, version)
      this.revision++
    }
    if (this.interest !== 'wildcard') for (const alias of aliases) this.#owners.set(alias, name)
  }

  /** A resource is gone; a name that is wanted stays wanted, because it may come back. */
  remove(name: string): void {
    this.#delete(name)
    this.#owners.delete(name)
  }

  /** Of a whole state: what is not in `names` is gone. */
  retain(names: ReadonlySet<string>): void {
    for (const name of this.#known.keys()) if (!names.has(name)) this.#delete(name)
  }

  #forget(name: string): void {
    this.#delete(this.#owners.get(name) ?? name)
    this.remove(name)
  }

  #delete(name: string): void {
    if (this.#known.delete(name)) this.revision++
  }
}
