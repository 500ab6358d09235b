/** What metrics and access log cost: the same proxy with both and with neither, in turn. */
import path from 'node:path'

import { FAMILIES } from '../../src/core/family.ts'
import { LineProcess } from '../lab/line-process.ts'
import { measureWindow } from '../lab/window.ts'
import { PLAIN, withProxy } from '../proxies/running-proxy.ts'
import { UPLOAD_FIGURES } from './bulk.ts'
import { CONNECTION_FIGURES, CONNECTION_LOAD } from './connections.ts'
import { measureIdleBytes } from './idle.ts'
import { REQUEST_FIGURES, REQUEST_LOAD } from './requests.ts'

import type { Family } from '../../src/core/family.ts'
import type { Lab } from '../lab/lab.ts'
import type { ProxyProgram } from '../proxies/proxy-program.ts'
import type { RunningProxy } from '../proxies/running-proxy.ts'
import type { FigureSubject } from '../report/figures.ts'
import type { Measure, MeasureContext } from './measure.ts'

/** Fifteen times as often as Prometheus does by default. */
const SCRAPE_INTERVAL_MS = 1_000

const LOADS = [
  { load: { load: 'send', service: 'sink', count: 1 }, figures: UPLOAD_FIGURES },
  { load: CONNECTION_LOAD, figures: CONNECTION_FIGURES },
  { load: REQUEST_LOAD, figures: REQUEST_FIGURES },
] as const

/** The same proxy twice. */
interface Pair {
  readonly plain: RunningProxy
  readonly observed: RunningProxy
}

/** Rows `observed-*`: each figure with metrics scraped and the access log written, as a multiple of without. */
export const measureObserved: Measure = async (context) => {
  const { lab, engines, rounds } = context
  for (const program of engines) {
    for (let round = 0; round < rounds; round++) {
      await withPair(lab, program, async (pair) => {
        for (const family of FAMILIES) await measureLoads(context, pair, family)
      })
      await withPair(lab, program, (pair) => measureIdleMemory(context, pair))
    }
  }
}

async function withPair(lab: Lab, program: ProxyProgram, use: (pair: Pair) => Promise<void>): Promise<void> {
  await withProxy(lab, program, PLAIN, (plain) =>
    withProxy(lab, program, { ...PLAIN, isObserved: true }, async (observed) => {
      const scraper = await startScraper(lab, observed)
      try {
        await use({ plain, observed })
        // Rejects when a scrape has failed.
        await scraper.ask('scrapes')
      } finally {
        await scraper.close()
      }
    }),
  )
}

function startScraper(lab: Lab, { name, metricsPort }: RunningProxy): Promise<LineProcess> {
  if (metricsPort === undefined) throw new TypeError(`${name} has no metrics`)
  const url = `http://127.0.0.1:${metricsPort}/metrics`
  const script = path.join(import.meta.dirname, '../lab/scraper.js')
  return LineProcess.start(
    'scraper',
    lab.namespaces.within('node', process.execPath, [script, url, String(SCRAPE_INTERVAL_MS)]),
  )
}

async function measureLoads(
  context: MeasureContext,
  { plain, observed }: Pair,
  family: Family,
): Promise<void> {
  for (const { load, figures } of LOADS) {
    const plan = { ...load, family, seconds: context.seconds }
    const without = await measureWindow(context.lab, { ...plan, proxy: plain })
    const withBoth = await measureWindow(context.lab, { ...plan, proxy: observed })
    for (const { id, title, isHigherBetter, valueOf } of figures) {
      context.figures.add(
        subjectOf(id, title, { family, isHigherBetter }),
        plain.name,
        valueOf(withBoth) / valueOf(without),
      )
    }
  }
}

async function measureIdleMemory(
  { lab, figures, idleConnections }: MeasureContext,
  { plain, observed }: Pair,
): Promise<void> {
  const without = await measureIdleBytes(lab, plain, 'ipv4', idleConnections)
  const withBoth = await measureIdleBytes(lab, observed, 'ipv4', idleConnections)
  figures.add(
    subjectOf('idle-rss', 'RSS per idle connection', { family: 'ipv4', isHigherBetter: false }),
    plain.name,
    withBoth / without,
  )
}

function subjectOf(
  id: string,
  title: string,
  rest: Pick<FigureSubject, 'family' | 'isHigherBetter'>,
): FigureSubject {
  return {
    ...rest,
    id: `observed-${id}`,
    title: `${title}, metrics and access log on`,
    unit: '× off',
    isRelative: true,
  }
}
