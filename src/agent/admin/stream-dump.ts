/** The stream to the control plane as /config_dump shows it, in both dialects under the key `xds`. */
import type { TypeStatus } from '../../xds-client/stream/ads-status.ts'
import type { StreamView } from '../source/mesh-feed.ts'
import type { Json } from './json-forms.ts'

/** Plain JSON; times are RFC 3339. */
export function dumpStream({ status, ignoredFields }: StreamView): Json {
  const { target, mode, isConnected, sinceMs, controlPlane, lastError } = status
  return {
    target,
    mode,
    connected: isConnected,
    since: time(sinceMs),
    ...(controlPlane !== '' && { controlPlane }),
    ...(lastError !== undefined && {
      lastError: { time: time(lastError.atMs), code: lastError.code, detail: lastError.text },
    }),
    types: status.types.map((type) => dumpType(type, ignoredFields(type.typeUrl))),
  }
}

function dumpType(type: TypeStatus, ignoredFields: ReadonlyMap<string, readonly string[]>): Json {
  const { typeUrl, interest, version, resourceCount, names, updatedAtMs, lastNack } = type
  return {
    typeUrl,
    interest,
    version,
    resources: resourceCount,
    ...(names.length > 0 && { names }),
    ...(updatedAtMs !== undefined && { lastUpdated: time(updatedAtMs) }),
    ...(lastNack !== undefined && { lastNack: { time: time(lastNack.atMs), detail: lastNack.text } }),
    ...(ignoredFields.size > 0 && { ignoredFields: Object.fromEntries(ignoredFields) }),
  }
}

function time(ms: number): string {
  return new Date(ms).toISOString()
}
