/** Control and proxied measurements in turn, so that what else the machine does meets both alike. */
import { measureWindow } from './window.ts'

import type { Lab } from './lab.ts'
import type { WindowPlan, WindowResult } from './window.ts'

/** One round: the same window without and with the proxy. */
export interface WindowRound {
  readonly control: WindowResult
  readonly proxied: WindowResult
}

/** Measures `rounds` times. */
export async function measureRounds(
  lab: Lab,
  rounds: number,
  plan: Omit<WindowPlan, 'via'>,
): Promise<readonly WindowRound[]> {
  const measured: WindowRound[] = []
  for (let round = 0; round < rounds; round++) {
    const control = await measureWindow(lab, { ...plan, via: 'direct' })
    const proxied = await measureWindow(lab, { ...plan, via: 'proxy' })
    measured.push({ control, proxied })
  }
  return measured
}
