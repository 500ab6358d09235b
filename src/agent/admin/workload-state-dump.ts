/** Captured pods and live connections, as /config_dump has them under `workloadState`. */
import { formatSocketAddress } from '../../core/address.ts'
import { capitalized, optional } from './json-forms.ts'

import type { MeshSnapshot } from '../../mesh/store.ts'
import type { ConnectionRecord } from '../../proxy/connection-record.ts'
import type { PodStatus } from '../../proxy/pods/pod-entry.ts'
import type { Json } from './json-forms.ts'

/** Where connections are listed that belong to no workload the mesh knows. */
const UNKNOWN_WORKLOAD = 'unknown'

interface ConnectionLists {
  readonly inbound: Json[]
  readonly outbound: Json[]
}

/**
 * Captured pods by their UID, as ztunnel has them, each with its live connections; connections that no pod has captured by
 * the local workload: the client of an outbound one, the server of an inbound one.
 */
export function dumpWorkloadState(
  snapshot: MeshSnapshot,
  connections: readonly ConnectionRecord[],
  pods: readonly PodStatus[],
): Json {
  const byOwner = dumpConnections(connections)
  const ofPods = pods.map(({ pod, state, problem, listeners }) => {
    const { uid, name, namespace, serviceAccount } = pod
    const connectionsOfPod = byOwner.get(uid) ?? { inbound: [], outbound: [] }
    byOwner.delete(uid)
    const info = { name, namespace, serviceAccount }
    return [
      uid,
      {
        state: capitalized(state),
        ...optional('problem', problem),
        connections: connectionsOfPod,
        info,
        addresses: pod.addresses.map(({ text }) => text),
        listeners: listeners.map(({ reason, ...listener }) => ({
          ...listener,
          ...optional('reason', reason),
        })),
      },
    ]
  })
  const others = Array.from(byOwner, ([uid, lists]) => {
    const workload = snapshot.workload.get(uid)
    const info = {
      name: workload?.name ?? UNKNOWN_WORKLOAD,
      namespace: workload?.namespace ?? '',
      serviceAccount: workload?.serviceAccount ?? '',
      trustDomain: workload?.trustDomain ?? '',
    }
    return [uid, { state: 'Up', connections: lists, info }]
  })
  return Object.fromEntries([...ofPods, ...others]) as Json
}

function dumpConnections(connections: readonly ConnectionRecord[]): Map<string, ConnectionLists> {
  const byOwner = new Map<string, ConnectionLists>()
  for (const record of connections) {
    const isInbound = record.direction === 'inbound'
    const local = isInbound ? record.upstream?.endpoint?.workload : record.labels.source
    const uid = record.pod?.uid ?? local?.uid ?? UNKNOWN_WORKLOAD
    const lists = byOwner.get(uid) ?? { inbound: [], outbound: [] }
    byOwner.set(uid, lists)
    const remote = record.upstream?.remote ?? record.destination
    const ends = {
      src: formatSocketAddress(record.client),
      actualDst: formatSocketAddress(remote),
      protocol: 'TCP',
    }
    if (isInbound) lists.inbound.push({ ...ends, originalDst: record.labels.service?.hostname ?? null })
    else lists.outbound.push({ ...ends, originalDst: formatSocketAddress(record.destination) })
  }
  return byOwner
}
