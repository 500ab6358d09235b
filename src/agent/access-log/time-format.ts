/** Times in the strftime patterns that Envoy's START_TIME takes, in UTC. */

/** How many characters of the ISO form change within a second: the milliseconds and the Z. */
const MILLISECONDS_CHARS = 4

const CONVERSION = /%([1-9]?)([YmdHMSszZFTef%])/g

/** The time in ISO form with milliseconds, or by a pattern such as `%Y-%m-%dT%H:%M:%S.%3fZ`. */
export function formatTime(timeMs: number, pattern?: string): string {
  const date = new Date(timeMs)
  if (pattern === undefined) return date.toISOString()
  return pattern.replaceAll(
    CONVERSION,
    (whole, digits: string, conversion: string) => convert(date, conversion, digits) ?? whole,
  )
}

/** Times in ISO form with milliseconds, cheap for times that lie close together. */
export class IsoTimes {
  #timeMs = NaN
  #text = ''
  #second = NaN
  #prefix = ''

  format(timeMs: number): string {
    const wholeMs = Math.floor(timeMs)
    if (wholeMs !== this.#timeMs) {
      this.#timeMs = wholeMs
      this.#text = this.#print(wholeMs)
    }
    return this.#text
  }

  #print(timeMs: number): string {
    const second = Math.floor(timeMs / 1_000)
    if (second !== this.#second) {
      this.#second = second
      this.#prefix = new Date(second * 1_000).toISOString().slice(0, -MILLISECONDS_CHARS)
    }
    const ms = timeMs - second * 1_000
    return [this.#prefix, ms < 10 ? '00' : ms < 100 ? '0' : '', ms, 'Z'].join('')
  }
}

function convert(date: Date, conversion: string, digits: string): string | undefined {
  const iso = date.toISOString()
  switch (conversion) {
    case 'Y':
      return iso.slice(0, 4)
    case 'm':
      return iso.slice(5, 7)
    case 'd':
      return iso.slice(8, 10)
    case 'e':
      return String(date.getUTCDate()).padStart(2)
    case 'H':
      return iso.slice(11, 13)
    case 'M':
      return iso.slice(14, 16)
    case 'S':
      return iso.slice(17, 19)
    case 's':
      return String(Math.floor(date.getTime() / 1_000))
    case 'f':
      return iso
        .slice(20, 23)
        .padEnd(9, '0')
        .slice(0, digits === '' ? 9 : Number(digits))
    case 'F':
      return iso.slice(0, 10)
    case 'T':
      return iso.slice(11, 19)
    case 'z':
      return '+0000'
    case 'Z':
      return 'UTC'
    case '%':
      return '%'
    default:
      return undefined
  }
}
