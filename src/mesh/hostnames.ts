/** Which host names the mesh needs resolved. */
import { hostnamesOfCluster } from './cluster-upstreams.ts'

import type { MeshSnapshot } from './store.ts'

/** The host names of DNS clusters, and of workloads that have a name instead of addresses. Costs the size of both. */
export function hostnamesOf(snapshot: MeshSnapshot): ReadonlySet<string> {
  const names = new Set<string>()
  for (const cluster of snapshot.cluster.values())
    for (const hostname of hostnamesOfCluster(cluster)) names.add(hostname)
  for (const { hostname, addresses } of snapshot.workload.values())
    if (hostname !== '' && addresses.length === 0) names.add(hostname)
  return names
}
