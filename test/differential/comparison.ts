/** Compares what was seen of the two proxies with each other and with what is known. */
import { describe, isAsWritten, isSame } from './observation.ts'
import { rowOf } from './known-differences.ts'

import type { KnownDifference } from './known-differences.ts'
import type { Observation, Observations } from './observation.ts'

/** What is wrong, each as a row of docs/ENVOY.md. All empty: the documentation is right. */
export interface Comparison {
  /** Differences that are not listed. */
  readonly unlisted: readonly string[]
  /** Listed differences that are not there, or not as they are written. */
  readonly stale: readonly string[]
  /** How many observations were compared. */
  readonly compared: number
}

/** What is written for an observation that one of the proxies did not give. */
const NOT_SEEN = 'not seen'

/** Compares the observations whose name starts with a file's. */
export function compare(
  file: string,
  envoy: Observations,
  twinstack: Observations,
  known: readonly KnownDifference[],
): Comparison {
  const prefix = `${file}: `
  const names = [...new Set([...Object.keys(envoy), ...Object.keys(twinstack)])].filter((name) =>
    name.startsWith(prefix),
  )
  // Where one of the proxies does not take the file, that is the only thing to compare.
  const compared = names.filter((name) => name === `${prefix}the file` || isServed(envoy, file, twinstack))
  const unlisted: string[] = []
  const stale: string[] = []
  for (const name of compared) {
    const rows = known.filter(({ seenIn }) => seenIn === name)
    const [a, b] = [envoy[name], twinstack[name]]
    const actual = { seenIn: name, envoy: written(a), twinstack: written(b) }
    const isDifferent = a === undefined || b === undefined || !isSame(a, b)
    const isListed = rows.some((row) => isWritten(a, row.envoy) && isWritten(b, row.twinstack))
    if (isDifferent && !isListed) unlisted.push(rowOf(actual))
    if (rows.length > 0 && !(isDifferent && isListed)) stale.push(...rows.map(rowOf))
  }
  const gone = known.filter(({ seenIn }) => seenIn.startsWith(prefix) && !compared.includes(seenIn))
  return { unlisted, stale: [...stale, ...gone.map(rowOf)], compared: compared.length }
}

function isServed(envoy: Observations, file: string, twinstack: Observations): boolean {
  return [envoy, twinstack].every((observations) => {
    const observation = observations[`${file}: the file`]
    return observation !== undefined && describe(observation) === 'served'
  })
}

function written(observation: Observation | undefined): string {
  return observation === undefined ? NOT_SEEN : describe(observation)
}

function isWritten(observation: Observation | undefined, expected: string): boolean {
  return observation === undefined ? expected === NOT_SEEN : isAsWritten(observation, expected)
}
