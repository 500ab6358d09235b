/**
 * The end of a program as something that everybody can watch: listeners close, connections finish or are cut at the
 * deadline. This module only says when; who holds a resource ends it.
 */

/** `graceful`: take nothing new, finish what runs. `immediate`: end what runs, now. */
export type DrainMode = 'graceful' | 'immediate'

/** Tells watchers, at most once per mode, that the program ends. `graceful` may be followed by `immediate`. */
export class Drain {
  readonly #watchers = new Set<(mode: DrainMode) => void>()
  #mode: DrainMode | undefined

  /** The drain in force, `undefined` while the program serves. */
  get mode(): DrainMode | undefined {
    return this.#mode
  }

  /** Calls `watcher` for each mode that begins from now on. Returns the function that stops it. */
  watch(watcher: (mode: DrainMode) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Begins a drain. A repeated mode, and `graceful` after `immediate`, change nothing. */
  begin(mode: DrainMode): void {
    if (this.#mode === mode || this.#mode === 'immediate') return
    this.#mode = mode
    for (const watcher of [...this.#watchers]) watcher(mode)
  }
}
