/** Holds a value for each order in which connections may use the families, without building a key per connection. */
import type { Family } from '../core/family.ts'

/** One value per order of families: each family alone, and both with either one first. */
export class ByFamilyOrder<Value> {
  readonly #values: (Value | undefined)[] = []

  get(families: readonly Family[]): Value | undefined {
    return this.#values[placeOf(families)]
  }

  set(families: readonly Family[], value: Value): void {
    this.#values[placeOf(families)] = value
  }
}

function placeOf(families: readonly Family[]): number {
  if (families.length === 0) return 0
  return families.length * 2 - (families[0] === 'ipv4' ? 1 : 0)
}
