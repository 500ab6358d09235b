/** Decides on envoy.config.core.v3.TransportSocket: plain TCP passes, anything that would encrypt is refused. */
import { readTypedConfig } from './typed-config.ts'

import type { Field } from '../message-reader.ts'

const RAW_BUFFER = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'

/** Refuses a transport socket other than raw_buffer: plain text must not stand in for TLS (rule 15). */
export function requirePlainTransport(field: Field | undefined): void {
  const message = field?.message('TransportSocket')
  if (field === undefined || message === undefined) return
  const name = message.take('name')
  const typed = readTypedConfig(message)
  message.finish()
  if (typed === undefined || typed.typeName === RAW_BUFFER) return
  field.error(
    `transport socket ${typeof name?.value === 'string' ? name.value : typed.typeName} is not supported and plain text does not stand in for it; remove transport_socket`,
  )
}
