/** One line of the result: the same thing without and with the proxy, and their ratio. */
import { median } from './statistics.ts'

import type { Family } from '../../src/core/family.ts'

/** What a bench has measured. Numbers are medians of the rounds. */
export interface Row {
  /** Stable: two runs are compared by it. */
  readonly id: string
  readonly title: string
  readonly family: Family
  readonly unit: string
  readonly isHigherBetter: boolean
  /** Without a proxy, in the same run. */
  readonly control: number
  readonly proxied: number
  /** `proxied` / `control`. */
  readonly ratio: number
  readonly controlRounds: readonly number[]
  readonly proxiedRounds: readonly number[]
  /** What it cost the proxy, in `costUnit`; absent where that says nothing. */
  readonly cost?: number
  readonly costUnit?: string
}

/** One round of a row. */
export interface Round {
  readonly control: number
  readonly proxied: number
  readonly cost?: number
}

/** What a row is about. */
export type RowSubject = Pick<Row, 'id' | 'title' | 'family' | 'unit' | 'isHigherBetter' | 'costUnit'>

/** Makes a row of its rounds; there is at least one. Ratios are of the medians. */
export function rowOf(subject: RowSubject, rounds: readonly Round[]): Row {
  const controlRounds = rounds.map(({ control }) => control)
  const proxiedRounds = rounds.map(({ proxied }) => proxied)
  const costs = rounds.flatMap(({ cost }) => cost ?? [])
  const control = median(controlRounds)
  const proxied = median(proxiedRounds)
  return {
    ...subject,
    control,
    proxied,
    ratio: proxied / control,
    controlRounds,
    proxiedRounds,
    ...(costs.length > 0 && { cost: median(costs) }),
  }
}
