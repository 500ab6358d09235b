/**
 * Runs the real Envoy and twinstack on the same files, each in a network of its own with the same servers and clients,
 * and holds docs/ENVOY.md equal to the differences that are seen: none that is not listed, none listed that is gone.
 */
import { mkdirSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { ENGINES } from '../fixtures/engines.ts'
import { compare } from './comparison.ts'
import { findEnvoy } from './envoy-binary.ts'
import { readKnownDifferences } from './known-differences.ts'
import { startLab, whyNoLab } from './lab.ts'
import { SCENARIOS } from './scenarios.ts'

import type { LabReport } from './lab-process.ts'
import type { LabSubject } from './lab.ts'

const DOCUMENT = 'docs/ENVOY.md'
const LONGEST_MS = 420_000
/** Envoy runs one worker, which has its turns, ejections and sockets to itself. */
const COMPARED = ENGINES.filter(({ workers }) => workers === 1)

const isSkipWanted = process.env['TWINSTACK_TEST_NO_SKIP'] !== '1'
const reason = whyNoLab()
const envoy =
  reason === undefined ? findEnvoy({ mayDownload: !isSkipWanted }) : ({ isFound: false, reason } as const)

if (envoy.isFound) run(envoy.path)
else if (isSkipWanted) t.plan(0, envoy.reason)
else t.fail(`nothing is compared with Envoy: ${envoy.reason}`)

function run(envoyPath: string): void {
  t.setTimeout(LONGEST_MS)
  const folder = t.testdir()
  const look = async (name: string, subject: LabSubject): Promise<LabReport> => {
    const ownFolder = path.join(folder, name)
    mkdirSync(ownFolder)
    const lab = startLab(subject, ownFolder)
    t.teardown(() => lab.stop())
    return lab.report
  }
  const envoyReport = look('envoy', { proxy: 'envoy', envoyPath })
  const reports = COMPARED.map(({ name, env }) => look(name, { proxy: 'twinstack', envoyPath, env }))

  t.test(`${DOCUMENT} gives a reason for each of its differences`, async (t) => {
    const { rows, mistakes } = readKnownDifferences(DOCUMENT, 'node')
    t.strictSame(mistakes, [])
    const files = SCENARIOS.map(({ file }) => file)
    const strays = rows.filter(({ seenIn }) => !files.some((file) => seenIn.startsWith(`${file}: `)))
    t.strictSame(strays, [], 'each is about a file of the suite')
  })

  for (const [index, engine] of COMPARED.entries()) {
    const name = `what twinstack does otherwise than Envoy is in ${DOCUMENT} (${engine.name})`
    t.test(name, { timeout: LONGEST_MS }, async (t) => {
      const [seenOfEnvoy, seen] = await Promise.all([envoyReport, reports[index]])
      t.strictSame([...seenOfEnvoy.failures, ...(seen?.failures ?? [])], [], 'each case could be looked at')
      const { rows } = readKnownDifferences(DOCUMENT, engine.kind)
      for (const { file } of SCENARIOS) {
        t.test(`${file}.yaml`, async (t) => {
          const result = compare(file, seenOfEnvoy.observations, seen?.observations ?? {}, rows)
          t.ok(result.compared > 0, `${result.compared} observations`)
          for (const row of result.unlisted) t.fail(`a difference that is not listed: ${row}`)
          for (const row of result.stale) t.fail(`a listed difference that is not there: ${row}`)
        })
      }
    })
  }
}
