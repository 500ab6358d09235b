/**
 * What a mesh of 100,000 dual-stack workloads in 5,000 services costs from the decoded resources on: to apply, to hold, to
 * change and to ask for routes. Each round is a process of its own, so that nothing is warm and memory is its own.
 */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'

import { PACKAGE_ROOT } from '../src/agent/version.ts'
import { FAMILIES } from '../src/core/family.ts'
import { readMeshFigures } from './xds/mesh-figures.ts'

import type { Family } from '../src/core/family.ts'
import type { MeshFigures } from './xds/mesh-figures.ts'
import type { FigureBenchDeps, BoundedFigure } from './report/bounded-figure.ts'

const WORKLOADS = 100_000
const SERVICES = 5_000
const CHILD = path.join(PACKAGE_ROOT, 'dist', 'bench', 'xds', 'mesh-child.js')

/** Measures rounds of both families and of one, which take turns. */
export async function measureXdsMesh({ note, rounds }: FigureBenchDeps): Promise<readonly BoundedFigure[]> {
  const dual: MeshFigures[] = []
  const single: MeshFigures[] = []
  for (let round = 1; round <= rounds; round++) {
    note(`mesh: round ${round} of ${rounds}`)
    dual.push(await runChild(FAMILIES))
    single.push(await runChild(['ipv4']))
  }
  const figure = (
    title: string,
    unit: string,
    max: number,
    value: (each: MeshFigures) => number,
  ): BoundedFigure => ({
    title,
    unit,
    max,
    rounds: dual.map(value),
  })
  return [
    figure('all workloads applied', 'ms', 5_000, ({ applyMs }) => applyMs),
    figure('event loop blocked: all new', 'ms', 50, ({ applyBlockedMs }) => applyBlockedMs),
    figure('event loop blocked: all again unchanged', 'ms', 50, ({ repeatBlockedMs }) => repeatBlockedMs),
    figure('event loop blocked: all changed', 'ms', 50, ({ replaceBlockedMs }) => replaceBlockedMs),
    figure('one changed endpoint applied, p99', 'ms', 5, ({ changeMs }) => changeMs),
    figure('route to a service', 'µs', 2, ({ serviceLookupUs }) => serviceLookupUs),
    figure('route to a workload', 'µs', 2, ({ workloadLookupUs }) => workloadLookupUs),
    figure('RSS for each workload', 'B', 1_200, ({ residentBytes }) => residentBytes / WORKLOADS),
    {
      title: 'memory that the second family adds',
      unit: '%',
      max: 30,
      rounds: dual.map(({ residentBytes }, round) => {
        const reference = single[round]?.residentBytes ?? NaN
        return (residentBytes / reference - 1) * 100
      }),
    },
  ]
}

async function runChild(families: readonly Family[]): Promise<MeshFigures> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    CHILD,
    String(WORKLOADS),
    String(SERVICES),
    families.join(),
  ])
  return readMeshFigures(JSON.parse(stdout))
}
