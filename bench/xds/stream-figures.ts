/** What stream-agent.ts and stream-load.ts answer, as it passes between the processes. */

/** An update that has come into force. */
export interface AppliedUpdate {
  /** When the next plan after it was made, since 1970. */
  readonly atMs: number
  readonly workloads: number
}

export interface LoopReading {
  readonly blockedMs: number
  /** The most that the process has held in memory so far. */
  readonly peakBytes: number
}

/** One transfer through the relay. */
export interface TransferRun {
  readonly bytes: number
  /** The longest time without a byte for the receiver. */
  readonly pauseMs: number
}

export function readUpdates(value: unknown): readonly AppliedUpdate[] {
  if (!Array.isArray(value)) throw new TypeError(`${JSON.stringify(value)} is no list of updates`)
  return value.map((each: unknown) => ({
    atMs: readNumber(each, 'atMs'),
    workloads: readNumber(each, 'workloads'),
  }))
}

export function readLoopReading(value: unknown): LoopReading {
  return { blockedMs: readNumber(value, 'blockedMs'), peakBytes: readNumber(value, 'peakBytes') }
}

export function readTransferRun(value: unknown): TransferRun {
  return { bytes: readNumber(value, 'bytes'), pauseMs: readNumber(value, 'pauseMs') }
}

/** A number of an answer. Throws when it is not there: a figure that was not taken is no figure. */
export function readNumber(value: unknown, name: string): number {
  const found: unknown = new Map<string, unknown>(Object.entries(value ?? {})).get(name)
  if (typeof found !== 'number') throw new TypeError(`no ${name} in ${JSON.stringify(value)}`)
  return found
}
