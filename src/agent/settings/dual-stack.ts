/**
 * The dual-stack flag: where it is read, which value is in force, and which families that leaves. ISTIO_DUAL_STACK
 * (Istio 1.19 and later) and ISTIO_AGENT_DUAL_STACK (1.17, 1.18) mean the same; the first place that has one wins.
 */
import { FAMILIES } from '../../core/family.ts'

import type { IpAddress } from '../../core/address.ts'
import type { Family } from '../../core/family.ts'
import type { Problem, Result } from '../../core/result.ts'

/** The names of the flag; within one place the first wins. */
const DUAL_STACK_NAMES = ['ISTIO_DUAL_STACK', 'ISTIO_AGENT_DUAL_STACK'] as const

/**
 * `auto`: both families where the network namespace has both. `on`: the same, and a missing family is reported.
 * `off`: single stack, as Istio's.
 */
export type DualStackMode = 'auto' | 'on' | 'off'

/** The flag in force. */
export interface DualStack {
  readonly mode: DualStackMode
  /** Where it was read: `environment variable ISTIO_DUAL_STACK`, or `default`. */
  readonly source: string
  /** The families that may be bound, picked and used as a source. */
  readonly families: readonly Family[]
}

/** The places where the flag can stand. */
export interface DualStackPlaces {
  readonly env: Readonly<Record<string, string | undefined>>
  /** proxyMetadata of PROXY_CONFIG. */
  readonly proxyMetadata: Readonly<Record<string, string>>
  /** defaultConfig.proxyMetadata of the mesh file. */
  readonly meshMetadata: Readonly<Record<string, string>>
  /** The agent's own addresses; the first decides the family when the flag is off, IPv4 if there is none. */
  readonly instanceIps: readonly IpAddress[]
}

/** Finds the value in force. A value that is neither true nor false is a problem, wherever it stands. */
export function resolveDualStack(places: DualStackPlaces): Result<DualStack> {
  const found = [
    ...valuesIn(places.env),
    ...valuesIn(places.proxyMetadata, 'proxyMetadata of PROXY_CONFIG'),
    ...valuesIn(places.meshMetadata, 'defaultConfig.proxyMetadata of the mesh file'),
  ]
  const problems = found.filter(({ value }) => value !== 'true' && value !== 'false').map(problemOf)
  if (problems.length > 0) return { ok: false, problems }
  const [first] = found
  if (first === undefined) return { ok: true, value: { mode: 'auto', source: 'default', families: FAMILIES } }
  if (first.value === 'true')
    return { ok: true, value: { mode: 'on', source: sourceOf(first), families: FAMILIES } }
  const single = places.instanceIps[0]?.family ?? 'ipv4'
  return { ok: true, value: { mode: 'off', source: sourceOf(first), families: [single] } }
}

interface FoundValue {
  readonly name: string
  readonly value: string
  /** Absent: the environment. */
  readonly place?: string
}

function valuesIn(
  values: Readonly<Record<string, string | undefined>>,
  place?: string,
): readonly FoundValue[] {
  return DUAL_STACK_NAMES.flatMap((name) => {
    const value = values[name]
    // Kubernetes sets an optional variable to the empty text.
    if (value === undefined || value === '') return []
    return [place === undefined ? { name, value } : { name, value, place }]
  })
}

function sourceOf({ name, place }: FoundValue): string {
  return place === undefined ? `environment variable ${name}` : `${name} in ${place}`
}

function problemOf({ name, value, place }: FoundValue): Problem {
  const what = place === undefined ? `env var ${name}=${value}` : `${name}=${value} in ${place}`
  return { path: [name], severity: 'error', message: `invalid ${what} (write true or false)` }
}
