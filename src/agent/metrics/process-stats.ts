/**
 * What the process tells about itself: descriptors, memory, processor time, how late and how busy the event loop is.
 * Lag and busy ratio are of the time since they were last read, so one reader at a time gets true numbers.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'

import type { EventLoopUtilization, IntervalHistogram } from 'node:perf_hooks'

const LAG_RESOLUTION_MS = 20

/** Lateness of timers, in seconds. */
export interface EventLoopLag {
  readonly p50: number
  readonly p99: number
}

/** The process as metrics see it; `undefined` where the platform does not tell. */
export interface ProcessReadings {
  openDescriptors(): number | undefined
  maxDescriptors(): number | undefined
  residentBytes(): number
  cpuSeconds(): number
  /** Since the last call. */
  eventLoopLag(): EventLoopLag
  /** Since the last call, by thread. */
  busyRatios(): ReadonlyMap<string, number>
}

/** Counts the open descriptors of this process; `undefined` where there is no /proc. Costs O(descriptors). */
export function countOpenDescriptors(): number | undefined {
  try {
    // One of the entries is the directory that is being read.
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    // Not Linux, or no descriptor is left to open the directory with.
    return undefined
  }
}

/** The soft limit of open descriptors; `undefined` where there is no /proc, Infinity where there is no limit. */
export function readDescriptorLimit(): number | undefined {
  try {
    const match = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    if (match?.[1] === undefined) return undefined
    return match[1] === 'unlimited' ? Infinity : Number(match[1])
  } catch {
    return undefined
  }
}

/** Readings of this process. Holds a timer that does not keep the process alive; `close` ends it. */
export class ProcessStats implements ProcessReadings {
  readonly #lag: IntervalHistogram
  #utilization: EventLoopUtilization
  readonly #maxDescriptors = readDescriptorLimit()

  constructor() {
    this.#lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
    this.#lag.enable()
    this.#utilization = performance.eventLoopUtilization()
  }

  openDescriptors(): number | undefined {
    return countOpenDescriptors()
  }

  maxDescriptors(): number | undefined {
    return this.#maxDescriptors
  }

  residentBytes(): number {
    return process.memoryUsage.rss()
  }

  cpuSeconds(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  }

  eventLoopLag(): EventLoopLag {
    const lag = { p50: this.#lagSeconds(50), p99: this.#lagSeconds(99) }
    this.#lag.reset()
    return lag
  }

  busyRatios(): ReadonlyMap<string, number> {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization)
    this.#utilization = now
    return new Map([['main', utilization]])
  }

  /** Stops measuring. Idempotent. */
  close(): void {
    this.#lag.disable()
  }

  /** The histogram holds the time between two of its ticks, which is the resolution when nothing is late. */
  #lagSeconds(percentile: number): number {
    const betweenTicksMs = this.#lag.percentile(percentile) / 1e6
    return Math.max(0, betweenTicksMs - LAG_RESOLUTION_MS) / 1_000
  }
}
