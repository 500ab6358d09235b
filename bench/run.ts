/** `npm run bench`: runs a bench, prints the table, writes the result. README.md says how to read it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'

import { PACKAGE_ROOT } from '../src/agent/version.ts'
import { USAGE, parseBenchOptions } from './options.ts'
import { runPodsBench } from './pods-bench.ts'
import { runProxyBench } from './proxy-bench.ts'
import { renderPlot } from './report/plot.ts'
import { renderReport } from './report/table.ts'
import { missingForLab } from './requirements.ts'
import { runXdsBench } from './xds-bench.ts'

import type { BenchName, BenchOptions } from './options.ts'
import type { FigureReport } from './report/bounded-figure.ts'
import type { Report } from './report/report.ts'

const BENCHES: Readonly<Record<BenchName, (options: BenchOptions) => Promise<void>>> = {
  proxies: compareProxies,
  xds: measureXds,
  pods: measurePods,
}

async function main(): Promise<void> {
  const options = parseBenchOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(USAGE)
    return
  }
  await BENCHES[options.bench](options)
}

async function measureXds({ rounds, isCheck }: BenchOptions): Promise<void> {
  show(await runXdsBench({ note, rounds }), isCheck)
}

async function measurePods({ rounds, isCheck }: BenchOptions): Promise<void> {
  const missing = await missingForLab()
  if (missing !== undefined) throw new Error(missing)
  show(await runPodsBench({ note, rounds, signal: operatorSignal() }), isCheck)
}

function show({ text, missed }: FigureReport, isCheck: boolean): void {
  process.stdout.write(`${text}\n`)
  if (isCheck && missed.length > 0) throw new Error(`${missed.length} goals are missed: ${missed.join('; ')}`)
}

/** Aborted when the operator has had enough. */
function operatorSignal(): AbortSignal {
  const aborted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      aborted.abort()
    })
  }
  return aborted.signal
}

async function compareProxies(options: BenchOptions): Promise<void> {
  const missing = await missingForLab()
  if (missing !== undefined) throw new Error(missing)
  const report = await runProxyBench(options, { note, signal: operatorSignal() })
  process.stdout.write(`${renderReport(report)}\n`)
  await writeReport(options, report)
  if (options.isPublished) await publish(report)
  if (report.failures.length > 0) throw new Error(`${report.failures.length} measures have failed`)
  const failed = report.verdicts.filter(({ state }) => state !== 'met')
  if (options.isCheck && (failed.length > 0 || report.verdicts.length === 0))
    throw new Error(`${failed.length} of ${report.verdicts.length} goals are missed or could not be measured`)
}

async function writeReport({ name, outFolder }: BenchOptions, report: Report): Promise<void> {
  const folder = outFolder ?? path.join(PACKAGE_ROOT, 'bench', 'results')
  const basePath = path.join(folder, name ?? report.startedAt.replaceAll(':', '-'))
  await mkdir(folder, { recursive: true })
  await writeFile(`${basePath}.json`, `${JSON.stringify(report, undefined, 2)}\n`)
  await writeFile(`${basePath}.md`, `${renderReport(report)}\n`)
  const plot = renderPlot(report)
  if (plot !== undefined) await writeFile(`${basePath}.svg`, plot)
  note(`written to ${basePath}.{json,md${plot === undefined ? '' : ',svg'}}`)
}

/** Puts the table into README.md, between the lines that mark its place. */
async function publish(report: Report): Promise<void> {
  const readmePath = path.join(PACKAGE_ROOT, 'bench', 'README.md')
  const text = await readFile(readmePath, 'utf8')
  const place = /(?<=^<!-- published -->\n)[^]*(?=^<!-- end of published -->$)/m
  if (!place.test(text)) throw new Error(`${readmePath} does not mark the place of the published result`)
  await writeFile(
    readmePath,
    text.replace(
      place,
      () => `\n![the figures that matter most](results/published.svg)\n\n${renderReport(report)}\n\n`,
    ),
  )
}

/** Progress goes to stderr, so that stdout is the table and nothing else. */
function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

try {
  await main()
} catch (reason) {
  note(reason instanceof Error ? reason.message : String(reason))
  process.exitCode = 1
}
