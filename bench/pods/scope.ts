/** The end of what a bench has started, however and whenever it ends. */
import type { Owner } from '../../test/fixtures/owner.ts'

export class Scope implements Owner {
  readonly #ends: (() => unknown)[] = []
  #closing: Promise<void> | undefined

  /** What is started after the end, as by work that goes on when an operator has had enough, is ended at once. */
  teardown(end: () => unknown): void {
    if (this.#closing === undefined) this.#ends.push(end)
    // The end is told what went wrong by then; whoever goes on is told by what is no longer there.
    else void Promise.resolve(end()).catch(() => undefined)
  }

  /** Runs `use` with a scope of its own, which ends with it, or with this one. */
  async within<Result>(use: (scope: Scope) => Promise<Result>): Promise<Result> {
    const scope = new Scope()
    this.teardown(() => scope.close())
    try {
      return await use(scope)
    } finally {
      await scope.close()
    }
  }

  /** Ends everything, the last one first; one that fails keeps none of the others. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#endAll()
    return this.#closing
  }

  async #endAll(): Promise<void> {
    const failures: unknown[] = []
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) {
      try {
        await end()
      } catch (reason) {
        failures.push(reason)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'not everything could be ended')
  }
}

/** Runs `use` with a scope that ends with it, or at once when the operator has had enough. */
export async function withScope<Result>(
  signal: AbortSignal,
  use: (scope: Scope) => Promise<Result>,
): Promise<Result> {
  signal.throwIfAborted()
  const scope = new Scope()
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(new Error('stopped'))
    })
  })
  try {
    return await Promise.race([use(scope), stopped])
  } finally {
    await scope.close()
  }
}
