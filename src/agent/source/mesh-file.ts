/**
 * Reads a mesh from a file of either dialect, with every file that it refers to, and says what is wrong with it as
 * `file:line:column`. Decides nothing: a mesh is either read as a whole, or not at all.
 */
import { errnoOf, errorMessage } from '../../core/errors.ts'
import { decodeLocalFile } from '../../xds-client/local-file.ts'
import { decodeAssignments, decodeBootstrap } from '../../xds-client/resources/bootstrap.ts'
import { unmetByListener } from '../listener-demands.ts'
import { formatProblem, parseConfigDocument } from '../config-document.ts'

import type { Problem } from '../../core/result.ts'
import type { MeshUpsert } from '../../mesh/store.ts'
import type { TransportCapabilities } from '../../proxy/transport.ts'
import type { DecodeReport } from '../../xds-client/reading/message-reader.ts'
import type { EnvoyBootstrap } from '../../xds-client/resources/bootstrap.ts'
import type { ConfigDocument } from '../config-document.ts'

/** The configuration languages of a file. */
export type Dialect = 'envoy' | 'ambient'

export interface MeshFileDeps {
  /** Reads a file as text; rejects with an errno. */
  readonly readFile: (path: string) => Promise<string>
  /** What the engine can do; a file that needs more is refused. */
  readonly capabilities: TransportCapabilities
}

/** A mesh that has been read. */
export interface LoadedMesh {
  readonly dialect: Dialect
  readonly resources: readonly MeshUpsert[]
  /** Node and admin address of an Envoy bootstrap. */
  readonly bootstrap?: EnvoyBootstrap
}

/** What reading gave. `files` are all that were read, also after a failure: a change of any is worth another try. */
export interface MeshFileOutcome {
  /** Absent when there is an error. */
  readonly mesh?: LoadedMesh
  readonly files: readonly string[]
  /** One line each, with its place. */
  readonly errors: readonly string[]
  readonly warnings: readonly string[]
  /** `Message.field` of what was accepted and has no effect. */
  readonly ignoredFields: readonly string[]
}

const AMBIENT_KEYS = ['workloads', 'services', 'policies']

/** Reads a mesh. Without a dialect, a file with `workloads`, `services` or `policies` at its top is ambient. */
export async function loadMeshFile(
  deps: MeshFileDeps,
  path: string,
  dialect?: Dialect,
): Promise<MeshFileOutcome> {
  const collected = new OutcomeBuilder()
  const document = await collected.read(deps, path)
  if (document === undefined) return collected.outcome()
  return (dialect ?? dialectOf(document.value)) === 'ambient'
    ? loadAmbient(collected, path, document)
    : loadEnvoy(collected, deps, path, document)
}

/** Reads an ambient mesh from text that is no file, `name` says where it comes from (LOCAL_XDS). */
export function loadInlineMesh(name: string, text: string): MeshFileOutcome {
  const collected = new OutcomeBuilder()
  const document = collected.parse(name, text)
  return document === undefined ? collected.outcome() : loadAmbient(collected, name, document)
}

function loadAmbient(collected: OutcomeBuilder, path: string, document: ConfigDocument): MeshFileOutcome {
  const { report, resources } = decodeLocalFile(document.value)
  collected.add(path, document, report)
  return collected.outcome({ dialect: 'ambient', resources })
}

async function loadEnvoy(
  collected: OutcomeBuilder,
  deps: MeshFileDeps,
  path: string,
  document: ConfigDocument,
): Promise<MeshFileOutcome> {
  const { report, bootstrap } = decodeBootstrap(document.value)
  collected.add(path, document, report)
  if (bootstrap === undefined) return collected.outcome()
  collected.addProblems(path, document, beyondEngine(bootstrap, deps.capabilities))
  const resources: MeshUpsert[] = [
    ...bootstrap.listeners.map((upsert): MeshUpsert => ({ kind: 'listener', upsert })),
    ...bootstrap.clusters.map((upsert): MeshUpsert => ({ kind: 'cluster', upsert })),
  ]
  for (const file of bootstrap.assignmentFiles) {
    const endpoints = await collected.read(deps, file.path)
    if (endpoints === undefined) continue
    const decoded = decodeAssignments(endpoints.value, file.assignmentNames)
    collected.add(file.path, endpoints, decoded.report)
    for (const upsert of decoded.assignments ?? []) resources.push({ kind: 'assignment', upsert })
  }
  return collected.outcome({ dialect: 'envoy', resources, bootstrap })
}

/** What a listener asks for and the engine cannot do. */
function beyondEngine(bootstrap: EnvoyBootstrap, capabilities: TransportCapabilities): readonly Problem[] {
  return bootstrap.listeners.flatMap((listener, index) =>
    unmetByListener(listener, capabilities).map((problem) => ({
      ...problem,
      path: ['static_resources', 'listeners', index, ...problem.path],
    })),
  )
}

function dialectOf(value: unknown): Dialect {
  const isAmbient = typeof value === 'object' && value !== null && AMBIENT_KEYS.some((key) => key in value)
  return isAmbient ? 'ambient' : 'envoy'
}

/** What to do about a file that cannot be read, by errno. */
const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file; check the path',
  EISDIR: 'it is a directory; name the file in it',
  EACCES: 'permission denied; let the user of the agent read it',
}

/** Collects what several files and decoders have to say. */
class OutcomeBuilder {
  readonly #files: string[] = []
  readonly #errors: string[] = []
  readonly #warnings: string[] = []
  readonly #ignoredFields = new Set<string>()

  async read(deps: MeshFileDeps, path: string): Promise<ConfigDocument | undefined> {
    this.#files.push(path)
    try {
      return this.parse(path, await deps.readFile(path))
    } catch (reason) {
      this.#errors.push(
        `${path}: error: cannot be read: ${UNREADABLE[errnoOf(reason) ?? ''] ?? errorMessage(reason)}`,
      )
      return undefined
    }
  }

  parse(name: string, text: string): ConfigDocument | undefined {
    const parsed = parseConfigDocument(text)
    if (parsed.ok) return parsed.document
    for (const problem of parsed.problems) this.#errors.push(formatProblem(name, undefined, problem))
    return undefined
  }

  add(path: string, document: ConfigDocument, report: DecodeReport): void {
    this.addProblems(path, document, report.problems)
    for (const field of report.ignoredFields) this.#ignoredFields.add(field)
  }

  addProblems(path: string, document: ConfigDocument, problems: readonly Problem[]): void {
    for (const problem of problems) {
      const lines = problem.severity === 'error' ? this.#errors : this.#warnings
      lines.push(formatProblem(path, document, problem))
    }
  }

  outcome(mesh?: LoadedMesh): MeshFileOutcome {
    return {
      ...(mesh !== undefined && this.#errors.length === 0 && { mesh }),
      files: this.#files,
      errors: this.#errors,
      warnings: this.#warnings,
      ignoredFields: [...this.#ignoredFields],
    }
  }
}
