/** The result as JSON and as a Markdown table, with the facts about the machine that a comparison needs. */
import os from 'node:os'

import type { Family } from '../../src/core/family.ts'
import type { Row } from './row.ts'

/** What the numbers depend on. Two results compare only where these agree; ratios travel further. */
export interface MachineFacts {
  readonly cpu: string
  readonly cores: number
  readonly memoryGib: number
  readonly system: string
  readonly node: string
  readonly families: readonly Family[]
  /** Load average of the last minute before the run: what else the machine was doing. */
  readonly loadBefore: number
}

export interface Report {
  readonly startedAt: string
  readonly machine: MachineFacts
  readonly rounds: number
  readonly seconds: number
  readonly engine: string
  readonly rows: readonly Row[]
}

/** Reads the facts of this machine. */
export function readMachineFacts(families: readonly Family[]): MachineFacts {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGib: Math.round(os.totalmem() / 1_024 ** 3),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    families,
    loadBefore: Number((os.loadavg()[0] ?? 0).toFixed(2)),
  }
}

/** The report as it is printed and pasted into README.md. */
export function renderReport({ machine, rounds, seconds, engine, rows }: Report): string {
  const header = ['measure', 'family', 'unit', 'no proxy', 'proxy', 'ratio', 'proxy cost']
  const lines = rows.map((row) => [
    row.title,
    row.family,
    row.isHigherBetter ? row.unit : `${row.unit}, less is better`,
    formatNumber(row.control),
    formatNumber(row.proxied),
    row.ratio.toFixed(2),
    row.cost === undefined ? '' : `${formatNumber(row.cost)} ${row.costUnit ?? ''}`.trimEnd(),
  ])
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)),
  )
  const render = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB, ${machine.system}, node ${machine.node}, ` +
      `load before ${machine.loadBefore}; engine ${engine}, medians of ${rounds} x ${seconds} s`,
    '',
    render(header),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...lines.map(render),
  ].join('\n')
}

/** Three figures, or all of a whole number above that. */
function formatNumber(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return value.toPrecision(3)
}
