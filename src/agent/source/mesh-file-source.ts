/**
 * Feeds the store from a file and follows its changes: a valid edit applies as one batch, an invalid one is refused as a
 * whole and the last good state stays. Files are polled, because that also sees the symbolic links of a ConfigMap, and
 * every file system.
 */
import { readFile, stat } from 'node:fs/promises'

import { loadMeshFile } from './mesh-file.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { MeshStore, ResourceKind } from '../../mesh/store.ts'
import type { Dialect, LoadedMesh, MeshFileDeps, MeshFileOutcome } from './mesh-file.ts'

/** How often the files are looked at. */
export const POLL_INTERVAL_MS = 500

/** The kinds that a file of a dialect is the whole truth of. */
const OWNED_KINDS: Readonly<Record<Dialect, readonly ResourceKind[]>> = {
  envoy: ['listener', 'cluster', 'assignment'],
  ambient: ['workload', 'service', 'policy'],
}

export interface MeshFileSourceDeps extends MeshFileDeps {
  readonly store: MeshStore
  readonly clock: Clock
  readonly logger: Logger
  /** A text that differs when the file has changed; empty when it cannot be looked at. */
  readonly fingerprint: (path: string) => Promise<string>
  /** Told of each load, for metrics. */
  readonly loaded: (result: 'applied' | 'rejected') => void
}

/** Files as a source needs them. */
export const fileSystem = {
  readFile: (file: string): Promise<string> => readFile(file, 'utf8'),
  fingerprint: async (file: string): Promise<string> => {
    try {
      // Of the target of a link: that is what a ConfigMap swaps.
      const { mtimeMs, size, ino } = await stat(file)
      return `${mtimeMs} ${size} ${ino}`
    } catch {
      // Gone for the moment or for good; reading it says which.
      return ''
    }
  },
}

export class MeshFileSource {
  readonly #deps: MeshFileSourceDeps
  readonly #path: string
  readonly #dialect: Dialect | undefined
  /** Of what was loaded last. */
  #fingerprint = ''
  /** Of the last look: a file is read when two looks agree, so that a half-written one is not. */
  #lastSeen = ''
  #files: readonly string[]
  #timer: Timer | undefined
  #isClosed = false

  constructor(deps: MeshFileSourceDeps, options: { readonly path: string; readonly dialect?: Dialect }) {
    this.#deps = deps
    this.#path = options.path
    this.#dialect = options.dialect
    this.#files = [options.path]
  }

  /** Reads the file for the first time; nothing is applied yet and nothing followed. */
  async load(): Promise<MeshFileOutcome> {
    // Taken before the file is read: a change while it is being read must be seen as one.
    const before = await Promise.all(this.#files.map((file) => this.#deps.fingerprint(file)))
    const known = new Map(this.#files.map((file, index) => [file, before[index] ?? '']))
    const outcome = await loadMeshFile(this.#deps, this.#path, this.#dialect)
    this.#files = outcome.files
    const parts = this.#files.map(async (file) => known.get(file) ?? (await this.#deps.fingerprint(file)))
    this.#fingerprint = (await Promise.all(parts)).join('\n')
    return outcome
  }

  /** Applies a loaded mesh and follows the file from now on. */
  start(mesh: LoadedMesh): void {
    this.#apply(mesh)
    this.#schedule()
  }

  /** Stops following; what was applied stays. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  async #poll(): Promise<void> {
    const parts = await Promise.all(this.#files.map((file) => this.#deps.fingerprint(file)))
    const seen = parts.join('\n')
    const isSettled = seen === this.#lastSeen
    this.#lastSeen = seen
    if (isSettled && seen !== this.#fingerprint) {
      const outcome = await this.load()
      for (const line of outcome.warnings) this.#deps.logger.log('warn', line)
      if (outcome.mesh === undefined) {
        for (const line of outcome.errors) this.#deps.logger.log('error', line)
        this.#deps.logger.log('error', `${this.#path} was refused; the last good configuration stays`)
        this.#deps.loaded('rejected')
      } else {
        this.#apply(outcome.mesh)
      }
    }
    this.#schedule()
  }

  #apply({ dialect, resources }: LoadedMesh): void {
    if (this.#isClosed) return
    const change = this.#deps.store.replace(OWNED_KINDS[dialect], resources)
    const changed = [...change].map(([kind, keys]) => `${keys.size} ${kind}`).join(', ')
    this.#deps.logger.log('info', `${this.#path} is in force: ${changed || 'nothing changed'}`)
    this.#deps.loaded('applied')
  }

  #schedule(): void {
    if (this.#isClosed) return
    this.#timer = this.#deps.clock.setTimer(POLL_INTERVAL_MS, () => void this.#poll())
  }
}
