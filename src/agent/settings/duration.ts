/** Durations as ztunnel's variables hold them (the duration-str syntax): `5m`, `1h30m`, `250ms`, or bare seconds. */

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  nsec: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  usec: 1e-3,
  ms: 1,
  msec: 1,
  s: 1_000,
  sec: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  hr: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  w: 604_800_000,
  week: 604_800_000,
}

const PART = /^\s*\+?\s*(\d+)\s*([a-zµ]*)\s*/

/** Reads a duration in milliseconds, `undefined` when the text is none. The parts of `1h 30m` add up. */
export function parseDurationMs(text: string): number | undefined {
  let rest = text.toLowerCase()
  let totalMs = 0
  do {
    const match = PART.exec(rest)
    const unitMs = UNIT_MS[match?.[2] === '' ? 's' : (match?.[2] ?? 'none')]
    if (match === null || unitMs === undefined) return undefined
    totalMs += Number(match[1]) * unitMs
    rest = rest.slice(match[0].length)
  } while (rest !== '')
  return totalMs
}
