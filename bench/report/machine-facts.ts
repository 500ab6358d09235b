/** What the numbers depend on. Two results compare only where these agree; ratios travel further. */
import os from 'node:os'

export interface MachineFacts {
  readonly cpu: string
  readonly cores: number
  readonly memoryGib: number
  readonly system: string
  readonly node: string
  /** Load average of the last minute before the run: what else the machine was doing. */
  readonly loadBefore: number
}

/** Reads the facts of this machine. */
export function readMachineFacts(): MachineFacts {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGib: Math.round(os.totalmem() / 1_024 ** 3),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    loadBefore: Number((os.loadavg()[0] ?? 0).toFixed(2)),
  }
}

/** One line. */
export function describeMachine({ cpu, cores, memoryGib, system, node, loadBefore }: MachineFacts): string {
  return `${cpu}, ${cores} cores, ${memoryGib} GiB, ${system}, node ${node}, load before ${loadBefore}`
}
