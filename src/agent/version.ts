/** The version of the program, as package.json has it. */
import { readFileSync } from 'node:fs'
import path from 'node:path'

/** The folder of package.json: where examples/ and docs/ are, built or not. */
export const PACKAGE_ROOT = findPackageRoot(import.meta.dirname)

/** For example `0.1.0`. */
export const VERSION = readVersion()

function findPackageRoot(folder: string): string {
  for (let candidate = folder; ; candidate = path.dirname(candidate)) {
    try {
      readFileSync(path.join(candidate, 'package.json'))
      return candidate
    } catch {
      // Not here: package.json is in one of the parents, of src/ as of dist/src/.
      if (candidate === path.dirname(candidate)) throw new TypeError('the program is not inside its package')
    }
  }
}

function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(path.join(PACKAGE_ROOT, 'package.json'), 'utf8'))
  if (
    typeof parsed === 'object' &&
    parsed !== null &&
    'version' in parsed &&
    typeof parsed.version === 'string'
  ) {
    return parsed.version
  }
  throw new TypeError('package.json has no version')
}
