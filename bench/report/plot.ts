/** The figures that matter most as an SVG: one panel each, in it a bar per contender and family. */
import { FAMILIES } from '../../src/core/family.ts'
import { formatNumber } from './table.ts'

import type { Family } from '../../src/core/family.ts'
import type { FigureRow } from './figures.ts'
import type { Contender, Report } from './report.ts'

/** Rows that are drawn, where the result has them. */
const PANELS = ['upload', 'download', 'connections', 'requests', 'upload-cpu', 'idle-rss'] as const

const COLUMNS = 2
const PANEL_WIDTH = 460
const PANEL_GAP = 24
const TITLE_HEIGHT = 26
const BAR_HEIGHT = 15
const BAR_STEP = 19
const FAMILY_GAP = 10
const LABEL_WIDTH = 150
const VALUE_WIDTH = 58

/** Okabe and Ito's colours, which people who see few colours can tell apart (https://jfly.uni-koeln.de/color/). */
const PEER_COLOURS = ['#56b4e9', '#0072b2', '#e69f00', '#cc79a7']
const OWN_COLOURS = ['#009e73', '#8fd3bf']
const CONTROL_COLOUR = '#bbbbbb'

/** Draws the report; `undefined` when it has none of the rows. */
export function renderPlot({ contenders, rows }: Report): string | undefined {
  const panels = PANELS.flatMap((id) => {
    const drawn = rows.filter((row) => row.id === id)
    return drawn.length === 0 ? [] : [drawn]
  })
  if (panels.length === 0) return undefined
  const colours = coloursOf(contenders)
  const height = panelHeight(contenders.length)
  const columns = Math.min(COLUMNS, panels.length)
  const width = columns * PANEL_WIDTH + (columns + 1) * PANEL_GAP
  const totalHeight = Math.ceil(panels.length / columns) * (height + PANEL_GAP) + PANEL_GAP
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${totalHeight}" ` +
      `font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${width}" height="${totalHeight}" fill="#ffffff"/>`,
    ...panels.map((panel, index) => {
      const x = PANEL_GAP + (index % columns) * (PANEL_WIDTH + PANEL_GAP)
      const y = PANEL_GAP + Math.floor(index / columns) * (height + PANEL_GAP)
      return `<g transform="translate(${x} ${y})">${renderPanel(panel, contenders, colours)}</g>`
    }),
    '</svg>',
    '',
  ].join('\n')
}

function panelHeight(contenders: number): number {
  return TITLE_HEIGHT + FAMILIES.length * (contenders * BAR_STEP + FAMILY_GAP)
}

function coloursOf(contenders: readonly Contender[]): ReadonlyMap<string, string> {
  const place = { peer: 0, twinstack: 0, control: 0 }
  const palette = { peer: PEER_COLOURS, twinstack: OWN_COLOURS, control: [CONTROL_COLOUR] }
  return new Map(
    contenders.map(({ name, kind }) => {
      const colours = palette[kind]
      return [name, colours[place[kind]++ % colours.length] ?? CONTROL_COLOUR]
    }),
  )
}

function renderPanel(
  rows: readonly FigureRow[],
  contenders: readonly Contender[],
  colours: ReadonlyMap<string, string>,
): string {
  const [first] = rows
  if (first === undefined) return ''
  const largest = Math.max(
    ...rows.flatMap(({ figures }) => Object.values(figures).map(({ median }) => median)),
  )
  const better = first.isHigherBetter ? 'longer is better' : 'shorter is better'
  const bars = FAMILIES.flatMap((family, familyIndex) => {
    const row = rows.find((each) => each.family === family)
    if (row === undefined) return []
    const top = TITLE_HEIGHT + familyIndex * (contenders.length * BAR_STEP + FAMILY_GAP)
    return contenders.map(({ name }, index) =>
      renderBar(
        { name, family, value: row.figures[name]?.median },
        { y: top + index * BAR_STEP, largest, colour: colours.get(name) ?? CONTROL_COLOUR },
      ),
    )
  })
  const title = `${first.title}, ${first.unit}`
  return `<text y="14" font-weight="600">${escapeXml(title)} <tspan fill="#666666" font-weight="400">(${better})</tspan></text>${bars.join('')}`
}

function renderBar(
  {
    name,
    family,
    value,
  }: { readonly name: string; readonly family: Family; readonly value: number | undefined },
  { y, largest, colour }: { readonly y: number; readonly largest: number; readonly colour: string },
): string {
  if (value === undefined) return ''
  const width = Math.max(1, (Math.max(0, value) / largest) * (PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH))
  const baseline = y + BAR_HEIGHT - 3
  return (
    `<text x="${LABEL_WIDTH - 6}" y="${baseline}" text-anchor="end">${escapeXml(name)}, ${family}</text>` +
    `<rect x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour}"/>` +
    `<text x="${(LABEL_WIDTH + width + 4).toFixed(1)}" y="${baseline}">${formatNumber(value)}</text>`
  )
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
