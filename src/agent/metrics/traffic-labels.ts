/** The values of ztunnel's traffic labels for a connection, in the order of TRAFFIC_LABELS. Pure. */
import { TRAFFIC_LABELS } from './metrics-schema.ts'

import type { WorkloadLabels } from '../../mesh/endpoint.ts'
import type { RouteLabels } from '../../mesh/router.ts'
import type { TrafficLabel } from './metrics-schema.ts'

/** Which end of a connection this proxy is. */
export type Reporter = 'source' | 'destination'

/** What the labels of a connection follow from. */
export interface LabelledTraffic {
  readonly reporter: Reporter
  readonly labels: RouteLabels
  /** The workload that was connected to. */
  readonly destination: WorkloadLabels | undefined
  readonly responseFlags: string
}

/** Stands for a value that is not known. */
export const UNKNOWN = 'unknown'

const FLAGS_PLACE = TRAFFIC_LABELS.indexOf('response_flags')

/** One value per label; without the last four, the locality, when the workload of neither end is known. */
export function trafficLabelValues(traffic: LabelledTraffic): readonly string[] {
  const { labels, destination } = traffic
  const hasLocality = labels.source !== undefined || destination !== undefined
  const names = hasLocality ? TRAFFIC_LABELS : TRAFFIC_LABELS.slice(0, -4)
  return names.map((name) => {
    const value = valueOf(name, traffic)
    return value === undefined || value === '' ? UNKNOWN : value
  })
}

/** The same values with other response flags. */
export function withResponseFlags(values: readonly string[], responseFlags: string): readonly string[] {
  return values.with(FLAGS_PLACE, responseFlags)
}

/** The values under the names of their labels. */
export function namedLabels(values: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(values.map((value, place) => [TRAFFIC_LABELS[place] ?? '', value]))
}

function valueOf(name: TrafficLabel, traffic: LabelledTraffic): string | undefined {
  const { reporter, destination, responseFlags } = traffic
  const { source, service } = traffic.labels
  switch (name) {
    case 'reporter':
      return reporter
    case 'source_workload':
      return source?.name
    case 'source_canonical_service':
    case 'source_app':
      return source?.canonicalName
    case 'source_canonical_revision':
    case 'source_version':
      return source?.canonicalRevision
    case 'source_workload_namespace':
      return source?.namespace
    case 'source_cluster':
      return source?.cluster
    case 'source_region':
      return source?.locality.region
    case 'source_zone':
      return source?.locality.zone
    case 'destination_service':
      return service?.hostname
    case 'destination_service_namespace':
      return service?.namespace
    case 'destination_service_name':
      return service?.name
    case 'destination_workload':
      return destination?.name
    case 'destination_canonical_service':
    case 'destination_app':
      return destination?.canonicalName
    case 'destination_canonical_revision':
    case 'destination_version':
      return destination?.canonicalRevision
    case 'destination_workload_namespace':
      return destination?.namespace
    case 'destination_cluster':
      return destination?.cluster
    case 'destination_region':
      return destination?.locality.region
    case 'destination_zone':
      return destination?.locality.zone
    case 'request_protocol':
      return 'tcp'
    case 'response_flags':
      return responseFlags
    // Identities are known to a connection with mTLS only.
    case 'source_principal':
    case 'destination_principal':
    case 'connection_security_policy':
      return undefined
  }
}
