/** Figures of which each has a bound of its own, on this machine and beside nobody: what xds and pods measure. */
import { formatNumber, renderTable } from './table.ts'
import { median } from './statistics.ts'

export interface BoundedFigure {
  readonly title: string
  readonly unit: string
  /** The goal: at most this. Absent: there is none, the figure is there to be known. */
  readonly max?: number
  /** One value for each round, of which the median counts. At least one. */
  readonly rounds: readonly number[]
}

export interface FigureBenchDeps {
  /** Tells the operator what is going on. */
  readonly note: (text: string) => void
  readonly rounds: number
}

export type FigureBench = (deps: FigureBenchDeps) => Promise<readonly BoundedFigure[]>

export interface FigureReport {
  /** Markdown: each figure, its goal and the verdict. */
  readonly text: string
  /** Titles of the goals that are missed. */
  readonly missed: readonly string[]
}

/** Judges figures, under a heading that says where they come from. */
export function reportFigures(figures: readonly BoundedFigure[], heading: string): FigureReport {
  const judged = figures.map((figure) => {
    const reached = median(figure.rounds)
    return { ...figure, reached, isMet: figure.max === undefined || reached <= figure.max }
  })
  const table = renderTable(
    ['', 'unit', 'must be', 'reached', 'verdict'],
    judged.map(({ title, unit, max, reached, isMet }) => [
      title,
      unit,
      max === undefined ? '' : `≤ ${max.toLocaleString('en')}`,
      formatNumber(reached),
      max === undefined ? '' : isMet ? 'met' : 'missed',
    ]),
  )
  return {
    text: `${heading}\n\n${table}`,
    missed: judged.filter(({ isMet }) => !isMet).map(({ title }) => title),
  }
}
