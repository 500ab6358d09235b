/**
 * Reads a YAML or JSON configuration file into a plain value and knows where each part of it stands, so that every
 * problem can be reported as `file:line:column`. YAML 1.2 core schema, with anchors and merge keys.
 */
import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseAllDocuments, visit } from 'yaml'

import { errorMessage } from '../core/errors.ts'
import { formatPath } from '../core/result.ts'

import type { Document, Pair, YAMLMap } from 'yaml'
import type { Path, Problem } from '../core/result.ts'

/** A position in a text; both count from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** A problem of the text itself, which no path leads to. */
export interface SyntaxProblem extends Problem {
  readonly place: Place
}

/** A file that could be read as YAML or JSON. */
export interface ConfigDocument {
  /** Maps are plain objects, whole numbers beyond 2^53 are text. */
  readonly value: unknown
  /** Where the value at `path` stands, or with `at: 'key'` its key; where there is none, its nearest parent. */
  locate(path: Path, at?: 'key'): Place
}

export type ConfigParseResult =
  | { readonly ok: true; readonly document: ConfigDocument }
  | { readonly ok: false; readonly problems: readonly SyntaxProblem[] }

const START: Place = { line: 1, column: 1 }
const YAML_OPTIONS = { version: '1.2', merge: true, intAsBigInt: true, prettyErrors: false } as const
const MERGE_KEY = '<<'

/** Reads the text of a file. JSON is read as the YAML that it is. */
export function parseConfigDocument(text: string): ConfigParseResult {
  const lineCounter = new LineCounter()
  const parsed = parseAllDocuments(text, { ...YAML_OPTIONS, lineCounter })
  const documents = Array.isArray(parsed) ? parsed.filter((document) => !isEmpty(document)) : []
  const [document, second] = documents
  if (document === undefined) {
    return failure(START, 'the file is empty; write a configuration, or start without -c')
  }
  const problems = documents.flatMap((each) => syntaxProblems(each, lineCounter))
  if (problems.length > 0) return { ok: false, problems }
  if (second !== undefined) {
    return failure(
      placeOf(second.contents, lineCounter) ?? START,
      'the file holds more than one YAML document; keep one and remove the --- between them',
    )
  }
  try {
    const value = toPlain(document.toJS())
    return {
      ok: true,
      document: { value, locate: (path, at) => locate(document, lineCounter, path, at) },
    }
  } catch (error) {
    // What the parser finds only when it expands aliases, such as too many of them.
    return failure(START, errorMessage(error))
  }
}

/** One problem as a line: `file:line:column: error: path: message`. */
export function formatProblem(
  fileName: string,
  document: ConfigDocument | undefined,
  problem: Problem | SyntaxProblem,
): string {
  const place = 'place' in problem ? problem.place : (document?.locate(problem.path, problem.at) ?? START)
  const path = formatPath(problem.path)
  const subject = path === '' ? '' : `${path}: `
  return `${fileName}:${place.line}:${place.column}: ${problem.severity}: ${subject}${problem.message}`
}

function failure(place: Place, message: string): ConfigParseResult {
  return { ok: false, problems: [{ path: [], severity: 'error', message, place }] }
}

function isEmpty(document: Document): boolean {
  return (
    document.errors.length === 0 &&
    (document.contents === null || (isScalar(document.contents) && document.contents.value === null))
  )
}

function syntaxProblems(document: Document, lineCounter: LineCounter): readonly SyntaxProblem[] {
  const problems: SyntaxProblem[] = []
  const add = (offset: number, message: string) => {
    const { line, col } = lineCounter.linePos(offset)
    problems.push({ path: [], severity: 'error', message, place: { line, column: col } })
  }
  for (const error of [...document.errors, ...document.warnings])
    add(error.pos[0], remedyOf(error.code, error.message))
  if (problems.length > 0) return problems
  visit(document, {
    Alias: (_, alias) => {
      if (alias.resolve(document) === undefined)
        add(alias.range?.[0] ?? 0, `there is no anchor '&${alias.source}' before this alias`)
    },
  })
  return problems
}

/** What to do about the mistakes that are made most; the parser's words for the others. */
function remedyOf(code: string, message: string): string {
  switch (code) {
    case 'DUPLICATE_KEY':
      return 'this key is in the map already; remove one of the two'
    case 'TAB_AS_INDENT':
      return 'a tab cannot indent YAML; use spaces'
    case 'BAD_INDENT':
      return `bad indentation: ${lowerFirst(message)}`
    default:
      return lowerFirst(message)
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}

/** Whole numbers come as bigint so that none loses digits; those that a number holds become numbers again. */
function toPlain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value.toString()
  }
  if (Array.isArray(value)) return value.map(toPlain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toPlain(item)]))
}

function locate(document: Document, lineCounter: LineCounter, path: Path, at: 'key' | undefined): Place {
  let node: unknown = document.contents
  let place = placeOf(node, lineCounter) ?? START
  for (const [index, part] of path.entries()) {
    const child = childOf(document, node, part)
    if (child === undefined) return place
    const isLast = index === path.length - 1
    const keyPlace = placeOf(child.key, lineCounter)
    place =
      (isLast && at === 'key' ? keyPlace : undefined) ??
      placeOf(child.value, lineCounter) ??
      keyPlace ??
      place
    node = child.value
  }
  return place
}

/** The child of a node, through aliases and merge keys; a list's items have no key. */
function childOf(
  document: Document,
  parent: unknown,
  part: string | number,
): { readonly key: unknown; readonly value: unknown } | undefined {
  const node = isAlias(parent) ? parent.resolve(document) : parent
  if (isSeq(node)) {
    const value = node.items[Number(part)]
    return value === undefined ? undefined : { key: undefined, value }
  }
  if (!isMap(node)) return undefined
  const own = pairOf(node, String(part))
  if (own !== undefined) return { key: own.key, value: own.value }
  const merged = pairOf(node, MERGE_KEY)?.value
  for (const source of isSeq(merged) ? merged.items : [merged]) {
    const found = source === undefined ? undefined : childOf(document, source, part)
    if (found !== undefined) return found
  }
  return undefined
}

function pairOf(map: YAMLMap, name: string): Pair | undefined {
  return map.items.find((item): item is Pair => isPair(item) && keyText(item.key) === name)
}

/** The parser holds a merge key as a symbol, so that it differs from a quoted '<<'. */
function keyText(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined
  return typeof key.value === 'symbol' ? key.value.description : String(key.value)
}

function placeOf(node: unknown, lineCounter: LineCounter): Place | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node)) return undefined
  const range: unknown = node.range
  if (!Array.isArray(range)) return undefined
  const offset: unknown = range[0]
  if (typeof offset !== 'number') return undefined
  const { line, col } = lineCounter.linePos(offset)
  return { line, column: col }
}
