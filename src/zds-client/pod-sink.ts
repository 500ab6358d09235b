/**
 * Whoever serves the pods of the node. The ZDS client tells it of them, in the order in which istio-cni does, each when the
 * last has resolved or has taken 4 s. Then the two overlap, and for one pod they still have to take effect in the order of
 * the calls: a pod that is removed, or not retained, while it is being taken in, is gone in the end.
 */
import type { Pod, PodOutcome } from '../mesh/pod.ts'

export interface PodSink {
  /**
   * Serves a pod from now on. Takes the descriptor over and closes it, once, whatever the outcome. A pod that is served
   * already in the same network namespace stays as it is; in another one, the new takes the place of the old. Resolves when
   * its listeners are open, or with what kept them from it. Never rejects.
   *
   * @param namespaceFd a descriptor that should be of a network namespace; it has not been looked at
   */
  add(pod: Pod, namespaceFd: number): Promise<PodOutcome>
  /**
   * True when the pod is served or being taken in: istio-cni has no descriptor of its namespace and asks to go on with what
   * is there.
   */
  has(uid: string): boolean
  /** Ends everything of a pod. Resolves when nothing of it is left; false when it was not served. Never rejects. */
  remove(uid: string): Promise<boolean>
  /** A whole snapshot has been sent: ends every pod that is not in it. */
  retain(uids: ReadonlySet<string>): void
}
