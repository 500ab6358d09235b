/** `npm run bench -- pods`: what captured pods cost a node. Needs root on Linux: pods are network namespaces. */
import { BareNode } from './pods/bare-node.ts'
import { measureAdds } from './pods/measure-adds.ts'
import { measureChurn } from './pods/measure-churn.ts'
import { measureEntering } from './pods/measure-entering.ts'
import { measureRestart } from './pods/measure-restart.ts'
import { measureStart } from './pods/measure-start.ts'
import { figuresOf } from './pods/reading.ts'
import { withScope } from './pods/scope.ts'
import { reportFigures } from './report/bounded-figure.ts'
import { describeMachine, readMachineFacts } from './report/machine-facts.ts'

import type { AddsSize } from './pods/measure-adds.ts'
import type { Reading } from './pods/reading.ts'
import type { Scope } from './pods/scope.ts'
import type { BoundedFigure, FigureBenchDeps, FigureReport } from './report/bounded-figure.ts'

export interface PodsBenchDeps extends FigureBenchDeps {
  /** Ends the run when the operator asks for it; every namespace is removed all the same. */
  readonly signal: AbortSignal
}

export interface PodsSize extends AddsSize {
  /** On a full node. */
  readonly pods: number
  /** Pods that come and go. */
  readonly comings: number
  /** Pods of an agent that is killed. */
  readonly restarted: number
  /** Of a window of new connections. */
  readonly seconds: number
}

const FULL_SIZE: PodsSize = {
  pods: 500,
  present: 200,
  added: 200,
  failing: 50,
  comings: 1_000,
  restarted: 200,
  seconds: 2,
}

/** Runs the bench and judges it. */
export async function runPodsBench(deps: PodsBenchDeps): Promise<FigureReport> {
  const machine = readMachineFacts()
  const figures = await measurePods(deps)
  return reportFigures(figures, `${describeMachine(machine)}; medians of ${deps.rounds} rounds`)
}

/** One measure after the other, each with agents of its own. */
export async function measurePods(
  { note, rounds, signal }: PodsBenchDeps,
  size: PodsSize = FULL_SIZE,
): Promise<readonly BoundedFigure[]> {
  const figures = await withScope(signal, (scope) => measureBarePods(scope, { note, rounds }, size))
  note('pods: what entering a namespace costs')
  const entering = await withScope(signal, (scope) => measureEntering(scope, { rounds, ...size }))
  return [...figures, ...figuresOf(entering)]
}

async function measureBarePods(
  scope: Scope,
  { note, rounds }: FigureBenchDeps,
  size: PodsSize,
): Promise<readonly BoundedFigure[]> {
  const served = Math.max(size.pods, size.present + size.added)
  const count = served + size.failing
  note(`pods: ${count} network namespaces`)
  const node = await BareNode.create(scope, count, served)
  await node.traffic.ask(`occupy ${served} ${size.failing}`)
  const measures: readonly ((scope: Scope) => Promise<readonly Reading[]>)[] = [
    (each) => measureStart(each, node, size.pods),
    (each) => measureAdds(each, node, size),
    (each) => measureChurn(each, node, { comings: size.comings, places: served }),
    (each) => measureRestart(each, node, size.restarted),
  ]
  const results: (readonly Reading[])[] = []
  for (let round = 1; round <= rounds; round++) {
    note(`pods: round ${round} of ${rounds}`)
    const readings: Reading[] = []
    for (const measure of measures) readings.push(...(await scope.within(measure)))
    results.push(readings)
  }
  return figuresOf(results)
}
