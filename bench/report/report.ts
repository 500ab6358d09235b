/** A whole result, as it is written to JSON. */
import type { FigureRow } from './figures.ts'
import type { Verdict } from './goals.ts'
import type { MachineFacts } from './machine-facts.ts'

/** One column of the tables. */
export interface Contender {
  /** As in the figures. */
  readonly name: string
  /** With version and settings. */
  readonly description: string
  readonly kind: 'control' | 'twinstack' | 'peer'
}

export interface Report {
  readonly startedAt: string
  readonly machine: MachineFacts
  readonly rounds: number
  readonly seconds: number
  readonly contenders: readonly Contender[]
  /** What could not be measured here, and why. */
  readonly leftOut: readonly string[]
  /** Measures that ended with an error; rows of them lack what came after it. */
  readonly failures: readonly string[]
  readonly rows: readonly FigureRow[]
  /** On the first engine. */
  readonly verdicts: readonly Verdict[]
}
