/** Outcomes as values: what a decoder found, or every problem it met with its place and the remedy. */

/** Where in a document a value stands: object keys and list indexes from the root. */
export type Path = readonly (string | number)[]

/** One thing that is wrong with a configuration. */
export interface Problem {
  readonly path: Path
  /** `error`: the document is refused. `warning`: it is used, and the operator should know. */
  readonly severity: 'error' | 'warning'
  /** What is wrong and what to write instead; one line, no trailing period. */
  readonly message: string
  /** What to point at: the key that introduces the value. Absent: the value. */
  readonly at?: 'key'
}

export type Result<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly Problem[] }

/** The path as `listeners[0].address.port_value`; empty for the root. */
export function formatPath(path: Path): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`
    else text += text === '' ? part : `.${part}`
  }
  return text
}
