/** Captured pods and the connection to istio-cni as metrics. No series is of one pod: they come and go. */
import { FAMILIES } from '../../core/family.ts'
import { LISTENER_STATES } from '../../proxy/listener-ledger.ts'

import type { PodCounts } from '../../proxy/pods/pod-set.ts'
import type { PodStatus } from '../../proxy/pods/pod-entry.ts'
import type { ZdsStatus } from '../../zds-client/zds-status.ts'
import type { MetricKey } from './metrics-schema.ts'
import type { Sample, SampleReader } from './scraped-metric.ts'

/** What is read at a scrape. */
export interface PodReadings {
  readonly counts: PodCounts
  readonly statuses: readonly PodStatus[]
  readonly zds: ZdsStatus
}

/** @param read gives `undefined` where no pods are captured: there is no series then */
export function podReaders(read: () => PodReadings | undefined) {
  const one = (value: (readings: PodReadings) => number): SampleReader => {
    return () => {
      const readings = read()
      return readings === undefined ? [] : [{ labels: {}, value: value(readings) }]
    }
  }
  return {
    podsActive: one(({ counts }) => counts.up),
    podsPending: one(({ counts }) => counts.pending),
    podsStarted: one(({ counts }) => counts.started),
    podsStopped: one(({ counts }) => counts.stopped),
    podListeners: () => podListeners(read()?.statuses ?? []),
    zdsConnected: one(({ zds }) => Number(zds.isConnected)),
    zdsMessages: () => zdsMessages(read()?.zds),
    zdsReconnects: one(({ zds }) => zds.reconnects),
  } satisfies Partial<Record<MetricKey, SampleReader>>
}

function podListeners(pods: readonly PodStatus[]): readonly Sample[] {
  const counts = new Map<string, number>()
  for (const { listener, family, state } of pods.flatMap(({ listeners }) => listeners)) {
    const key = `${listener} ${family} ${state}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const names = new Set(pods.flatMap(({ listeners }) => listeners.map(({ listener }) => listener)))
  return [...names].flatMap((listener) =>
    FAMILIES.flatMap((family) =>
      LISTENER_STATES.map((state) => ({
        labels: { listener, family, state },
        value: counts.get(`${listener} ${family} ${state}`) ?? 0,
      })),
    ),
  )
}

function zdsMessages(zds: ZdsStatus | undefined): readonly Sample[] {
  return Object.entries(zds?.messages ?? {}).flatMap(([type, results]) =>
    Object.entries(results).map(([result, value]) => ({ labels: { type, result }, value })),
  )
}
