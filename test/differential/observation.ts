/**
 * What the suite sees of a proxy, in a form that two proxies can be compared by: exact text, shares of connections
 * within chance, and times within a tolerance.
 */

/** How often each of several outcomes was seen. */
export type Counts = Readonly<Record<string, number>>

/** One thing that was seen. */
export type Observation =
  | { readonly kind: 'text'; readonly text: string }
  /** Compared as two samples of one distribution. */
  | { readonly kind: 'shares'; readonly counts: Counts }
  /** Compared within the tolerance, which is that of the proxies' clocks and of the machine. */
  | { readonly kind: 'time'; readonly ms: number; readonly toleranceMs: number }

/** Everything that was seen of one proxy, by what was looked at: `file: case: detail`. */
export type Observations = Readonly<Record<string, Observation>>

/**
 * How many standard deviations two samples of one distribution may be apart. By chance they are so far apart once in
 * three million comparisons, so that the suite does not fail by chance.
 */
const MAX_DEVIATIONS = 5

export function text(value: string): Observation {
  return { kind: 'text', text: value }
}

/** An observation of each of several texts. */
export function texts(values: Readonly<Record<string, string>>): Observations {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, text(value)]))
}

/** The shares of the outcomes in a sample. */
export function shares(sample: readonly string[]): Observation {
  const counts: Record<string, number> = {}
  for (const outcome of sample) counts[outcome] = (counts[outcome] ?? 0) + 1
  return { kind: 'shares', counts }
}

export function time(ms: number, toleranceMs: number): Observation {
  return { kind: 'time', ms, toleranceMs }
}

/** True when the two say the same of their proxies. */
export function isSame(a: Observation, b: Observation): boolean {
  if (a.kind === 'text' && b.kind === 'text') return a.text === b.text
  if (a.kind === 'time' && b.kind === 'time') return Math.abs(a.ms - b.ms) <= a.toleranceMs
  return a.kind === 'shares' && b.kind === 'shares' && isOneDistribution(a.counts, b.counts)
}

/** True when the observation is what a row of the documentation says; `expected` is in the form of `describe`. */
export function isAsWritten(observation: Observation, expected: string): boolean {
  switch (observation.kind) {
    case 'text':
      return observation.text === expected
    case 'time':
      return Math.abs(observation.ms - Number.parseFloat(expected) * 1_000) <= observation.toleranceMs
    case 'shares':
      return isDrawnFrom(observation.counts, parseShares(expected))
  }
}

/** The observation as documentation writes it: text, `1.0 s`, or `a 25 %, b 75 %`. */
export function describe(observation: Observation): string {
  switch (observation.kind) {
    case 'text':
      return observation.text
    case 'time':
      return `${(observation.ms / 1_000).toFixed(1)} s`
    case 'shares': {
      const total = sumOf(observation.counts)
      return Object.entries(observation.counts)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([outcome, count]) => `${outcome} ${Math.round((100 * count) / total)} %`)
        .join(', ')
    }
  }
}

function parseShares(written: string): ReadonlyMap<string, number> {
  const shareOf = new Map<string, number>()
  for (const part of written.split(', ')) {
    const match = /^(.+) (\d+) %$/.exec(part)
    if (match?.[1] !== undefined) shareOf.set(match[1], Number(match[2]) / 100)
  }
  return shareOf
}

/** Pearson's test of homogeneity. */
function isOneDistribution(a: Counts, b: Counts): boolean {
  const outcomes = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  const [totalA, totalB] = [sumOf(a), sumOf(b)]
  if (totalA === 0 || totalB === 0) return totalA === totalB
  let statistic = 0
  for (const outcome of outcomes) {
    const [inA, inB] = [a[outcome] ?? 0, b[outcome] ?? 0]
    const share = (inA + inB) / (totalA + totalB)
    statistic += (inA - share * totalA) ** 2 / (share * totalA)
    statistic += (inB - share * totalB) ** 2 / (share * totalB)
  }
  return statistic <= criticalValue(outcomes.length - 1)
}

/** Pearson's goodness of fit. What is written as never must never be seen, and what is seen must be written. */
function isDrawnFrom(counts: Counts, shareOf: ReadonlyMap<string, number>): boolean {
  const total = sumOf(counts)
  if (Object.keys(counts).some((outcome) => (shareOf.get(outcome) ?? 0) === 0)) return false
  let statistic = 0
  for (const [outcome, share] of shareOf) {
    // A written share is rounded to a whole percent.
    const off = Math.max(0, Math.abs((counts[outcome] ?? 0) - share * total) - 0.005 * total)
    if (share > 0) statistic += off ** 2 / (share * total)
  }
  return statistic <= criticalValue(Math.max(0, shareOf.size - 1))
}

/** Of the chi-squared distribution, by Wilson and Hilferty's approximation. */
function criticalValue(degreesOfFreedom: number): number {
  if (degreesOfFreedom === 0) return 0
  const spread = 2 / (9 * degreesOfFreedom)
  return degreesOfFreedom * (1 - spread + MAX_DEVIATIONS * Math.sqrt(spread)) ** 3
}

function sumOf(counts: Counts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}
