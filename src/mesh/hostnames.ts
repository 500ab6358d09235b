/** The host names that a mesh needs resolved before its endpoints have addresses. */
import type { MeshSnapshot } from './store.ts'

/** How often a workload's host name is resolved again; a cluster says so itself. */
const WORKLOAD_REFRESH_MS = 5_000

/**
 * Each host name of the snapshot with the milliseconds after which it is to be resolved again: the shortest of those
 * that use it. Costs the size of the clusters and workloads.
 */
export function hostnamesOf(snapshot: MeshSnapshot): ReadonlyMap<string, number> {
  const names = new Map<string, number>()
  const need = (hostname: string, refreshMs: number): void => {
    names.set(hostname, Math.min(refreshMs, names.get(hostname) ?? Infinity))
  }
  for (const { discovery } of snapshot.cluster.values()) {
    if (discovery.kind !== 'strict-dns' && discovery.kind !== 'logical-dns') continue
    for (const { hosts } of discovery.assignment.endpoints) {
      for (const host of hosts) if (host.kind === 'hostname') need(host.hostname, discovery.refreshMs)
    }
  }
  for (const { hostname, addresses } of snapshot.workload.values()) {
    if (hostname !== '' && addresses.length === 0) need(hostname, WORKLOAD_REFRESH_MS)
  }
  return names
}
