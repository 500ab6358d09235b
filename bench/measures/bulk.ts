/** Throughput of one connection, to the server and from it, and what a gigabyte costs the proxy. */
import { measureWindows } from './windows.ts'

import type { Measure } from './measure.ts'
import type { WindowFigure } from './windows.ts'

const BITS_PER_BYTE = 8
const BYTES_PER_GB = 1e9

/** Rows `upload`, `upload-cpu`, `download`, `download-cpu`. */
export const measureBulk: Measure = async (context) => {
  await measureWindows(context, { load: 'send', service: 'sink', count: 1 }, UPLOAD_FIGURES)
  await measureWindows(context, { load: 'receive', service: 'source', count: 1 }, DOWNLOAD_FIGURES)
}

/** What an upload shows. */
export const UPLOAD_FIGURES: readonly WindowFigure[] = [
  {
    id: 'upload',
    title: 'upload',
    unit: 'Gbit/s',
    isHigherBetter: true,
    valueOf: ({ uploadBytesPerSecond }) => gigabits(uploadBytesPerSecond),
  },
  {
    id: 'upload-cpu',
    title: 'upload, processor time',
    unit: 's/GB',
    isHigherBetter: false,
    isOfProxy: true,
    valueOf: ({ cpuSeconds, uploadBytes }) => cpuSeconds / (uploadBytes / BYTES_PER_GB),
  },
]

const DOWNLOAD_FIGURES: readonly WindowFigure[] = [
  {
    id: 'download',
    title: 'download',
    unit: 'Gbit/s',
    isHigherBetter: true,
    valueOf: ({ downloadBytesPerSecond }) => gigabits(downloadBytesPerSecond),
  },
  {
    id: 'download-cpu',
    title: 'download, processor time',
    unit: 's/GB',
    isHigherBetter: false,
    isOfProxy: true,
    valueOf: ({ cpuSeconds, downloadBytes }) => cpuSeconds / (downloadBytes / BYTES_PER_GB),
  },
]

function gigabits(bytesPerSecond: number): number {
  return (bytesPerSecond * BITS_PER_BYTE) / 1e9
}
