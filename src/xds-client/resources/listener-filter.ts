/** Decodes envoy.config.listener.v3.ListenerFilter: original_dst counts, inspectors do no harm, others are refused. */
import { readTypedConfig } from './typed-config.ts'

import type { Field } from '../message-reader.ts'

const FILTERS = 'envoy.extensions.filters.listener'
/** They look at the first bytes to fill in what only the unsupported parts of a filter chain match ask for. */
const INSPECTORS: readonly string[] = [
  `${FILTERS}.tls_inspector.v3.TlsInspector`,
  `${FILTERS}.http_inspector.v3.HttpInspector`,
]

/** What the listener filters of a listener do together. */
export interface ListenerFilters {
  /** The original destination of a redirected connection takes the place of the local address. */
  readonly restoresDestination: boolean
}

/** Decodes the listener filters of a listener. */
export function decodeListenerFilters(fields: readonly Field[]): ListenerFilters {
  return { restoresDestination: fields.map(isOriginalDestination).includes(true) }
}

function isOriginalDestination(field: Field): boolean {
  const message = field.message('ListenerFilter')
  if (message === undefined) return false
  message.take('name')
  const isDiscovered = message.has('config_discovery')
  const typed = isDiscovered ? undefined : readTypedConfig(message)
  const isInspector = typed !== undefined && INSPECTORS.includes(typed.typeName)
  if (isInspector) message.take('filter_disabled')
  message.finish({
    unsupported: {
      config_discovery: 'write the configuration as typed_config',
      filter_disabled: 'the original destination is always restored; remove it',
    },
  })
  if (typed?.typeName === `${FILTERS}.original_dst.v3.OriginalDst`) {
    typed.config.finish()
    return true
  }
  if (typed !== undefined && !isInspector)
    field.error(`listener filter ${typed.typeName} is not supported; only original_dst and inspectors are`)
  return false
}
