/** What passes between the pods of the main thread and a worker; part of what crosses at all (workers/messages.ts). */
import type { Listener } from '../../mesh/listener.ts'
import type { CapturedPod } from '../../mesh/pod.ts'
import type { NetworkNamespace } from '../transport.ts'

/** A bound socket; `index` is its number among those of the pod. */
export interface BoundPodSocket {
  readonly index: number
  readonly fd: number
  readonly listener: string
}

/** To a worker. */
export type PodMessage =
  /** What captured pods listen on, without their filter chains; before the first pod. */
  | {
      readonly kind: 'pod-listeners'
      readonly listeners: readonly { readonly listener: Listener; readonly entry: number }[]
    }
  /** A pod is new, or has become another: with every socket that is bound, of which those it knows stay. */
  | {
      readonly kind: 'pod'
      readonly pod: CapturedPod
      readonly namespace: NetworkNamespace
      readonly sockets: readonly BoundPodSocket[]
    }
  /** Ends everything of a pod; the answer is `pod-released`, then its descriptors may be closed. */
  | { readonly kind: 'pod-gone'; readonly namespaceId: number }
  /** Accept what is queued and then no more; the answer is `pod-released` without a namespace. */
  | { readonly kind: 'pods-unlisten' }

/** From a worker: it has let go. */
export interface PodReleased {
  readonly kind: 'pod-released'
  readonly namespaceId?: number
}
