/** Everything that a start reads before it opens anything: settings, what the engine can do, and the mesh. */
import { readFile } from 'node:fs/promises'

import { tryParseIp } from '../core/address.ts'
import { MeshStore } from '../mesh/store.ts'
import { autoCapabilities, chooseEngine, logEngine } from './engine/engine-choice.ts'
import { AgentLogger, stderrDestination } from './logging.ts'
import { loadInlineMesh, loadMeshFile } from './source/mesh-file.ts'
import { unmetDemands } from './engine-demands.ts'
import { createFeed } from './source/create-feed.ts'
import { MeshFileSource, fileSystem } from './source/mesh-file-source.ts'
import { MESH_FILE_PATH } from './settings/proxy-config.ts'
import { readSettings } from './settings/settings.ts'
import { SourceStatus } from './source/source-status.ts'
import { startNotices } from './start-notices.ts'

import type { IpAddress } from '../core/address.ts'
import type { Clock } from '../core/clock.ts'
import type { Result } from '../core/result.ts'
import type { EnvoyBootstrap } from '../xds-client/resources/bootstrap.ts'
import type { Engine } from './engine/engine.ts'
import type { MeshFeed } from './source/mesh-feed.ts'
import type { LoadedMesh, MeshFileOutcome } from './source/mesh-file.ts'
import type { Settings, SettingsInput } from './settings/settings.ts'

/** What an app starts with. */
export interface Configuration {
  readonly settings: Settings
  readonly logger: AgentLogger
  readonly engine: Engine
  readonly store: MeshStore
  /** What was loaded before the start. */
  readonly mesh: LoadedMesh
  readonly feed: MeshFeed
}

export type ConfigurationResult =
  | { readonly ok: true; readonly value: Configuration }
  | { readonly ok: false; readonly errors: readonly string[] }

/** Reads settings and mesh. What is wrong with either is reported together. */
export async function loadConfiguration(
  deps: { readonly clock: Clock },
  input: Pick<SettingsInput, 'env' | 'flags'>,
): Promise<ConfigurationResult> {
  const meshFile = await readFile(MESH_FILE_PATH, 'utf8').catch(() => undefined)
  const settingsInput: SettingsInput = { ...input, ...(meshFile !== undefined && { meshFile }) }
  const first = readSettings(settingsInput)
  if (!first.ok) {
    const messages = first.problems.map(({ message }) => message)
    return { ok: false, errors: [...messages, ...(await meshFileErrors(deps, input))] }
  }

  const logger = new AgentLogger(
    { destination: stderrDestination(), wallTimeMs: () => deps.clock.wallTimeMs() },
    { level: first.value.logLevel, format: first.value.logFormat },
  )
  const chosen = await chooseEngine(deps, first.value.engine)
  if (!chosen.ok) return { ok: false, errors: [chosen.reason] }
  const { engine } = chosen
  const unmet = unmetDemands(first.value, engine.capabilities)
  if (unmet.length > 0) return { ok: false, errors: unmet }
  const store = new MeshStore()
  const status = new SourceStatus({ store })
  const file = fileSourceOf(first.value, {
    ...deps,
    ...fileSystem,
    store,
    logger,
    capabilities: engine.capabilities,
    loaded: (result) => {
      status.loaded(result)
    },
  })
  const outcome = file === undefined ? outcomeWithoutFile(first.value) : await file.load()
  const { mesh } = outcome
  if (mesh === undefined) return { ok: false, errors: [...outcome.errors, ...outcome.warnings] }
  if (mesh.dialect === 'ambient' && !engine.capabilities.originalDestination.isAvailable) {
    const { reason } = engine.capabilities.originalDestination
    return {
      ok: false,
      errors: [
        `workloads are reached by redirection, which this machine cannot serve (${reason}); use an Envoy bootstrap with -c`,
      ],
    }
  }

  const second = withBootstrap(settingsInput, first.value, mesh)
  if (!second.ok) return { ok: false, errors: second.problems.map(({ message }) => message) }
  const settings = second.value
  const feed = createFeed(
    { ...deps, store, logger, capabilities: engine.capabilities, env: input.env, status, file },
    settings,
    mesh,
  )
  if (!feed.ok) return { ok: false, errors: feed.problems.map(({ message }) => message) }
  const notices = startNotices(settings, mesh.dialect, outcome.ignoredFields)
  for (const line of [...settings.warnings, ...outcome.warnings]) logger.log('warn', line)
  for (const { level, text } of notices) logger.log(level, text)
  if (chosen.warning !== undefined) logger.log('warn', chosen.warning)
  logEngine(logger, engine)
  return {
    ok: true,
    value: {
      settings,
      logger,
      engine,
      store,
      mesh,
      feed: feed.value,
    },
  }
}

