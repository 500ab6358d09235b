/**
 * Reads the JSON form of a configuration message, from a file or from the wire, and collects every problem with its
 * path instead of stopping at the first. Knows proto3's JSON rules, no message in particular.
 *
 * https://protobuf.dev/programming-guides/json/
 */
import type { Path, Problem } from '../../core/result.ts'

/** What a decoder does with a field: `ignored` is accepted without effect, `refused` is an error when it has a value. */
export type FieldUse = 'read' | 'ignored' | 'refused'

/** One look of a decoder at a field of a message, which may hold it or not. */
export interface FieldLookup {
  readonly message: string
  /** snake_case. */
  readonly field: string
  readonly use: FieldUse
  readonly isPresent: boolean
}

/**
 * Where a document comes from. In a file, what has no meaning here is a mistake that its author can remove. On the wire it
 * is what a control plane sends to everybody: it is listed, and only what would change where bytes go is refused.
 */
export type DocumentForm = 'file' | 'wire'

/** What decoding one document found: all of it, in the order of the document's reading. */
export class DecodeReport {
  readonly form: DocumentForm
  readonly #onLookup: ((lookup: FieldLookup) => void) | undefined
  readonly #problems: Problem[] = []
  readonly #ignoredFields = new Set<string>()

  /** @param onLookup told of every field that the decoders know of the messages they meet; for listing a dialect */
  constructor(onLookup?: (lookup: FieldLookup) => void, form: DocumentForm = 'file') {
    this.#onLookup = onLookup
    this.form = form
  }

  get problems(): readonly Problem[] {
    return this.#problems
  }

  /** True when at least one problem refuses the document. */
  get hasErrors(): boolean {
    return this.#problems.some((problem) => problem.severity === 'error')
  }

  /** `Message.field` of each field that is accepted and has no effect on a TCP proxy; each once. */
  get ignoredFields(): readonly string[] {
    return [...this.#ignoredFields]
  }

  add(problem: Problem): void {
    this.#problems.push(problem)
  }

  ignore(messageName: string, fieldName: string): void {
    this.#ignoredFields.add(`${messageName}.${fieldName}`)
  }

  /** True when somebody wants to know of lookups, which costs. */
  get isObserved(): boolean {
    return this.#onLookup !== undefined
  }

  lookedUp(message: string, field: string, use: FieldUse, isPresent: boolean): void {
    this.#onLookup?.({ message, field, use, isPresent })
  }
}

/** How numbers are bounded; both ends belong to the range. */
export interface NumberRange {
  readonly min: number
  readonly max: number
}

/**
 * One value of a document with its place. Each reading method gives `undefined` after it has reported what is wrong, so
 * a decoder goes on and finds the rest.
 */
export class Field {
  readonly value: unknown
  readonly path: Path
  readonly report: DecodeReport

  constructor(value: unknown, path: Path, report: DecodeReport) {
    this.value = value
    this.path = path
    this.report = report
  }

  /** Reports an error at this place. The message says what is wrong and what to write instead. */
  error(message: string): undefined {
    this.report.add({ path: this.path, severity: 'error', message })
  }

  /** Reports that the field itself, whatever its value, is what is wrong. */
  errorAtKey(message: string): undefined {
    this.report.add({ path: this.path, severity: 'error', message, at: 'key' })
  }

  /**
   * Reports what is right and has no meaning here: an error in a file; on the wire, `what` (`Message.field`) is listed as
   * ignored.
   */
  unsupported(what: `${string}.${string}`, message: string, at?: 'key'): undefined {
    if (this.report.form === 'file') return at === 'key' ? this.errorAtKey(message) : this.error(message)
    const dot = what.indexOf('.')
    this.report.ignore(what.slice(0, dot), what.slice(dot + 1))
  }

  /** Reports something that the operator should know and that does not stop the document from being used. */
  warn(message: string): void {
    this.report.add({ path: this.path, severity: 'warning', message })
  }

  string(): string | undefined {
    return typeof this.value === 'string'
      ? this.value
      : this.error(`must be text, not ${describe(this.value)}`)
  }

  boolean(): boolean | undefined {
    return typeof this.value === 'boolean'
      ? this.value
      : this.error(`must be true or false, not ${describe(this.value)}`)
  }

  /** A whole number; proto3 JSON also allows it as text. */
  integer(range: NumberRange): number | undefined {
    const number =
      typeof this.value === 'string' && /^-?\d+$/.test(this.value) ? Number(this.value) : this.value
    if (typeof number === 'number' && Number.isInteger(number) && number >= range.min && number <= range.max)
      return number
    return this.error(`must be a whole number from ${range.min} to ${range.max}, not ${describe(this.value)}`)
  }

  number(range: NumberRange): number | undefined {
    if (typeof this.value === 'number' && this.value >= range.min && this.value <= range.max)
      return this.value
    return this.error(`must be a number from ${range.min} to ${range.max}, not ${describe(this.value)}`)
  }

  /** google.protobuf.Duration, `5s` or `0.250s`, as milliseconds. Never negative. */
  durationMs(): number | undefined {
    const match = typeof this.value === 'string' ? /^(\d+(?:\.\d{1,9})?)s$/.exec(this.value) : null
    if (match?.[1] !== undefined) return Number(match[1]) * 1_000
    return this.error(`must be a duration in seconds such as 5s or 0.25s, not ${describe(this.value)}`)
  }

  /** An enum value by name, or by number through the order of `names` starting at 0. */
  oneOf<Name extends string>(names: readonly Name[]): Name | undefined {
    const value = this.value
    const name = typeof value === 'number' ? names[value] : names.find((candidate) => candidate === value)
    return name ?? this.error(`must be one of ${names.join(', ')}, not ${describe(value)}`)
  }

