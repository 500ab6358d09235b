/**
 * The bench: starts load, proxy and server as separate processes, measures each thing without and with the proxy, and
 * prints ratios. README.md says how to read them.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'

import { PACKAGE_ROOT } from '../src/agent/version.ts'
import { FAMILIES } from '../src/core/family.ts'
import { loopbackFamilies } from '../test/fixtures/loopback.ts'
import { USAGE, parseBenchOptions } from './lib/options.ts'
import { readMachineFacts, renderReport } from './lib/report.ts'
import { measureBulk } from './measures/bulk.ts'
import { measureConnections } from './measures/connections.ts'
import { measureFallback } from './measures/fallback.ts'
import { measureIdle } from './measures/idle.ts'
import { measureRequests } from './measures/requests.ts'
import { measureTransfer } from './transfer.ts'

import type { Bench } from './lib/bench.ts'
import type { BenchOptions } from './lib/options.ts'
import type { Report } from './lib/report.ts'
import type { Row } from './lib/row.ts'

const BENCHES: Readonly<Record<string, Bench>> = {
  bulk: measureBulk,
  connections: measureConnections,
  requests: measureRequests,
  idle: measureIdle,
  fallback: measureFallback,
  transfer: measureTransfer,
}

async function main(): Promise<void> {
  const options = parseBenchOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(USAGE)
    return
  }
  const report = await runBenches(options)
  process.stdout.write(`${renderReport(report)}\n`)
  const jsonPath =
    options.jsonPath ??
    path.join(PACKAGE_ROOT, 'bench', 'results', `${report.startedAt.replaceAll(':', '-')}.json`)
  await mkdir(path.dirname(jsonPath), { recursive: true })
  await writeFile(jsonPath, `${JSON.stringify(report, undefined, 2)}\n`)
  note(`written to ${jsonPath}`)
}

async function runBenches(options: BenchOptions): Promise<Report> {
  const families = await loopbackFamilies()
  const missing = FAMILIES.filter((family) => !families.includes(family))
  if (missing.length > 0)
    note(`this machine has no ${missing.join()}: its rows and the fallback are left out`)
  const startedAt = new Date().toISOString()
  const machine = readMachineFacts(families)
  const rows: Row[] = []
  for (const [name, bench] of benchesOf(options)) {
    note(`${name} …`)
    rows.push(
      ...(await bench({
        ...options,
        transferBytes: options.transferMib * 1_024 * 1_024,
        lab: {
          families,
          ...(options.engine !== undefined && { engine: options.engine }),
          ...(options.profileFolder !== undefined && { profileFolder: options.profileFolder }),
        },
      })),
    )
  }
  const { rounds, seconds, engine = process.env['TWINSTACK_ENGINE'] ?? 'default' } = options
  return { startedAt, machine, rounds, seconds, engine, rows }
}

function benchesOf({ only }: BenchOptions): readonly (readonly [string, Bench])[] {
  const unknown = only?.filter((name) => !Object.hasOwn(BENCHES, name)) ?? []
  if (unknown.length > 0)
    throw new Error(`--only ${unknown.join()}: write some of ${Object.keys(BENCHES).join()}`)
  return Object.entries(BENCHES).filter(([name]) => only?.includes(name) ?? true)
}

/** Progress goes to stderr, so that stdout is the table and nothing else. */
function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

await main()
