/** Decodes envoy.config.cluster.v3.OutlierDetection, of which consecutive connect failures concern plain TCP. */
import type { OutlierDetection } from '../../mesh/upstream.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

const UINT32 = { min: 0, max: 4_294_967_295 }
const PERCENT = { min: 0, max: 100 }
const DEFAULT_CONSECUTIVE_FAILURES = 5
const DEFAULT_BASE_EJECTION_MS = 30_000
const DEFAULT_MAX_EJECTION_MS = 300_000
const DEFAULT_MAX_EJECTION_PERCENT = 10
const ONLY_CONSECUTIVE = 'endpoints are ejected after failures in a row; remove it'

/** Decodes the settings; `undefined` where they never eject an endpoint for failing to connect. */
export function decodeOutlierDetection(message: MessageReader): OutlierDetection | undefined {
  const isSplit = message.take('split_external_local_origin_errors')?.boolean() ?? false
  const failures = {
    all: decodeFailures(message, 'consecutive_5xx', 'enforcing_consecutive_5xx'),
    localOrigin: decodeFailures(
      message,
      'consecutive_local_origin_failure',
      'enforcing_consecutive_local_origin_failure',
    ),
  }
  const baseEjectionMs = positiveMs(message.take('base_ejection_time')) ?? DEFAULT_BASE_EJECTION_MS
  const maxEjectionMs =
    positiveMs(message.take('max_ejection_time')) ?? Math.max(DEFAULT_MAX_EJECTION_MS, baseEjectionMs)
  const maxEjectionPercent =
    message.take('max_ejection_percent')?.integer(PERCENT) ?? DEFAULT_MAX_EJECTION_PERCENT
  const canAlwaysEjectOne = message.take('always_eject_one_host')?.boolean() ?? false
  finishOutlierDetection(message)
  const consecutiveConnectFailures = isSplit ? failures.localOrigin : failures.all
  if (consecutiveConnectFailures === 0) return undefined
  return { consecutiveConnectFailures, baseEjectionMs, maxEjectionMs, maxEjectionPercent, canAlwaysEjectOne }
}

/** The limit, 0 when it is off. Envoy can enforce it for a share of the cases, by chance; here it is all or none. */
function decodeFailures(message: MessageReader, limitName: string, enforcingName: string): number {
  const limit = message.take(limitName)?.integer(UINT32) ?? DEFAULT_CONSECUTIVE_FAILURES
  const enforcingPlace = message.take(enforcingName)
  const enforcing = enforcingPlace?.integer(PERCENT) ?? 100
  if (enforcing !== 0 && enforcing !== 100)
    enforcingPlace?.unsupported(
      `OutlierDetection.${enforcingName}`,
      `ejecting in ${enforcing} of 100 cases is not supported; write 0 or 100`,
    )
  return enforcing === 0 ? 0 : limit
}

function positiveMs(field: Field | undefined): number | undefined {
  const durationMs = field?.durationMs()
  return durationMs === 0 ? field?.error('must be longer than 0s') : durationMs
}

function finishOutlierDetection(message: MessageReader): void {
  message.finish({
    ignored: [
      'interval',
      'enforcing_success_rate',
      'success_rate_minimum_hosts',
      'success_rate_request_volume',
      'success_rate_stdev_factor',
      'consecutive_gateway_failure',
      'enforcing_consecutive_gateway_failure',
      'enforcing_local_origin_success_rate',
      'failure_percentage_threshold',
      'failure_percentage_minimum_hosts',
      'failure_percentage_request_volume',
      'max_ejection_time_jitter',
      'successful_active_health_check_uneject_host',
      'detect_degraded_hosts',
    ],
    unsupported: {
      enforcing_failure_percentage: ONLY_CONSECUTIVE,
      enforcing_failure_percentage_local_origin: ONLY_CONSECUTIVE,
      monitors: ONLY_CONSECUTIVE,
    },
  })
}
