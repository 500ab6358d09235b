/** Small forms that the JSON of dumps is made of. */

export type Json = Readonly<Record<string, unknown>>

/** `Up` of `up`: how ztunnel writes the names of its variants. */
export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** The key only where there is a value. */
export function optional(key: string, value: string): Json {
  return value === '' ? {} : { [key]: value }
}
