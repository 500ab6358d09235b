/**
 * Istio's ProxyConfig as far as a node proxy reads it: from the variable PROXY_CONFIG and from the mesh file's
 * `defaultConfig`. Both are YAML or JSON. Keys of other proxies are left alone, as in ztunnel.
 */
import { parseConfigDocument } from '../config-document.ts'

import type { Problem, Result } from '../../core/result.ts'

/** Where a node finds its mesh file, relative to the working directory. */
export const MESH_FILE_PATH = './etc/istio/config/mesh'

/** What was configured; a part that was not is absent. */
export interface ProxyConfig {
  readonly discoveryAddress?: string
  readonly proxyAdminPort?: number
  readonly statsPort?: number
  /** Worker threads; 0: one per processor. */
  readonly concurrency?: number
  readonly proxyMetadata: Readonly<Record<string, string>>
}

type Json = Readonly<Record<string, unknown>>

/**
 * Reads the text of PROXY_CONFIG; blank text is an empty configuration.
 *
 * @param name what messages call the text
 */
export function readProxyConfig(name: string, text: string): Result<ProxyConfig> {
  return readText(name, text, (root) => root)
}

/** Reads `defaultConfig` of the text of a mesh file. A file without it is an empty configuration. */
export function readMeshFile(name: string, text: string): Result<ProxyConfig> {
  return readText(name, text, (root) => root['defaultConfig'] ?? {})
}

/** `over` on top of `base`, value by value; metadata is merged by key. */
export function mergeProxyConfig(base: ProxyConfig, over: ProxyConfig): ProxyConfig {
  return { ...base, ...over, proxyMetadata: { ...base.proxyMetadata, ...over.proxyMetadata } }
}

function readText(name: string, text: string, select: (root: Json) => unknown): Result<ProxyConfig> {
  if (text.trim() === '') return { ok: true, value: { proxyMetadata: {} } }
  const parsed = parseConfigDocument(text)
  if (!parsed.ok) return failure(parsed.problems.map(({ message }) => `${name}: ${message}`))
  const root = parsed.document.value
  const config = isJson(root) ? select(root) : root
  if (!isJson(config)) return failure([`${name}: it must be a map of keys such as proxyMetadata`])
  const messages: string[] = []
  const integer = (key: string, max: number): Record<string, number> => {
    const value = config[key]
    if (value === undefined || value === null) return {}
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max)
      return { [key]: value }
    messages.push(`${name}: ${key} is ${JSON.stringify(value)}; write a whole number from 0 to ${max}`)
    return {}
  }
  const discoveryAddress = config['discoveryAddress']
  const value: ProxyConfig = {
    ...(typeof discoveryAddress === 'string' && { discoveryAddress }),
    ...integer('proxyAdminPort', 65_535),
    ...integer('statsPort', 65_535),
    ...integer('concurrency', 1_024),
    proxyMetadata: readMetadata(name, config['proxyMetadata'], messages),
  }
  return messages.length > 0 ? failure(messages) : { ok: true, value }
}

function readMetadata(name: string, value: unknown, messages: string[]): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {}
  if (!isJson(value)) {
    messages.push(`${name}: proxyMetadata must be a map of texts`)
    return {}
  }
  const metadata: Record<string, string> = {}
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry === 'string') metadata[key] = entry
    // An unquoted true or 5 is what people write and mean as text.
    else if (typeof entry === 'boolean' || typeof entry === 'number') metadata[key] = String(entry)
    else messages.push(`${name}: proxyMetadata.${key} must be a text`)
  }
  return metadata
}

function failure(messages: readonly string[]): Result<ProxyConfig> {
  return {
    ok: false,
    problems: messages.map((message): Problem => ({ path: [], severity: 'error', message })),
  }
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
