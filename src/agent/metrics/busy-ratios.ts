/** How busy the threads were since this was last asked, from what they have counted in shared memory. */
import type { ThreadLoad } from '../../proxy/proxy-totals.ts'

interface Reading {
  readonly runSeconds: number
  readonly busySeconds: number
  /** Undefined for a thread that has not measured anything yet. */
  readonly ratio: number | undefined
}

const NOTHING: Reading = { runSeconds: 0, busySeconds: 0, ratio: undefined }

export class BusyRatios {
  readonly #loads: () => readonly ThreadLoad[]
  #last = new Map<ThreadLoad, Reading>()

  /** @param loads of the threads that live; the same object as long as the thread is the same */
  constructor(loads: () => readonly ThreadLoad[]) {
    this.#loads = loads
  }

  /**
   * Busy time as a share of the time, 0 to 1, by thread. A thread that counted nothing since the last call, because it is
   * still in the turn of then, has the share of that call.
   */
  take(): ReadonlyMap<string, number> {
    const ratios = new Map<string, number>()
    const readings = new Map<ThreadLoad, Reading>()
    for (const load of this.#loads()) {
      const { thread, runSeconds, busySeconds } = load
      const last = this.#last.get(load) ?? NOTHING
      const ran = runSeconds - last.runSeconds
      const ratio = ran > 0 ? Math.min(1, Math.max(0, (busySeconds - last.busySeconds) / ran)) : last.ratio
      if (ratio !== undefined) ratios.set(thread, ratio)
      readings.set(load, { runSeconds, busySeconds, ratio })
    }
    this.#last = readings
    return ratios
  }
}
