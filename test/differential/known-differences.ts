/**
 * Reads the intended differences from docs/ENVOY.md: below the heading "Differences", sections with a reason and a
 * table of where the difference is seen and what each proxy does there.
 */
import { readFileSync } from 'node:fs'

/** One row. */
export interface KnownDifference {
  /** The heading of the section, which has the reason. */
  readonly section: string
  /** The name of the observation. */
  readonly seenIn: string
  readonly envoy: string
  readonly twinstack: string
}

/** What is read. */
export interface KnownDifferences {
  readonly rows: readonly KnownDifference[]
  /** Sections that give no reason, and rows that are no rows. */
  readonly mistakes: readonly string[]
}

const CHAPTER = '## Differences'
/** Sections with this in front are about the node engine only. */
const NODE_ENGINE = 'Node engine: '

/** Reads the rows that hold for an engine. */
export function readKnownDifferences(file: string, engine: 'node' | 'linux'): KnownDifferences {
  const rows: KnownDifference[] = []
  const mistakes: string[] = []
  const chapter = chapterOf(readFileSync(file, 'utf8'))
  for (const part of chapter.split('\n### ').slice(1)) {
    const [section = '', ...lines] = part.split('\n')
    const tableLines = lines.filter((line) => line.startsWith('|'))
    if (lines.every((line) => line === '' || line.startsWith('|')))
      mistakes.push(`'${section}' gives no reason`)
    if (tableLines.length < 3) mistakes.push(`'${section}' has no rows`)
    for (const line of tableLines.slice(2)) {
      const match = /^\| (.+) \| `(.+)` \| `(.+)` \|$/.exec(line)
      if (match === null) mistakes.push(`'${section}' has a row of another form: ${line}`)
      else if (engine === 'node' || !section.startsWith(NODE_ENGINE)) {
        const [, seenIn = '', envoy = '', twinstack = ''] = match
        rows.push({ section, seenIn, envoy, twinstack })
      }
    }
  }
  return { rows, mistakes }
}

/** A difference as a row of the table. */
export function rowOf({ seenIn, envoy, twinstack }: Omit<KnownDifference, 'section'>): string {
  return `| ${seenIn} | \`${envoy}\` | \`${twinstack}\` |`
}

function chapterOf(text: string): string {
  const start = text.indexOf(`\n${CHAPTER}\n`)
  if (start < 0) throw new Error(`there is no heading ${CHAPTER}`)
  const end = text.indexOf('\n## ', start + CHAPTER.length)
  return text.slice(start, end < 0 ? undefined : end)
}
