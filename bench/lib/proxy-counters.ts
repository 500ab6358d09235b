/** What the proxy says that it has carried, read from /metrics. A measure counts only when these numbers agree. */
import { FAMILIES } from '../../src/core/family.ts'

import type { Family } from '../../src/core/family.ts'

/** Counters of one family of clients since the proxy was started. */
export interface FamilyCounters {
  readonly connections: number
  readonly receivedBytes: number
  readonly sentBytes: number
}

export interface ProxyCounters {
  readonly byFamily: Readonly<Record<Family, FamilyCounters>>
  readonly fallbacks: number
  /** Clients that are connected now. */
  readonly activeConnections: number
}

/** Reads the counters out of Prometheus' text format; a metric that is not there is an error. */
export function parseProxyCounters(text: string): ProxyCounters {
  const series = [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(
    ([, name = '', labels = '', value = '']) => ({ name, labels, value: Number(value) }),
  )
  const sum = (name: string, ...labels: readonly string[]): number =>
    series
      .filter((each) => each.name === name && labels.every((label) => each.labels.includes(label)))
      .reduce((total, { value }) => total + value, 0)
  if (!text.includes('# TYPE twinstack_bytes_total '))
    throw new Error('/metrics has no twinstack_bytes_total')
  const countersOf = (family: Family): FamilyCounters => {
    const label = `family="${family}"`
    return {
      connections: sum('twinstack_downstream_connections_total', label),
      receivedBytes: sum('twinstack_bytes_total', label, 'side="downstream"', 'direction="received"'),
      sentBytes: sum('twinstack_bytes_total', label, 'side="downstream"', 'direction="sent"'),
    }
  }
  const [ipv4, ipv6] = [countersOf('ipv4'), countersOf('ipv6')]
  return {
    byFamily: { ipv4, ipv6 },
    fallbacks: sum('twinstack_family_fallbacks_total'),
    activeConnections: sum('twinstack_downstream_connections_active'),
  }
}

/** What `after` has more than `before`; connections that are active are those of `after`. */
export function subtractCounters(after: ProxyCounters, before: ProxyCounters): ProxyCounters {
  const difference = (family: Family): FamilyCounters => ({
    connections: after.byFamily[family].connections - before.byFamily[family].connections,
    receivedBytes: after.byFamily[family].receivedBytes - before.byFamily[family].receivedBytes,
    sentBytes: after.byFamily[family].sentBytes - before.byFamily[family].sentBytes,
  })
  return {
    byFamily: { ipv4: difference('ipv4'), ipv6: difference('ipv6') },
    fallbacks: after.fallbacks - before.fallbacks,
    activeConnections: after.activeConnections,
  }
}

/** Whether a proxy has seen at least this in a family, and nothing in the other one. */
export function sawAtLeast(seen: ProxyCounters, family: Family, least: FamilyCounters): boolean {
  const counters = seen.byFamily[family]
  return (
    counters.connections >= least.connections &&
    counters.receivedBytes >= least.receivedBytes &&
    counters.sentBytes >= least.sentBytes &&
    FAMILIES.every((each) => each === family || sawNothing(seen, each))
  )
}

/** Whether no client of a family came to the proxy. */
export function sawNothing(seen: ProxyCounters, family: Family): boolean {
  return Object.values(seen.byFamily[family]).every((count: number) => count === 0)
}

/** How many pairs of listener and family accept connections. */
export function countBoundSockets(text: string): number {
  return [...text.matchAll(/^twinstack_listener_state\{[^}]*state="bound"[^}]*\} 1$/gm)].length
}
