/** Decodes what Envoy sets on sockets: core.v3.SocketOption and core.v3.TcpKeepalive. */
import type { Family } from '../../core/family.ts'
import type { SocketOption } from '../../mesh/listener.ts'
import type { Keepalive } from '../../mesh/upstream.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

/** A socket option and the family of the sockets that it is for; absent: both. */
export interface FamilySocketOption extends SocketOption {
  readonly family?: Family
}

const INT32 = { min: -2_147_483_648, max: 2_147_483_647 }
// The ranges that Linux takes; anything else makes setsockopt fail on each connection. Envoy's 0 turns keepalive off.
const MAX_KEEPALIVE_SECONDS = 32_767
const MAX_KEEPALIVE_PROBES = 127

/** Decodes a list of core.v3.SocketOption. Options for datagram sockets are left out. */
export function decodeSocketOptions(fields: readonly Field[]): readonly FamilySocketOption[] {
  return fields.flatMap((field) => decodeSocketOption(field) ?? [])
}

/** Decodes core.v3.SocketOptionsOverride. */
export function decodeSocketOptionsOverride(message: MessageReader): readonly FamilySocketOption[] {
  const options = decodeSocketOptions(message.takeList('socket_options'))
  message.finish()
  return options
}

/** The options for a socket of `family`. */
export function optionsForFamily(
  options: readonly FamilySocketOption[],
  family: Family,
): readonly SocketOption[] {
  return options
    .filter((option) => option.family === undefined || option.family === family)
    .map(({ level, name, value }) => ({ level, name, value }))
}

/** Decodes core.v3.TcpKeepalive. */
export function decodeKeepalive(message: MessageReader): Keepalive {
  const seconds = { min: 1, max: MAX_KEEPALIVE_SECONDS }
  const idleSeconds = message.take('keepalive_time')?.integer(seconds)
  const intervalSeconds = message.take('keepalive_interval')?.integer(seconds)
  const probes = message.take('keepalive_probes')?.integer({ min: 1, max: MAX_KEEPALIVE_PROBES })
  message.finish()
  return {
    ...(idleSeconds !== undefined && { idleMs: idleSeconds * 1_000 }),
    ...(intervalSeconds !== undefined && { intervalMs: intervalSeconds * 1_000 }),
    ...(probes !== undefined && { probes }),
  }
}

function decodeSocketOption(field: Field): FamilySocketOption | undefined {
  const message = field.message('SocketOption')
  if (message === undefined) return undefined
  const level = message.take('level')?.integer(INT32) ?? 0
  const name = message.take('name')?.integer(INT32) ?? 0
  const value = message.take('int_value')?.integer(INT32) ?? decodeBytes(message.take('buf_value'))
  // All are set before bind: on a listening TCP socket an option that was set early still holds later.
  message.take('state')?.oneOf(['STATE_PREBIND', 'STATE_BOUND', 'STATE_LISTENING'])
  const ipVersion = message
    .take('ip_version')
    ?.oneOf(['SOCKET_IP_VERSION_UNSPECIFIED', 'SOCKET_IP_VERSION_IPV4', 'SOCKET_IP_VERSION_IPV6'])
  const type = message.takeMessage('type', 'SocketType')
  const isDatagramOnly = type?.take('datagram') !== undefined
  type?.take('stream')
  type?.finish()
  message.finish({ ignored: ['description'] })
  if (value === undefined) return field.error('SocketOption needs int_value or buf_value')
  if (isDatagramOnly) return undefined
  if (ipVersion === 'SOCKET_IP_VERSION_IPV4') return { level, name, value, family: 'ipv4' }
  if (ipVersion === 'SOCKET_IP_VERSION_IPV6') return { level, name, value, family: 'ipv6' }
  return { level, name, value }
}

/** proto3 JSON: standard or URL-safe base64. */
function decodeBytes(field: Field | undefined): Uint8Array | undefined {
  const text = field?.string()
  if (text === undefined) return undefined
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) return field?.error(`must be base64, not '${text}'`)
  return Uint8Array.from(Buffer.from(text, 'base64'))
}
