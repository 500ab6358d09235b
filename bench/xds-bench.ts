/** `npm run bench -- xds`: what it costs to follow a large mesh. Needs neither root nor a lab. */
import { formatNumber, renderTable } from './report/table.ts'
import { describeMachine, readMachineFacts } from './report/machine-facts.ts'
import { median } from './report/statistics.ts'
import { measureXdsMesh } from './xds-mesh.ts'

import type { XdsBench, XdsBenchDeps, XdsFigure } from './xds/xds-figure.ts'

/** In the order in which they run. */
const XDS_BENCHES: readonly XdsBench[] = [measureXdsMesh]

export interface XdsReport {
  /** Markdown: each figure, its goal and the verdict. */
  readonly text: string
  /** Titles of the goals that are missed. */
  readonly missed: readonly string[]
}

/** Runs every xds bench, one after the other. */
export async function runXdsBench(deps: XdsBenchDeps): Promise<XdsReport> {
  const machine = readMachineFacts()
  const figures: XdsFigure[] = []
  for (const bench of XDS_BENCHES) figures.push(...(await bench(deps)))
  return reportXds(figures, `${describeMachine(machine)}; medians of ${deps.rounds} rounds`)
}

/** Judges figures, under a heading that says where they come from. */
export function reportXds(figures: readonly XdsFigure[], heading: string): XdsReport {
  const judged = figures.map((figure) => {
    const reached = median(figure.rounds)
    return { ...figure, reached, isMet: reached <= figure.max }
  })
  const table = renderTable(
    ['', 'unit', 'must be', 'reached', 'verdict'],
    judged.map(({ title, unit, max, reached, isMet }) => [
      title,
      unit,
      `≤ ${max.toLocaleString('en')}`,
      formatNumber(reached),
      isMet ? 'met' : 'missed',
    ]),
  )
  return {
    text: `${heading}\n\n${table}`,
    missed: judged.filter(({ isMet }) => !isMet).map(({ title }) => title),
  }
}
