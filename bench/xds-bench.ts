/** `npm run bench -- xds`: what it costs to follow a large mesh. Needs neither root nor a lab. */
import { reportFigures } from './report/bounded-figure.ts'
import { describeMachine, readMachineFacts } from './report/machine-facts.ts'
import { measureXdsDecode } from './xds-decode.ts'
import { measureXdsMesh } from './xds-mesh.ts'
import { measureXdsStream } from './xds-stream.ts'

import type { BoundedFigure, FigureBench, FigureBenchDeps, FigureReport } from './report/bounded-figure.ts'

/** In the order in which they run. */
const XDS_BENCHES: readonly FigureBench[] = [
  (deps) => Promise.resolve(measureXdsDecode(deps)),
  measureXdsMesh,
  (deps) => measureXdsStream(deps),
]

/** Runs every xds bench, one after the other. */
export async function runXdsBench(deps: FigureBenchDeps): Promise<FigureReport> {
  const machine = readMachineFacts()
  const figures: BoundedFigure[] = []
  for (const bench of XDS_BENCHES) figures.push(...(await bench(deps)))
  return reportFigures(figures, `${describeMachine(machine)}; medians of ${deps.rounds} rounds`)
}
