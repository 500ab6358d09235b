/** Windows of every contender in turn, round by round, so that what else the machine does meets all alike. */
import { FAMILIES } from '../../src/core/family.ts'
import { measureWindow } from '../lab/window.ts'
import { CONTROL } from '../report/figures.ts'

import type { Family } from '../../src/core/family.ts'
import type { WindowPlan, WindowResult } from '../lab/window.ts'
import type { FigureSubject } from '../report/figures.ts'
import type { MeasureContext } from './measure.ts'

/** One number that a window gives. */
export interface WindowFigure extends Omit<FigureSubject, 'family'> {
  /** The number is about the proxy: the control has none. */
  readonly isOfProxy?: boolean
  readonly valueOf: (result: WindowResult) => number
}

/** The load of a window, whoever carries it. */
export type WindowLoad = Pick<WindowPlan, 'load' | 'service' | 'count' | 'number'>

/** Measures one load with all contenders in both families. */
export async function measureWindows(
  context: MeasureContext,
  load: WindowLoad,
  figures: readonly WindowFigure[],
): Promise<void> {
  for (const family of FAMILIES) {
    for (let round = 0; round < context.rounds; round++) {
      for (const proxy of [undefined, ...context.proxies]) {
        const plan = { ...load, family, proxy, seconds: context.seconds }
        const result = await measureWindow(context.lab, plan)
        addFigures(context, family, proxy?.name ?? CONTROL, figures, result)
      }
    }
  }
}

/** Processor time that the proxy used for each connection or request that was completed. */
export function cpuUsEach({ cpuSeconds, completed }: WindowResult): number {
  return (cpuSeconds / completed) * 1e6
}

function addFigures(
  { figures: collected }: MeasureContext,
  family: Family,
  contender: string,
  figures: readonly WindowFigure[],
  result: WindowResult,
): void {
  for (const { valueOf, isOfProxy = false, ...subject } of figures) {
    if (isOfProxy && contender === CONTROL) continue
    collected.add({ ...subject, family }, contender, valueOf(result))
  }
}