  /** The items of a list, each with its own place. */
  list(): readonly Field[] {
    if (!Array.isArray(this.value)) {
      this.error(`must be a list, not ${describe(this.value)}`)
      return []
    }
    return this.value.map((item: unknown, index) => new Field(item, [...this.path, index], this.report))
  }

  /** The value at a key of a map or an index of a list, which need not be there, with its place. */
  child(key: string | number): Field {
    const children: readonly (readonly [string, unknown])[] =
      typeof this.value === 'object' && this.value !== null ? Object.entries(this.value) : []
    const value = children.find(([name]) => name === String(key))?.[1]
    return new Field(value, [...this.path, key], this.report)
  }

  /** The entries of a map with arbitrary keys. */
  entries(): readonly (readonly [string, Field])[] {
    if (!isObject(this.value)) {
      this.error(`must be a map, not ${describe(this.value)}`)
      return []
    }
    return Object.entries(this.value).map(([key, item]) => [
      key,
      new Field(item, [...this.path, key], this.report),
    ])
  }

  /** The value as a message, `name` as the field's own documentation calls it. */
  message(name: string): MessageReader | undefined {
    return isObject(this.value)
      ? new MessageReader(name, this.value, this)
      : this.error(`must be a ${name} message (a map), not ${describe(this.value)}`)
  }
}

/** What to do with the fields of a message that no decoder asked for. */
export interface RestOfMessage {
  /** Fields, snake_case, that have no effect on a TCP proxy. */
  readonly ignored?: readonly string[]
  /** Fields, snake_case, that cannot be honoured, each with the remedy; listed as ignored on the wire. */
  readonly unsupported?: Readonly<Record<string, string>>
  /** The same for fields that decide where bytes go, so that they are refused on the wire too. */
  readonly refused?: Readonly<Record<string, string>>
}

/** One message of a document. Field names are asked for in snake_case and found in lowerCamelCase too. */
export class MessageReader {
  readonly name: string
  readonly field: Field
  readonly #fields: Readonly<Record<string, unknown>>
  readonly #unread: Set<string>
  /** Messages that are written in snake_case as a whole need no second look for each field that they do not have. */
  readonly #hasCamelCase: boolean

  constructor(name: string, fields: Readonly<Record<string, unknown>>, field: Field) {
    this.name = name
    this.field = field
    this.#fields = fields
    this.#unread = new Set(Object.keys(fields))
    this.#hasCamelCase = Object.keys(fields).some((key) => /[A-Z]|[a-z]\d/.test(key))
  }

  /** The field, or `undefined` when it is absent or null. */
  take(name: string): Field | undefined {
    const key = this.#keyOf(name)
    const value = key === undefined ? undefined : this.#fields[key]
    const isPresent = value !== undefined && value !== null
    this.field.report.lookedUp(this.name, name, 'read', isPresent)
    if (key === undefined) return undefined
    this.#unread.delete(key)
    if (!isPresent) return undefined
    return new Field(value, [...this.field.path, key], this.field.report)
  }

  /** The field; reports an error at the message when it is absent. */
  require(name: string): Field | undefined {
    return this.take(name) ?? this.field.error(`${this.name} needs ${name}`)
  }

  /** The items of a list field; empty when it is absent. */
  takeList(name: string): readonly Field[] {
    return this.take(name)?.list() ?? []
  }

  /** The message in a field, `undefined` when it is absent or no message. */
  takeMessage(name: string, messageName: string): MessageReader | undefined {
    return this.take(name)?.message(messageName)
  }

  /** The fields of this message that are not empty, by name as written, read or not. */
  has(name: string): boolean {
    const key = this.#keyOf(name)
    return key !== undefined && !isDefaultValue(this.#fields[key])
  }

  /**
   * Ends the reading of the message: what was neither read nor named in `rest` is an unknown field and an error. A
   * field that holds its default (false, 0, empty) changes nothing and passes.
   */
  finish(rest: RestOfMessage = {}): void {
    const { report } = this.field
    if (report.isObserved) this.#reportRest(report, rest)
    for (const key of this.#unread) {
      const name = snakeCase(key)
      const place = new Field(this.#fields[key], [...this.field.path, key], this.field.report)
      const isRefused = rest.refused?.[name] !== undefined
      const remedy = rest.refused?.[name] ?? rest.unsupported?.[name]
      if (rest.ignored?.includes(name) === true || (report.form === 'wire' && !isRefused))
        report.ignore(this.name, name)
      else if (remedy === undefined)
        place.errorAtKey(`${this.name} has no field '${key}'; check the spelling, or remove it`)
      else if (!isDefaultValue(place.value))
        place.errorAtKey(`${this.name}.${name} is not supported: ${remedy}`)
    }
  }

  #reportRest(report: DecodeReport, { ignored = [], unsupported = {}, refused = {} }: RestOfMessage): void {
    const lookUp = (name: string, use: FieldUse): void => {
      report.lookedUp(this.name, name, use, this.#keyOf(name) !== undefined)
    }
    for (const name of ignored) lookUp(name, 'ignored')
    for (const name of Object.keys({ ...unsupported, ...refused })) lookUp(name, 'refused')
  }

  #keyOf(name: string): string | undefined {
    if (name in this.#fields) return name
    if (!this.#hasCamelCase) return undefined
    const camel = name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
    return camel in this.#fields ? camel : undefined
  }
}

/** Where a decoder starts: the root of a document. */
export function rootField(document: unknown, report: DecodeReport): Field {
  return new Field(document, [], report)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isDefaultValue(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return true
  if (Array.isArray(value)) return value.length === 0
  return typeof value === 'object' && Object.keys(value).length === 0
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** A value as an error message shows it. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value)
}
