/** Reads JSON whose shape is not known for sure. */

/** An object of JSON. */
export type Json = Readonly<Record<string, unknown>>

/** The object that a text is. */
export function parseJson(text: string): Json {
  const value: unknown = JSON.parse(text)
  if (!isJson(value)) throw new Error(`this is no JSON object: ${text.slice(0, 100)}`)
  return value
}

/** The object in a field; empty where it is absent. */
export function recordOf(value: Json, field: string): Json {
  const found = value[field]
  return isJson(found) ? found : {}
}

/** The objects in the list of a field; empty where it is absent. */
export function arrayOf(value: Json, field: string): readonly Json[] {
  const found: unknown = value[field]
  return Array.isArray(found) ? found.filter(isJson) : []
}

/** The text or number in a field as text. */
export function textOf(value: Json, field: string, absent: string): string {
  const found = value[field]
  return typeof found === 'string' || typeof found === 'number' ? String(found) : absent
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
