/** Reads single settings by the table: flag, then variable, then default; keeps every problem that it meets. */
import { parseDurationMs } from './duration.ts'
import { SETTINGS } from './settings-schema.ts'

import type { Problem, Result } from '../../core/result.ts'
import type { SettingDefinition, SettingName, SettingNameOf } from './settings-schema.ts'

type Values = Readonly<Record<string, string | boolean | undefined>>

/** What was given for a setting, and how messages name it. */
interface Given {
  readonly text: string
  readonly origin: string
}

const DEFINITIONS: ReadonlyMap<string, SettingDefinition> = new Map(
  SETTINGS.map((definition) => [definition.name, definition]),
)

/** One reading of all settings. A value that is refused counts as not given, so that reading goes on. */
export class SettingsReader {
  readonly #env: Values
  readonly #flags: Values
  readonly #problems: Problem[] = []

  constructor(env: Values, flags: Values) {
    this.#env = env
    this.#flags = flags
  }

  get problems(): readonly Problem[] {
    return this.#problems
  }

  /** True when a flag or variable is there; an empty variable counts, as in `XDS_ADDRESS=`. */
  isSet(name: SettingName): boolean {
    const { flag } = definitionOf(name)
    return (flag !== undefined && this.#flags[flag] !== undefined) || this.#env[name] !== undefined
  }

  text(name: SettingName): string {
    const definition = definitionOf(name)
    return this.#given(definition)?.text ?? String(definition.default ?? '')
  }

  boolean(name: SettingNameOf<'boolean'>): boolean {
    const text = this.text(name)
    if (text !== 'true' && text !== 'false') this.refuse(name, 'write true or false')
    return text === 'true' || (text !== 'false' && definitionOf(name).default === true)
  }

  /** `undefined` without a value and without a default, or when the value was refused. */
  integer(name: SettingNameOf<'integer'>): number | undefined {
    const definition = definitionOf(name)
    if (definition.type !== 'integer') throw new TypeError(`${name} is no integer`)
    const given = this.#given(definition)
    if (given === undefined) return definition.default
    const value = /^\d{1,15}$/.test(given.text) ? Number(given.text) : NaN
    if (value >= definition.min && value <= definition.max) return value
    this.refuse(name, `write a whole number from ${definition.min} to ${definition.max}`)
    return definition.default
  }

  /** A port; what is not given is `fallback`, then the default of the table. */
  port(name: SettingNameOf<'integer'>, fallback?: number): number {
    const isGiven = this.#given(definitionOf(name)) !== undefined
    return (isGiven ? this.integer(name) : (fallback ?? this.integer(name))) ?? 0
  }

  /** `undefined` without a value and without a default, or when the value was refused. */
  durationMs(name: SettingNameOf<'duration'>): number | undefined {
    const definition = definitionOf(name)
    const text = this.text(name)
    if (text === '') return undefined
    const valueMs = parseDurationMs(text)
    const minMs = definition.type === 'duration' ? (definition.minMs ?? 0) : 0
    if (valueMs === undefined) this.refuse(name, 'write a duration such as 250ms, 10s or 5m')
    else if (valueMs < minMs) this.refuse(name, `write ${minMs}ms or more`)
    else return valueMs
    return undefined
  }

  choice<Choice extends string>(
    name: SettingNameOf<'choice'>,
    choices: readonly Choice[],
  ): Choice | undefined {
    const text = this.text(name)
    const choice = choices.find((each) => each === text)
    if (choice === undefined) this.refuse(name, `write ${listOf(choices)}`)
    return choice
  }

  /** The parts of a list, without empty ones; a part that may not be in it is refused and left out. */
  list(name: SettingNameOf<'list'>): readonly string[] {
    const definition = definitionOf(name)
    const choices = definition.type === 'list' ? definition.choices : undefined
    const parts = this.text(name)
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
    if (choices === undefined) return parts
    const known = parts.filter((part) => choices.includes(part))
    if (known.length < parts.length) this.refuse(name, `write a list of ${listOf(choices)}`)
    return known
  }

  /** The value of a result, or its problems into the list. */
  take<T>(result: Result<T>): T | undefined {
    if (result.ok) return result.value
    this.#problems.push(...result.problems)
    return undefined
  }

  /** Refuses what a setting holds, with what it may be. */
  refuse(name: SettingName, why: string): void {
    const { origin, text } = this.#given(definitionOf(name)) ?? { origin: `env var ${name}`, text: '' }
    this.report(name, `invalid ${origin}=${text} (${why})`)
  }

  /** Adds a problem in words of its own. */
  report(name: string, message: string): void {
    if (this.#problems.some((problem) => problem.message === message)) return
    this.#problems.push({ path: [name], severity: 'error', message })
  }

  #given({ name, flag }: SettingDefinition): Given | undefined {
    const flagged = flag === undefined ? undefined : this.#flags[flag]
    if (flag !== undefined && flagged !== undefined)
      return { text: String(flagged), origin: `flag --${flag}` }
    const value = this.#env[name]
    // Kubernetes sets an optional variable to the empty text; that means not given.
    return value === undefined || value === ''
      ? undefined
      : { text: String(value), origin: `env var ${name}` }
  }
}

function definitionOf(name: SettingName): SettingDefinition {
  const definition = DEFINITIONS.get(name)
  if (definition === undefined) throw new TypeError(`there is no setting ${name}`)
  return definition
}

function listOf(choices: readonly string[]): string {
  const named = choices.filter((choice) => choice !== '')
  return named.length < 2 ? named.join() : `${named.slice(0, -1).join(', ')} or ${named.at(-1) ?? ''}`
}
