/** Which host names the mesh needs resolved, and how often. */
import { hostnamesOfCluster } from './cluster-upstreams.ts'

import type { MeshSnapshot } from './store.ts'

/** How often the name of a workload is resolved again; a cluster says so itself. */
const WORKLOAD_REFRESH_MS = 5_000

/**
 * The host names of DNS clusters, and of workloads that have a name instead of addresses, each with the shortest of the
 * refresh intervals, in milliseconds, of those that use it. Costs the number of clusters and of names.
 */
export function hostnamesOf(snapshot: MeshSnapshot): ReadonlyMap<string, number> {
  const names = new Map<string, number>()
  const add = (hostname: string, refreshMs: number): void => {
    names.set(hostname, Math.min(refreshMs, names.get(hostname) ?? Infinity))
  }
  for (const cluster of snapshot.cluster.values()) {
    const refreshMs = 'refreshMs' in cluster.discovery ? cluster.discovery.refreshMs : Infinity
    for (const hostname of hostnamesOfCluster(cluster)) add(hostname, refreshMs)
  }
  for (const hostname of snapshot.workloadIndex.hostnames()) add(hostname, WORKLOAD_REFRESH_MS)
  return names
}