function fileSourceOf(
  settings: Settings,
  deps: ConstructorParameters<typeof MeshFileSource>[0],
): MeshFileSource | undefined {
  switch (settings.source.kind) {
    case 'bootstrap':
      return new MeshFileSource(deps, { path: settings.source.path, dialect: 'envoy' })
    case 'ambient-file':
      return new MeshFileSource(deps, { path: settings.source.path, dialect: 'ambient' })
    case 'ambient-text':
    case 'control-plane':
    case 'none':
      return undefined
  }
}

/** What is wrong with the mesh file of a start that its settings have failed already. */
async function meshFileErrors(
  deps: { readonly clock: Clock },
  { env, flags }: Pick<SettingsInput, 'env' | 'flags'>,
): Promise<readonly string[]> {
  const bootstrap = flags?.['config'] ?? env['TWINSTACK_CONFIG']
  const path = typeof bootstrap === 'string' && bootstrap !== '' ? bootstrap : env['LOCAL_XDS_PATH']
  if (path === undefined || path === '') return []
  const capabilities = await autoCapabilities(deps)
  const dialect = path === bootstrap ? 'envoy' : 'ambient'
  const { errors } = await loadMeshFile({ ...fileSystem, capabilities }, path, dialect)
  return errors
}

/** A mesh that is no file: a text, or nothing yet where it comes from a control plane. */
function outcomeWithoutFile({ source }: Settings): MeshFileOutcome {
  switch (source.kind) {
    case 'ambient-text':
      return loadInlineMesh('LOCAL_XDS', source.text)
    case 'control-plane':
      return {
        mesh: { dialect: 'ambient', resources: [] },
        files: [],
        errors: [],
        warnings: [],
        ignoredFields: [],
      }
    case 'bootstrap':
    case 'ambient-file':
    case 'none':
      throw new TypeError(`${source.kind} is loaded from a file or refused`)
  }
}

/**
 * A bootstrap says what the environment leaves open: the proxy's own addresses, which decide the single-stack family,
 * and the port of the admin server. Beside the other settings that may be wrong; then it is said what was taken from where.
 */
function withBootstrap(
  input: SettingsInput,
  settings: Settings,
  { bootstrap }: LoadedMesh,
): Result<Settings> {
  if (settings.source.kind !== 'bootstrap' || bootstrap === undefined) return { ok: true, value: settings }
  const env: Record<string, string | undefined> = { ...input.env }
  const taken: string[] = []
  const addresses = instanceIpsOf(bootstrap)
  if (settings.node.instanceIps.length === 0 && addresses.length > 0) {
    const text = addresses.map((address) => address.text).join()
    env['INSTANCE_IPS'] = text
    taken.push(`INSTANCE_IPS ${text} of the node`)
  }
  if (bootstrap.admin !== undefined && (env['TWINSTACK_ADMIN_PORT'] ?? '') === '') {
    const { port } = bootstrap.admin
    env['TWINSTACK_ADMIN_PORT'] = String(port)
    taken.push(`admin port ${port}`)
  }
  const result = readSettings({ ...input, env })
  if (result.ok) return result
  const place = `${settings.source.path}: with ${taken.join(' and ')}`
  return {
    ok: false,
    problems: result.problems.map((problem) => ({ ...problem, message: `${place}: ${problem.message}` })),
  }
}

/** The agent's own addresses as a bootstrap's node metadata has them (`INSTANCE_IPS`, separated by commas). */
function instanceIpsOf(bootstrap: EnvoyBootstrap): readonly IpAddress[] {
  const text = bootstrap.node.metadata['INSTANCE_IPS']
  if (typeof text !== 'string') return []
  return text.split(',').flatMap((part) => tryParseIp(part.trim()) ?? [])
}
