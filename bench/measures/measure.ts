/** What every measure is given and gives. */
import type { Lab } from '../lab/lab.ts'
import type { ProxyProgram } from '../proxies/proxy-program.ts'
import type { RunningProxy } from '../proxies/running-proxy.ts'
import type { Figures } from '../report/figures.ts'

export interface MeasureContext {
  readonly lab: Lab
  readonly figures: Figures
  readonly rounds: number
  /** Length of one window. */
  readonly seconds: number
  /** twinstack first, once per engine, then the peers that are installed. */
  readonly programs: readonly ProxyProgram[]
  /** twinstack only. */
  readonly engines: readonly ProxyProgram[]
  /** All of `programs`, running, with one thread each. Idle unless a window is theirs. */
  readonly proxies: readonly RunningProxy[]
  readonly idleConnections: number
  readonly slowReaders: number
  /** New connections a second where set-up is timed. */
  readonly setupRate: number
  /** Bytes of a transfer, each way. */
  readonly transferBytes: number
  readonly cores: number
  /** Tells the operator what is going on or left out. */
  note(text: string): void
}

/** Measures one thing in both families. Rejects when a check fails: a wrong number is worse than none. */
export type Measure = (context: MeasureContext) => Promise<void>
