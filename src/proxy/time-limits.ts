/** Which of its time limits a relayed connection has passed (rule 11). Pure. */
import type { ConnectionSettings } from '../mesh/router.ts'
import type { CloseReason } from './close-reason.ts'
import type { ConnectionOptions } from './connection-options.ts'

/** How long a connection has been as it is, in milliseconds. */
export interface ConnectionAges {
  readonly openForMs: number
  /** Since a byte or a FIN moved. */
  readonly idleForMs: number
  readonly isHalfClosed: boolean
}

/**
 * The limit that has passed; `undefined` while none has.
 *
 * @param settings of the route, which go before the defaults of the proxy
 */
export function passedLimit(
  { openForMs, idleForMs, isHalfClosed }: ConnectionAges,
  settings: ConnectionSettings | undefined,
  defaults: Pick<ConnectionOptions, 'idleTimeoutMs' | 'halfClosedTimeoutMs'>,
): CloseReason | undefined {
  const { maxConnectionDurationMs, idleTimeoutMs = defaults.idleTimeoutMs } = settings ?? {}
  const { halfClosedTimeoutMs } = defaults
  if (maxConnectionDurationMs !== undefined && openForMs >= maxConnectionDurationMs) return 'max_duration'
  if (idleTimeoutMs > 0 && idleForMs >= idleTimeoutMs) return 'idle_timeout'
  if (isHalfClosed && halfClosedTimeoutMs > 0 && idleForMs >= halfClosedTimeoutMs)
    return 'half_closed_timeout'
  return undefined
}
