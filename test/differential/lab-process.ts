/**
 * Runs every scenario with one proxy in the network namespace that it is started in, and sends what was seen to its
 * parent: `lab-process.js PROXY ENVOY FOLDER FILES`, where FOLDER is for what the proxy writes and FILES has the files.
 */
import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'

import { makeNetwork } from './network.ts'
import { text } from './observation.ts'
import { RunningProxy } from './proxies.ts'
import { SCENARIOS } from './scenarios.ts'
import { Servers } from './servers.ts'

import type { Observation } from './observation.ts'
import type { Lab, Scenario } from './scenario.ts'

/** What the process sends, once. */
export interface LabReport {
  readonly observations: Readonly<Record<string, Observation>>
  /** Cases that could not be looked at, with the reason. */
  readonly failures: readonly string[]
}

const [proxyName = '', envoyPath = '', folder = '', files = '', only] = process.argv.slice(2)

// Whoever wants the result is gone.
process.once('disconnect', () => process.exit(1))
makeNetwork(folder)
const servers = await Servers.start()
const observations: Record<string, Observation> = {}
const failures: string[] = []
for (const scenario of SCENARIOS) {
  if (only === undefined || scenario.file === only) await runScenario(scenario)
}
process.send?.({ observations, failures } satisfies LabReport, () => process.exit(0))

async function runScenario(scenario: Scenario): Promise<void> {
  const { file, otherFiles = [], cases, isParallel = false } = scenario
  const name = proxyName === 'envoy' ? 'envoy' : 'twinstack'
  const ownFolder = path.join(folder, file)
  mkdirSync(ownFolder)
  for (const each of [file, ...otherFiles])
    copyFileSync(path.join(files, `${each}.yaml`), path.join(ownFolder, `${each}.yaml`))
  const proxy = await RunningProxy.start({ name, envoyPath, folder: ownFolder, file: `${file}.yaml` })
  observations[`${file}: the file`] = text(proxy.hasRefused ? 'refused' : 'served')
  if (proxy.hasRefused) return
  const running: Promise<void>[] = []
  for (const [caseName, look] of Object.entries(cases)) {
    const done = runCase(`${file}: ${caseName}`, () => look({ proxy, servers } satisfies Lab))
    if (isParallel) running.push(done)
    else await done
  }
  await Promise.all(running)
  await runCase(file, () => Promise.resolve({ 'the proxy': text(proxy.hasRefused ? 'died' : 'lives') }))
  await proxy.stop()
}

async function runCase(
  name: string,
  look: () => Promise<Readonly<Record<string, Observation>>>,
): Promise<void> {
  try {
    for (const [detail, observation] of Object.entries(await look()))
      observations[`${name}: ${detail}`] = observation
  } catch (error) {
    failures.push(`${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  }
}
