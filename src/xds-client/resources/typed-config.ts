/** Reads the extension points of Envoy's configuration: a name, and a google.protobuf.Any that says what it is. */
import type { Field, MessageReader } from '../reading/message-reader.ts'

/** An extension's configuration with the full name of its message. */
export interface TypedConfig {
  /** Such as `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`. */
  readonly typeName: string
  readonly config: MessageReader
  /** Where the configuration stands. */
  readonly place: Field
}

/**
 * Reads `typed_config` of an extension such as a filter; the name that the extension goes by decides nothing. On the wire
 * one without a configuration is of no known type.
 */
export function readTypedConfig(extension: MessageReader): TypedConfig | undefined {
  const isOnWire = extension.field.report.form === 'wire'
  const place = isOnWire ? extension.take('typed_config') : extension.require('typed_config')
  return place && readAny(place)
}

/** Reads a google.protobuf.Any in its JSON form: the fields of the message beside `@type`. */
export function readAny(place: Field): TypedConfig | undefined {
  const typePlace = place.message('google.protobuf.Any')?.require('@type')
  const typeUrl = typePlace?.string()
  if (typeUrl === undefined) return undefined
  const typeName = typeUrl.slice(typeUrl.lastIndexOf('/') + 1)
  const config = place.message(typeName.slice(typeName.lastIndexOf('.') + 1))
  config?.take('@type')
  return config && { typeName, config, place }
}
