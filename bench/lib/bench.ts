/** What every bench is given and gives. */
import type { LabOptions } from './lab.ts'
import type { Row } from './row.ts'

export interface BenchPlan {
  readonly rounds: number
  /** Length of one measurement. */
  readonly seconds: number
  /** Connections of the memory bench. */
  readonly idleConnections: number
  /** Bytes of a transfer, each way. */
  readonly transferBytes: number
  readonly lab: LabOptions
}

/** Measures one thing in every family of the machine. Rejects when a check fails: a wrong number is worse than none. */
export type Bench = (plan: BenchPlan) => Promise<readonly Row[]>
