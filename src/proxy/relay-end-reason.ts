/** Why a connection ended whose relay ended by itself. Pure. */
import type { ErrorCode } from '../core/errors.ts'
import type { CloseReason } from './close-reason.ts'
import type { RelayEnd } from './transport.ts'

/** The reason, with what exactly happened where there is more to say. */
export function relayEndReason(end: RelayEnd): {
  readonly reason: CloseReason
  readonly detail: ErrorCode | ''
} {
  switch (end.kind) {
    case 'finished':
      return { reason: 'finished', detail: '' }
    case 'reset':
      return { reason: end.side === 'downstream' ? 'downstream_reset' : 'upstream_reset', detail: end.code }
    case 'closed':
      return { reason: 'drained', detail: '' }
  }
}
