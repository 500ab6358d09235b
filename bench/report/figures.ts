/** What has been measured: one row for each thing and family, in it one value per contender, the median of the rounds. */
import { median } from './statistics.ts'

import type { Family } from '../../src/core/family.ts'

/** The contender that is no proxy: the node only routes. */
export const CONTROL = 'no proxy'

/** What a row is about. */
export interface FigureSubject {
  /** Stable, without the family: goals and later runs refer to it. */
  readonly id: string
  readonly title: string
  readonly family: Family
  readonly unit: string
  readonly isHigherBetter: boolean
  /** The figure is a difference or a ratio already: dividing it by that of another contender says nothing. */
  readonly isRelative?: boolean
}

/** What one contender reached. */
export interface Figure {
  readonly median: number
  readonly rounds: readonly number[]
}

export interface FigureRow extends FigureSubject {
  /** By the name of the contender. */
  readonly figures: Readonly<Record<string, Figure>>
}

/** Collects values as they come. Rows keep the order of their first value. */
export class Figures {
  readonly #rows = new Map<
    string,
    { readonly subject: FigureSubject; readonly rounds: Map<string, number[]> }
  >()

  /** Takes the value of one round. */
  add(subject: FigureSubject, contender: string, value: number): void {
    if (!Number.isFinite(value)) throw new TypeError(`${contender} has no number for ${subject.id}`)
    const key = `${subject.id} ${subject.family}`
    const row = this.#rows.get(key) ?? { subject, rounds: new Map<string, number[]>() }
    this.#rows.set(key, row)
    const rounds = row.rounds.get(contender) ?? []
    row.rounds.set(contender, rounds)
    rounds.push(value)
  }

  rows(): readonly FigureRow[] {
    return [...this.#rows.values()].map(({ subject, rounds }) => ({
      ...subject,
      figures: Object.fromEntries(
        [...rounds].map(([contender, values]) => [contender, { median: median(values), rounds: values }]),
      ),
    }))
  }
}
