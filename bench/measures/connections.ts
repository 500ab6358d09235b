/** New connections: how many a second, and how long one takes while there is room for more. */
import { cpuUsEach, measureWindows } from './windows.ts'

import type { Measure } from './measure.ts'
import type { WindowFigure } from './windows.ts'

/** Connections under way at a time: enough to keep every process busy. */
const CONCURRENT = 32
/** Connections at a fixed rate may pile up to this. */
const MAX_CONCURRENT = 2_000

/** Connect, request, answer, close, as fast as it goes. */
export const CONNECTION_LOAD = { load: 'connections', service: 'echo', count: CONCURRENT } as const

/** What that shows. */
export const CONNECTION_FIGURES: readonly WindowFigure[] = [
  {
    id: 'connections',
    title: 'new connections',
    unit: '1/s',
    isHigherBetter: true,
    valueOf: ({ completedPerSecond }) => completedPerSecond,
  },
  {
    id: 'connections-cpu',
    title: 'new connections, processor time',
    unit: 'µs each',
    isHigherBetter: false,
    isOfProxy: true,
    valueOf: cpuUsEach,
  },
]

/** Rows `connections`, `connections-cpu`. */
export const measureConnections: Measure = async (context) => {
  await measureWindows(context, CONNECTION_LOAD, CONNECTION_FIGURES)
}

/**
 * Rows `setup-p50`, `setup-p99`, `setup-p999`: from when a connection was due to its first answer, at a fixed rate, and
 * `setup-rate`: a proxy that does not reach the rate has times of its queue and not of connections.
 */
export const measureSetup: Measure = async (context) => {
  const { setupRate } = context
  await measureWindows(context, { load: 'rate', service: 'echo', count: MAX_CONCURRENT, number: setupRate }, [
    {
      id: 'setup-rate',
      title: `answers at ${setupRate}/s`,
      unit: '1/s',
      isHigherBetter: true,
      isRelative: true,
      valueOf: ({ completedPerSecond }) => completedPerSecond,
    },
    setupFigure('setup-p50', `connect to answer at ${setupRate}/s, p50`, ({ p50Us }) => p50Us),
    setupFigure('setup-p99', `connect to answer at ${setupRate}/s, p99`, ({ p99Us }) => p99Us),
    setupFigure('setup-p999', `connect to answer at ${setupRate}/s, p99.9`, ({ p999Us }) => p999Us),
  ])
}

function setupFigure(id: string, title: string, valueOf: WindowFigure['valueOf']): WindowFigure {
  return { id, title, unit: 'µs', isHigherBetter: false, valueOf }
}
