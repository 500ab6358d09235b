/** What one round of a measure has come to; rounds become figures. */
import type { BoundedFigure } from '../report/bounded-figure.ts'

export interface Reading extends Omit<BoundedFigure, 'rounds'> {
  readonly value: number
}

/** Puts rounds of the same readings together. */
export function figuresOf(rounds: readonly (readonly Reading[])[]): readonly BoundedFigure[] {
  const [first = []] = rounds
  return first.map(({ title, unit, max }, index) => ({
    title,
    unit,
    ...(max !== undefined && { max }),
    rounds: rounds.map((readings) => readings[index]?.value ?? NaN),
  }))
}
