/** Small requests and answers on connections that stay. */
import { cpuUsEach, measureWindows } from './windows.ts'

import type { Measure } from './measure.ts'
import type { WindowFigure } from './windows.ts'

const CONNECTIONS = 32

/** A request of 64 bytes after each answer, on every connection. */
export const REQUEST_LOAD = { load: 'requests', service: 'echo', count: CONNECTIONS } as const

/** What that shows. */
export const REQUEST_FIGURES: readonly WindowFigure[] = [
  {
    id: 'requests',
    title: 'requests on open connections',
    unit: '1/s',
    isHigherBetter: true,
    valueOf: ({ completedPerSecond }) => completedPerSecond,
  },
  {
    id: 'requests-cpu',
    title: 'requests on open connections, processor time',
    unit: 'µs each',
    isHigherBetter: false,
    isOfProxy: true,
    valueOf: cpuUsEach,
  },
]

/** Rows `requests`, `requests-cpu`. */
export const measureRequests: Measure = async (context) => {
  await measureWindows(context, REQUEST_LOAD, REQUEST_FIGURES)
}
