/**
 * Finds the workload of a captured pod by who the pod is. Its connections may come from and go to addresses that the mesh
 * does not know, such as those of a second network or of a translation (istio/istio#53483), and must not pass for anybody
 * else's, or for nobody's, on their account.
 */
import type { CapturedPod } from './pod.ts'
import type { MeshSnapshot } from './store.ts'
import type { Workload } from './workload.ts'

export interface NodePlace {
  /** The cluster of this node, as istiod writes it into the uids of workloads. */
  readonly clusterId: string
  /** The network of this node. */
  readonly network: string
}

/**
 * The workload that the control plane has for a pod; `undefined` while it has none. istiod names it by cluster, namespace
 * and pod; in a file it may have any uid, and is found by one of the pod's own addresses.
 */
export function workloadOfPod(
  snapshot: MeshSnapshot,
  pod: CapturedPod,
  { clusterId, network }: NodePlace,
): Workload | undefined {
  const named = snapshot.workload.get(`${clusterId}//Pod/${pod.namespace}/${pod.name}`)
  if (named !== undefined && isOf(named, pod)) return named
  for (const ip of pod.addresses) {
    const workload = snapshot.workloadIndex.at({ network, ip })
    if (workload !== undefined && isOf(workload, pod)) return workload
  }
  return undefined
}

function isOf({ name, namespace, serviceAccount }: Workload, pod: CapturedPod): boolean {
  return name === pod.name && namespace === pod.namespace && serviceAccount === pod.serviceAccount
}
