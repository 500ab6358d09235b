/** What one attempt to connect says about the family of its endpoint (rule 7). */
import { isLinkLocalIpv6 } from '../core/address.ts'

import type { Family } from '../core/family.ts'
import type { CapturedPod } from '../mesh/pod.ts'
import type { AttemptRecord } from './connection-record.ts'
import type { FamilyFailure } from './endpoint-health.ts'

/** What there is to know beside the attempt. */
export interface AttemptContext {
  readonly attemptDelayMs: number
  /** Whose connection it is; absent where it was not captured within a pod. */
  readonly pod: CapturedPod | undefined
}

/** Timers of Node.js count whole milliseconds and can be early by one. */
const TIMER_SLACK_MS = 1

/** `healthy`, or why the next connection had better try another family; `undefined` when it says nothing of that. */
export function lessonOf(
  { result, durationMs, address }: Pick<AttemptRecord, 'result' | 'durationMs' | 'address'>,
  { attemptDelayMs, pod }: AttemptContext,
): 'healthy' | FamilyFailure | undefined {
  switch (result) {
    case 'connected':
      return 'healthy'
    case 'refused':
    case 'timeout':
      return result
    case 'unreachable':
      // Where the pod can reach nothing in the family, that says nothing of an endpoint to the other pods of the node.
      return pod === undefined || hasUsable(pod, address.ip.family) ? result : undefined
    case 'lost_race':
      // It was silent for so long that another address overtook it; the next connection must not wait for it again.
      return durationMs >= attemptDelayMs - TIMER_SLACK_MS ? 'slow' : undefined
    case 'cancelled':
    case 'failed':
    case 'reset':
    case 'source_unavailable':
      return undefined
  }
}

function hasUsable({ addresses }: CapturedPod, family: Family): boolean {
  return addresses.some((ip) => ip.family === family && !isLinkLocalIpv6(ip))
}
