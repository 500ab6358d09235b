/** What the attempts of one race mean together: the reason of a failure, the reason of a fallback, a line for the log. */
import { formatSocketAddress } from '../core/address.ts'

import type { Family } from '../core/family.ts'
import type { CloseReason } from './close-reason.ts'
import type { AttemptRecord, Fallback, FallbackReason } from './connection-record.ts'
import type { AttemptTarget } from './endpoint-selection.ts'

/** The close reason of a race that was lost: that of a reset, what all attempts agree on, or `upstream_failed`. */
export function failureReason(attempts: readonly AttemptRecord[]): CloseReason {
  const results = new Set(attempts.map(({ result }) => result))
  if (results.has('reset')) return 'upstream_reset'
  if (results.has('timeout')) return 'upstream_timeout'
  if (results.size === 1 && results.has('refused')) return 'upstream_refused'
  if (results.size === 1 && results.has('unreachable')) return 'upstream_unreachable'
  // One family refused and the other one cannot be reached at all: the endpoint was there and said no.
  if (results.size === 2 && results.has('refused') && results.has('unreachable')) return 'upstream_refused'
  return 'upstream_failed'
}

/** Every attempt with its result: `[fd00::1]:80 refused, 10.0.0.1:80 timeout`. */
export function describeAttempts(attempts: readonly AttemptRecord[]): string {
  return attempts.map(({ address, result }) => `${formatSocketAddress(address)} ${result}`).join(', ')
}

/**
 * Why the winner is not of the first family in `families`, or `undefined` when it is, or when nothing of the first
 * family was there to be used: the only family that an endpoint has is no fallback.
 */
export function fallbackOf(
  winner: AttemptTarget,
  attempts: readonly AttemptRecord[],
  families: readonly Family[],
): Fallback | undefined {
  const from = families[0]
  if (from === undefined || winner.family === from) return undefined
  const missed = attempts.filter(({ address }) => address.ip.family === from)
  const decisive = missed.find(({ endpoint }) => endpoint.id === winner.endpoint.id) ?? missed[0]
  if (decisive !== undefined) return { from, to: winner.family, reason: reasonOf(decisive) }
  const hasFirstFamily = winner.endpoint.addresses.some(({ ip }) => ip.family === from)
  return hasFirstFamily ? { from, to: winner.family, reason: 'unhealthy' } : undefined
}

function reasonOf({ result }: AttemptRecord): FallbackReason {
  switch (result) {
    case 'refused':
    case 'unreachable':
    case 'timeout':
      return result
    case 'lost_race':
      return 'slow'
    case 'connected':
    case 'reset':
    case 'source_unavailable':
    case 'cancelled':
    case 'failed':
      return 'failed'
  }
}
