/** Where a captured connection is, for the thread that carries it. */
import type { CapturedPod } from '../../mesh/pod.ts'
import type { NetworkNamespace } from '../transport.ts'

/** A captured pod, and its network namespace as a thread can enter it. */
export interface PodPlace {
  readonly pod: CapturedPod
  readonly namespace: NetworkNamespace
}
