/** The result as Markdown: all figures, their ratios, and the verdict on each goal. */
import { bestPeer } from './goals.ts'
import { describeMachine } from './machine-facts.ts'

import type { FigureRow } from './figures.ts'
import type { Goal, Verdict } from './goals.ts'
import type { Contender, Report } from './report.ts'

/** The report as it is printed, and shown in README.md. */
export function renderReport(report: Report): string {
  const { machine, rounds, seconds, contenders, leftOut, failures } = report
  const sections = [
    `${describeMachine(machine)}; medians of ${rounds} rounds of ${seconds} s`,
    [
      ...contenders.map(({ name, description }) => `- ${name}: ${description}`),
      ...leftOut.map((reason) => `- left out: ${reason}`),
      ...failures.map((failure) => `- failed: ${failure}`),
    ].join('\n'),
    renderFigures(report),
    ...contenders.filter(({ kind }) => kind === 'twinstack').map((own) => renderRatios(report, own)),
    renderVerdicts(report.verdicts),
  ]
  return sections.filter((section) => section !== '').join('\n\n')
}

/** One line per thing and family, one column per contender. */
function renderFigures({ contenders, rows }: Report): string {
  const shown = contenders.filter(({ name }) => rows.some(({ figures }) => figures[name] !== undefined))
  return renderTable(
    ['', 'family', 'unit', ...shown.map(({ name }) => name)],
    rows.map((row) => [
      row.title,
      row.family,
      row.isHigherBetter ? row.unit : `${row.unit}, less is better`,
      ...shown.map(({ name }) => formatFigure(row, name)),
    ]),
  )
}

/** What twinstack has, divided by what each of the others has. Empty when there is nothing to compare with. */
function renderRatios({ contenders, rows }: Report, own: Contender): string {
  const others = contenders.filter(({ kind }) => kind !== 'twinstack')
  const compared = rows.filter(
    ({ figures, isRelative = false }) =>
      !isRelative &&
      figures[own.name] !== undefined &&
      others.some(({ name }) => figures[name] !== undefined),
  )
  if (compared.length === 0) return ''
  return renderTable(
    [`${own.name} ÷`, 'family', 'good is', ...others.map(({ name }) => name), 'best proxy'],
    compared.map((row) => {
      const best = bestPeer(row)
      return [
        row.title,
        row.family,
        row.isHigherBetter ? 'above 1' : 'below 1',
        ...others.map(({ name }) => formatRatio(row, own.name, name)),
        best === undefined ? '' : `${formatRatio(row, own.name, best)} (${best})`,
      ]
    }),
  )
}

function renderVerdicts(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return ''
  return renderTable(
    ['goal', 'family', 'must be', 'reached', 'verdict'],
    verdicts.map(({ goal, title, family, reached, bestPeer: peer, state }) => [
      title,
      family,
      `${describeBounds(goal)}${goal.of === 'figure' ? '' : ' × the best proxy'}`,
      reached === undefined ? '' : `${formatNumber(reached)}${peer === undefined ? '' : ` × ${peer}`}`,
      state,
    ]),
  )
}

function describeBounds({ min, max }: Goal): string {
  if (min !== undefined && max !== undefined) return `${min} to ${max}`
  return min === undefined ? `≤ ${max ?? ''}` : `≥ ${min}`
}

function formatFigure({ figures }: FigureRow, name: string): string {
  const figure = figures[name]
  return figure === undefined ? '' : formatNumber(figure.median)
}

function formatRatio({ figures }: FigureRow, own: string, other: string): string {
  const [numerator, denominator] = [figures[own]?.median, figures[other]?.median]
  return numerator === undefined || denominator === undefined ? '' : (numerator / denominator).toFixed(2)
}

/** A Markdown table with columns of even width. */
export function renderTable(header: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, 3, ...lines.map((line) => line[column]?.length ?? 0)),
  )
  const render = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [
    render(header),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...lines.map(render),
  ].join('\n')
}

/** Three figures, or all of a whole number above that. */
export function formatNumber(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return value.toPrecision(3)
}
