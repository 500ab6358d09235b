/** The clients, in a process of their own. One run of load at a time; the runner says when its numbers begin and end. */
import { serveRole } from '../lib/role-calls.ts'
import { sampleProcess } from '../lib/process-sample.ts'
import { percentile } from '../lib/statistics.ts'
import { runTransferEnd } from '../lib/transfer-end.ts'
import { connect, startLoad, timeConnection } from './load-runs.ts'

import type { ProcessSample } from '../lib/process-sample.ts'
import type { TransferVerdict } from '../lib/transfer-end.ts'
import type { LoadPlan, LoadRun, Target } from './load-runs.ts'

/** What the clients of a run have done since it was started. */
export interface LoadSample extends ProcessSample {
  readonly receivedBytes: number
  readonly completed: number
}

/** A run that has been stopped. */
export interface LoadResult extends LoadSample {
  /** Since the last `mark`; NaN is null in JSON when nothing completed. */
  readonly p50Ms: number | null
  readonly p99Ms: number | null
}

/** What the load's process answers. */
export interface LoadMethods {
  /** Resolves when every connection of the run is open; for `hold`, when each has been answered. */
  readonly start: { readonly params: LoadPlan; readonly result: null }
  /** Forgets the latencies so far. */
  readonly mark: { readonly params: null; readonly result: LoadSample }
  /** Resets every connection. Rejects when one of them had failed: such a run measures nothing. */
  readonly stop: { readonly params: null; readonly result: LoadResult }
  /** Milliseconds from connect to the answer, of one connection. */
  readonly timeConnection: { readonly params: Target; readonly result: number }
  readonly transfer: {
    readonly params: { readonly target: Target; readonly bytes: number }
    readonly result: TransferVerdict
  }
}

let run: LoadRun | undefined

function current(): LoadRun {
  if (run === undefined) throw new TypeError('no load has been started')
  return run
}

function sample({ counts }: LoadRun): LoadSample {
  const { receivedBytes, completed } = counts
  return { ...sampleProcess({ collect: false }), receivedBytes, completed }
}

serveRole<LoadMethods>(
  {
    start: async (plan) => {
      run = startLoad(plan)
      await run.ready
      return null
    },
    mark: () => {
      current().counts.latenciesMs.length = 0
      return sample(current())
    },
    stop: () => {
      const stopped = current()
      const last = sample(stopped)
      stopped.stop()
      run = undefined
      const { firstError, errors, latenciesMs } = stopped.counts
      if (firstError !== undefined)
        throw new Error(`${errors} connections failed, the first with ${firstError}`)
      return { ...last, p50Ms: percentile(latenciesMs, 0.5), p99Ms: percentile(latenciesMs, 0.99) }
    },
    timeConnection,
    transfer: ({ target, bytes }) =>
      runTransferEnd(connect(target), { bytes, sends: 'request', expects: 'response' }),
  },
  { isRole: true },
)
