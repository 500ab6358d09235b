/** How many workers carry connections: a number, or a share of the processors, as ztunnel has it. */

/** What was asked for. */
export type WorkerCount =
  { readonly kind: 'count'; readonly count: number } | { readonly kind: 'share'; readonly percent: number }

/** Workers that there can be: the table of descriptors has one byte for the owner. */
export const MAX_WORKERS = 253

const ALL: WorkerCount = { kind: 'share', percent: 100 }
const DEFAULT_PERCENT = 25
const DEFAULT_AT_LEAST = 2

/** Reads `4`, `50%` or `0`, which means all processors; `undefined` for what is none of them. */
export function parseWorkerCount(text: string): WorkerCount | undefined {
  const match = /^(\d{1,4})(%?)$/.exec(text.trim())
  if (match === null) return undefined
  const value = Number(match[1])
  if (match[2] === '%') return value >= 1 && value <= 100 ? { kind: 'share', percent: value } : undefined
  return workersOf(value)
}

/** A whole number as it is meant: 0 is all processors. */
export function workersOf(count: number): WorkerCount {
  return count === 0 ? ALL : { kind: 'count', count }
}

/** The workers to start; without a wish a quarter of the processors, and two at least. */
export function countWorkers(wanted: WorkerCount | undefined, processors: number): number {
  if (wanted === undefined)
    return Math.min(MAX_WORKERS, Math.max(DEFAULT_AT_LEAST, shareOf(processors, DEFAULT_PERCENT)))
  const count = wanted.kind === 'count' ? wanted.count : shareOf(processors, wanted.percent)
  return Math.min(MAX_WORKERS, Math.max(1, count))
}

function shareOf(processors: number, percent: number): number {
  return Math.ceil((processors * percent) / 100)
}
