/** What twinstack must reach, and whether it did. Goals are ratios inside one run, or bounds where nobody compares. */
import { GOAL_PEER_NAMES } from '../options.ts'

import type { Family } from '../../src/core/family.ts'
import type { FigureRow } from './figures.ts'

/** One goal for a row, in every family that the row has. */
export interface Goal {
  readonly rowId: string
  /** Of twinstack's figure: itself, or divided by that of the best peer. */
  readonly of: 'figure' | 'ratio to the best peer'
  readonly min?: number
  readonly max?: number
}

export interface Verdict {
  readonly goal: Goal
  readonly title: string
  readonly family: Family
  /** What was reached, of what the goal says; absent when it was not measured. */
  readonly reached?: number
  /** The peer that was best. */
  readonly bestPeer?: string
  /** `not measured` also when a goal was reached but a peer was not there to compare with. */
  readonly state: 'met' | 'missed' | 'not measured'
}

const vsBest = { of: 'ratio to the best peer' } as const
const itself = { of: 'figure' } as const

/** Every goal. With metrics and access log on, nothing may lose more than 7 %. */
const GOALS: readonly Goal[] = [
  { rowId: 'upload', ...vsBest, min: 1.15 },
  { rowId: 'download', ...vsBest, min: 1.15 },
  { rowId: 'upload-cpu', ...vsBest, max: 0.8 },
  { rowId: 'download-cpu', ...vsBest, max: 0.8 },
  { rowId: 'connections', ...vsBest, min: 1.1 },
  { rowId: 'requests', ...vsBest, min: 1.05 },
  { rowId: 'idle-rss', ...vsBest, max: 0.6 },
  { rowId: 'fallback-refused-first', ...itself, max: 1 },
  { rowId: 'fallback-refused-second', ...itself, max: 1 },
  { rowId: 'fallback-silent-first', ...itself, min: 250, max: 280 },
  { rowId: 'fallback-silent-second', ...itself, max: 1 },
  { rowId: 'observed-upload', ...itself, min: 0.93 },
  { rowId: 'observed-upload-cpu', ...itself, max: 1.07 },
  { rowId: 'observed-connections', ...itself, min: 0.93 },
  { rowId: 'observed-requests', ...itself, min: 0.93 },
  { rowId: 'observed-idle-rss', ...itself, max: 1.07 },
]

/** Judges every goal whose row is in the result. @param contender the column that is judged */
export function judge(rows: readonly FigureRow[], contender: string): readonly Verdict[] {
  return GOALS.flatMap((goal) =>
    rows.filter(({ id }) => id === goal.rowId).map((row) => judgeRow(goal, row, contender)),
  )
}

/** The best in a row of the peers that goals compare with; `undefined` without any. */
export function bestPeer({ figures, isHigherBetter }: FigureRow): string | undefined {
  const measured = GOAL_PEER_NAMES.flatMap((name) => {
    const figure = figures[name]
    return figure === undefined ? [] : [{ name, value: figure.median }]
  })
  measured.sort((a, b) => (isHigherBetter ? b.value - a.value : a.value - b.value))
  return measured[0]?.name
}

function judgeRow(goal: Goal, row: FigureRow, contender: string): Verdict {
  const subject = { goal, title: row.title, family: row.family }
  const own = row.figures[contender]?.median
  if (own === undefined) return { ...subject, state: 'not measured' }
  if (goal.of === 'figure') return { ...subject, reached: own, state: isWithin(goal, own) ? 'met' : 'missed' }
  const best = bestPeer(row)
  const reference = best === undefined ? undefined : row.figures[best]?.median
  if (best === undefined || reference === undefined) return { ...subject, state: 'not measured' }
  const reached = own / reference
  const isComplete = GOAL_PEER_NAMES.every((name) => row.figures[name] !== undefined)
  const ifReached = isComplete ? 'met' : 'not measured'
  return { ...subject, reached, bestPeer: best, state: isWithin(goal, reached) ? ifReached : 'missed' }
}

function isWithin({ min = -Infinity, max = Infinity }: Goal, value: number): boolean {
  return value >= min && value <= max
}
