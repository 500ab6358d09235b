/** Decodes envoy.config.listener.v3.ListenerFilter: original_dst and original_src count, inspectors do no harm. */
import { readTypedConfig } from './typed-config.ts'

import type { Field, MessageReader } from '../reading/message-reader.ts'

const FILTERS = 'envoy.extensions.filters.listener'
/** They look at the first bytes to fill in what only the unsupported parts of a filter chain match ask for. */
const INSPECTORS: readonly string[] = [
  `${FILTERS}.tls_inspector.v3.TlsInspector`,
  `${FILTERS}.http_inspector.v3.HttpInspector`,
]

const MAX_MARK = 4_294_967_295

/** What the listener filters of a listener do together. */
export interface ListenerFilters {
  /** The original destination of a redirected connection takes the place of the local address. */
  readonly restoresDestination: boolean
  /** Upstream connections are made from the client's address. */
  readonly preservesSource: boolean
}

/** Decodes the listener filters of a listener. */
export function decodeListenerFilters(fields: readonly Field[]): ListenerFilters {
  const effects = fields.map(effectOf)
  return {
    restoresDestination: effects.includes('restores-destination'),
    preservesSource: effects.includes('preserves-source'),
  }
}

function effectOf(field: Field): 'restores-destination' | 'preserves-source' | 'none' {
  const message = field.message('ListenerFilter')
  if (message === undefined) return 'none'
  message.take('name')
  const isDiscovered = message.has('config_discovery')
  const typed = isDiscovered ? undefined : readTypedConfig(message)
  const isInspector = typed !== undefined && INSPECTORS.includes(typed.typeName)
  if (isInspector) message.take('filter_disabled')
  message.finish({
    unsupported: {
      config_discovery: 'write the configuration as typed_config',
      filter_disabled: 'the filter always holds; remove it',
    },
  })
  if (typed?.typeName === `${FILTERS}.original_dst.v3.OriginalDst`) {
    typed.config.finish()
    return 'restores-destination'
  }
  if (typed?.typeName === `${FILTERS}.original_src.v3.OriginalSrc`) {
    decodeOriginalSource(typed.config)
    return 'preserves-source'
  }
  if (typed === undefined || isInspector) return 'none'
  const problem = `listener filter ${typed.typeName} is not supported; only original_dst, original_src and inspectors are`
  // It takes bytes off the stream, which nobody may do without.
  if (typed.typeName === `${FILTERS}.proxy_protocol.v3.ProxyProtocol`) field.error(problem)
  else field.unsupported(`ListenerFilter.${typed.typeName}`, problem)
  return 'none'
}

function decodeOriginalSource(config: MessageReader): void {
  const keepsPort = config.take('bind_port')
  if (keepsPort?.boolean() === true)
    keepsPort.error('the port of the client is not kept: two connections could need the same one; remove it')
  const mark = config.take('mark')
  if (mark !== undefined && (mark.integer({ min: 0, max: MAX_MARK }) ?? 0) !== 0)
    mark.error('one mark is for all upstream connections: set PACKET_MARK')
  config.finish()
}
