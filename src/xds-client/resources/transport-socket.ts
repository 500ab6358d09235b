/**
 * Decides on envoy.config.core.v3.TransportSocket: plain TCP, or something that plain text must not stand in for (rule 15).
 * A file that asks for more than plain TCP is refused; on the wire what asks for it is marked, and its connections are.
 */
import { readTypedConfig } from './typed-config.ts'

import type { ClusterTransport, TransportLabels, TransportMatch } from '../../mesh/cluster.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

const RAW_BUFFER = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'
const RAW_BUFFER_NAME = 'envoy.transport_sockets.raw_buffer'

/** True for a transport socket other than raw_buffer, whatever it is; an error in a file. */
export function readIsEncrypted(field: Field | undefined): boolean {
  const message = field?.message('TransportSocket')
  if (field === undefined || message === undefined) return false
  const name = message.take('name')?.value
  const typed = readTypedConfig(message)
  message.finish()
  if (field.report.form === 'wire')
    return typed === undefined ? name !== RAW_BUFFER_NAME : typed.typeName !== RAW_BUFFER
  if (typed === undefined || typed.typeName === RAW_BUFFER) return false
  field.error(
    `transport socket ${typeof name === 'string' ? name : typed.typeName} is not supported and plain text does not stand in for it; remove transport_socket`,
  )
  return true
}

/** Decodes how the endpoints of a cluster are reached; `undefined` where all are in plain text. */
export function decodeClusterTransport(message: MessageReader): ClusterTransport | undefined {
  const isDefaultEncrypted = readIsEncrypted(message.take('transport_socket'))
  if (message.field.report.form === 'file') return undefined
  const matches = message.takeList('transport_socket_matches').flatMap((field) => decodeMatch(field) ?? [])
  // It chooses by what nothing is known of here.
  const hasMatcher = message.take('transport_socket_matcher') !== undefined
  if (hasMatcher) return { matches: [], isEncrypted: true }
  if (!isDefaultEncrypted && !matches.some(({ isEncrypted }) => isEncrypted)) return undefined
  return { matches, isEncrypted: isDefaultEncrypted }
}

/** Decodes a Struct of labels: those of an endpoint, or those that a match asks for. */
export function readTransportLabels(field: Field): TransportLabels {
  return Object.fromEntries(field.entries().map(([name, { value }]) => [name, String(value)]))
}

function decodeMatch(field: Field): TransportMatch | undefined {
  const message = field.message('TransportSocketMatch')
  if (message === undefined) return undefined
  message.take('name')
  const criteria = message.take('match')
  const isEncrypted = readIsEncrypted(message.take('transport_socket'))
  message.finish()
  return { criteria: criteria === undefined ? {} : readTransportLabels(criteria), isEncrypted }
}
