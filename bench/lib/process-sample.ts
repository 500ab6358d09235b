/** What a process has used so far, read by the process itself: microseconds instead of the kernel's 10 ms ticks. */

/** A reading of one process. Times of different processes are not comparable, differences are. */
export interface ProcessSample {
  readonly atMs: number
  /** User and system, of all threads. */
  readonly cpuSeconds: number
  readonly rssBytes: number
}

/** Reads this process. With `collect`, garbage is collected first, where node was started with --expose-gc. */
export function sampleProcess({ collect }: { readonly collect: boolean }): ProcessSample {
  if (collect) globalThis.gc?.()
  const { user, system } = process.cpuUsage()
  return {
    atMs: performance.now(),
    cpuSeconds: (user + system) / 1e6,
    rssBytes: process.memoryUsage.rss(),
  }
}
