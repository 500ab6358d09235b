/** Decodes envoy.config.core.v3.ConfigSource of a cluster in a file: its endpoints stand in another file. */
import type { Field } from '../reading/message-reader.ts'

const REMEDY =
  'a cluster of static_resources has its endpoints in a file named by path_config_source, or in load_assignment; a cluster of the control plane has them from there'

/** A file that holds resources. */
export interface ConfigFile {
  readonly path: string
  readonly place: Field
}

/** Decodes where resources come from. */
export function decodeConfigSource(field: Field): ConfigFile | undefined {
  const message = field.message('ConfigSource')
  if (message === undefined) return undefined
  const pathPlace = message.take('path')
  const source = message.takeMessage('path_config_source', 'PathConfigSource')
  const place = pathPlace ?? source?.require('path')
  // A file is always noticed when it is replaced or changed, so how Envoy is to watch it does not matter.
  source?.finish({ ignored: ['watched_directory', 'poll_interval'] })
  let hasOther = false
  for (const [name, what] of [
    ['ads', 'ads (ADS)'],
    ['api_config_source', 'api_config_source'],
    ['self', 'self'],
  ] as const) {
    const other = message.take(name)
    if (other === undefined) continue
    hasOther = true
    other.errorAtKey(`${what} is not supported: ${REMEDY}`)
  }
  message.finish({ ignored: ['authorities', 'initial_fetch_timeout', 'resource_api_version'] })
  if (place === undefined) {
    if (!hasOther && source === undefined) field.error('ConfigSource needs path_config_source')
    return undefined
  }
  const path = place.string()
  if (path === '') return place.error('path is empty; write the file that holds the resources')
  return path === undefined ? undefined : { path, place }
}

/** How long to wait for resources of a source, which on the wire is always the stream that named it. */
export function decodeFetchTimeout(field: Field): number | undefined {
  return field.message('ConfigSource')?.take('initial_fetch_timeout')?.durationMs()
}
