/** What a listener asks for and the engine cannot do: refused by name instead of half done. */
import type { Problem } from '../core/result.ts'
import type { Listener } from '../mesh/listener.ts'
import type { TransportCapabilities } from '../proxy/transport.ts'

/** One problem for each, with the path of the field in envoy.config.listener.v3.Listener. */
export function unmetByListener(listener: Listener, capabilities: TransportCapabilities): readonly Problem[] {
  const { transparentSource, socketOptions } = capabilities
  const problems: Problem[] = []
  const refuse = (field: string, message: string): void => {
    problems.push({ path: [field], severity: 'error', message: `listener ${listener.name} ${message}` })
  }
  if (listener.capture === 'tproxy' && !transparentSource.isAvailable)
    refuse(
      'transparent',
      `is transparent, which this engine cannot do (${transparentSource.reason}); remove transparent and redirect with REDIRECT`,
    )
  if (listener.preservesSource === true && !transparentSource.isAvailable)
    refuse(
      'listener_filters',
      `has original_src, which this engine cannot do (${transparentSource.reason}); remove the filter`,
    )
  if (listener.addresses.some((address) => address.socketOptions.length > 0) && !socketOptions.isAvailable)
    refuse(
      'socket_options',
      `has socket options, which this engine cannot set (${socketOptions.reason}); remove them`,
    )
  return problems
}
