/** How the Linux engine grows with its workers. On a machine whose cores the ends need too it grows little. */
import { measureWindow } from '../lab/window.ts'
import { PLAIN, withProxy } from '../proxies/running-proxy.ts'
import { CONTROL } from '../report/figures.ts'
import { CONNECTION_FIGURES, CONNECTION_LOAD } from './connections.ts'
import { REQUEST_FIGURES, REQUEST_LOAD } from './requests.ts'

import type { RunningProxy } from '../proxies/running-proxy.ts'
import type { Measure, MeasureContext } from './measure.ts'

const FAMILY = 'ipv4'

const LOADS = [
  { load: CONNECTION_LOAD, figures: CONNECTION_FIGURES },
  { load: REQUEST_LOAD, figures: REQUEST_FIGURES },
] as const

/** Rows `connections-workers-{n}` and `requests-workers-{n}`, from one worker to one per core. */
export const measureWorkers: Measure = async (context) => {
  const { lab, rounds, engines, cores } = context
  for (let round = 0; round < rounds; round++) {
    for (const workers of workerCounts(cores)) {
      await measureLoads(context, workers, undefined)
      for (const program of engines.filter(({ hasWorkers }) => hasWorkers)) {
        await withProxy(lab, program, { ...PLAIN, workers }, (proxy) => measureLoads(context, workers, proxy))
      }
    }
  }
}

/** 1, 2, 4 and so on, and the number of cores. */
function workerCounts(cores: number): readonly number[] {
  const powers = Array.from({ length: Math.ceil(Math.log2(cores)) }, (_, exponent) => 2 ** exponent)
  return [...powers, cores]
}

async function measureLoads(
  { lab, seconds, figures: collected }: MeasureContext,
  workers: number,
  proxy: RunningProxy | undefined,
): Promise<void> {
  for (const { load, figures } of LOADS) {
    const plan = { ...load, count: load.count * workers, family: FAMILY, proxy, seconds } as const
    const result = await measureWindow(lab, plan)
    for (const { id, title, unit, isHigherBetter, isOfProxy = false, valueOf } of figures) {
      if (isOfProxy && proxy === undefined) continue
      const ofWorkers = workers === 1 ? '1 worker' : `${workers} workers`
      collected.add(
        {
          id: `${id}-workers-${workers}`,
          title: `${title}, ${ofWorkers}`,
          family: FAMILY,
          unit,
          isHigherBetter,
        },
        proxy?.name ?? CONTROL,
        valueOf(result),
      )
    }
  }
}
