/** What the xds benches measure: figures of which each has a bound of its own, on this machine and beside nobody. */

export interface XdsFigure {
  readonly title: string
  readonly unit: string
  /** The goal: at most this. */
  readonly max: number
  /** One value for each round, of which the median counts. At least one. */
  readonly rounds: readonly number[]
}

export interface XdsBenchDeps {
  /** Tells the operator what is going on. */
  readonly note: (text: string) => void
  readonly rounds: number
}

export type XdsBench = (deps: XdsBenchDeps) => Promise<readonly XdsFigure[]>
