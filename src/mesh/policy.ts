/**
 * Decides whether authorization policies let a plain TCP connection through, as Istio documents it: a DENY that matches
 * denies, else no ALLOW at all or one that matches allows. What cannot be evaluated denies.
 *
 * https://istio.io/latest/docs/reference/config/security/authorization-policy/
 */
import { cidrContains } from '../core/cidr.ts'
import { policyKey } from './workload.ts'

import type { IpAddress, SocketAddress } from '../core/address.ts'
import type { PolicyIndex } from './policy-index.ts'
import type { AuthorizationPolicy, PolicyMatch, StringMatch, Workload } from './workload.ts'

/** A connection as policies see it: the addresses that its two ends really used. */
export interface PolicyConnection {
  readonly client: IpAddress
  /** The address and port of the application. */
  readonly destination: SocketAddress
  /** The workload that owns the client's address, if one does. */
  readonly source?: Workload
}

export type PolicyDecision = (
  | { readonly isAllowed: true }
  | {
      readonly isAllowed: false
      /** The key of the policy that denies; empty when it is that no ALLOW policy matches. */
      readonly policy: string
      /** The whole reason, for the log. */
      readonly detail: string
    }
) & {
  /** Keys of dry-run policies that would have denied. */
  readonly dryRunDenials: readonly string[]
}

/**
 * Decides a connection to `destination` on plain TCP, where no peer has an identity. The namespace of a client is that
 * of the workload that owns its address; nothing else is known of it, and an unknown client is in no namespace.
 */
export function evaluatePolicies(input: {
  readonly policies: PolicyIndex
  readonly destination: Workload
  readonly connection: PolicyConnection
}): PolicyDecision {
  const { policies, missing } = input.policies.applicableTo(input.destination)
  const matching = (action: 'allow' | 'deny', isDryRun: boolean): readonly AuthorizationPolicy[] =>
    [...policies].filter(
      (policy) =>
        policy.action === action && policy.isDryRun === isDryRun && matchesPolicy(policy, input.connection),
    )
  const [deny] = matching('deny', false)
  const dryRunDenials = matching('deny', true).map(policyKey)
  if (deny !== undefined) {
    const key = policyKey(deny)
    return { isAllowed: false, policy: key, detail: `denied by policy ${key}`, dryRunDenials }
  }
  // A policy may arrive after the workload that names it: until then nobody knows what it denies.
  const [unknown] = missing
  if (unknown !== undefined) {
    const detail = `policy ${unknown} of workload ${input.destination.uid} is not known yet`
    return { isAllowed: false, policy: unknown, detail, dryRunDenials }
  }
  const allowing = [...policies].filter((policy) => policy.action === 'allow')
  const isAllowMatched = matching('allow', false).length > 0
  if (!isAllowMatched && matching('allow', true).length === 0) {
    dryRunDenials.push(...allowing.filter((policy) => policy.isDryRun).map(policyKey))
  }
  if (isAllowMatched || allowing.every((policy) => policy.isDryRun)) return { isAllowed: true, dryRunDenials }
  return {
    isAllowed: false,
    policy: '',
    detail: `no ALLOW policy of workload ${input.destination.uid} matches`,
    dryRunDenials,
  }
}

/** Any rule; every clause of it; any match of that. No rules match nothing, an empty clause everything. */
function matchesPolicy(policy: AuthorizationPolicy, connection: PolicyConnection): boolean {
  return policy.rules.some((clauses) =>
    clauses.every(
      (matches) =>
        matches.length === 0 ||
        matches.some((match) =>
          // Nobody can say that it matches, or that it does not: whichever of the two denies.
          match.isUnknown ? policy.action === 'deny' : isMatch(match, connection),
        ),
    ),
  )
}

/** Every kind holds. A match without any value is left out by Istio: it would match everything by accident. */
function isMatch(match: PolicyMatch, { client, destination, source }: PolicyConnection): boolean {
  if (isEmptyMatch(match)) return false
  return (
    holds(match.destinationIps, match.notDestinationIps, (cidr) => cidrContains(cidr, destination.ip)) &&
    holds(match.sourceIps, match.notSourceIps, (cidr) => cidrContains(cidr, client)) &&
    holds(match.destinationPorts, match.notDestinationPorts, (port) => port === destination.port) &&
    holds(match.serviceAccounts, match.notServiceAccounts, hasNoIdentity) &&
    holds(match.principals, match.notPrincipals, hasNoIdentity) &&
    holds(
      match.namespaces,
      match.notNamespaces,
      (wanted) => source !== undefined && matchesText(wanted, source.namespace),
    )
  )
}

function holds<Value>(
  positive: readonly Value[],
  negative: readonly Value[],
  matches: (value: Value) => boolean,
): boolean {
  return (positive.length === 0 || positive.some(matches)) && !negative.some(matches)
}

/** Plain TCP proves no identity, so nothing that asks for one matches. */
function hasNoIdentity(): boolean {
  return false
}

function matchesText(match: StringMatch, text: string): boolean {
  switch (match.kind) {
    case 'exact':
      return text === match.value
    case 'prefix':
      return text.startsWith(match.value)
    case 'suffix':
      return text.endsWith(match.value)
    case 'presence':
      return text !== ''
  }
}

function isEmptyMatch(match: PolicyMatch): boolean {
  return Object.values(match).every((value) => !Array.isArray(value) || value.length === 0)
}
