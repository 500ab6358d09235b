/**
 * Decodes istio.security.Authorization from its wire bytes. What this version does not know of a condition makes the
 * condition unknown, and an unknown condition denies: refusing the resource instead would leave the mesh without it.
 *
 * https://github.com/istio/istio/blob/master/pkg/workloadapi/security/authorization.proto
 */
import { AddressError, ipFromBytes } from '../../core/address.ts'
import { makeCidr } from '../../core/cidr.ts'
import {
  decodeResource,
  delimited,
  readFields,
  readNested,
  varint,
  varints,
  wireFields,
} from '../reading/wire-message.ts'

import type { Cidr } from '../../core/cidr.ts'
import type { Result } from '../../core/result.ts'
import type { AuthorizationPolicy, PolicyMatch, StringMatch } from '../../mesh/workload.ts'
import type { WireField, WireReader } from '../reading/wire-message.ts'

type ServiceAccount = PolicyMatch['serviceAccounts'][number]

interface PolicyDraft {
  name: string
  namespace: string
  scope: number
  action: number
  rules: (readonly (readonly PolicyMatch[])[])[]
  isDryRun: boolean
}

/** A match while it is read: its lists grow. */
type MatchDraft = {
  -readonly [Name in keyof PolicyMatch]: PolicyMatch[Name] extends readonly (infer Item)[] ? Item[] : boolean
}

interface AddressDraft {
  bytes: Uint8Array
  length: number
}

const SCOPES = ['global', 'namespace', 'workload-selector'] as const
const ACTIONS = ['allow', 'deny'] as const
const NO_BYTES = new Uint8Array()

const STRING_MATCH = wireFields<{ match: StringMatch | undefined }, undefined>({
  1: delimited((draft, reader) => (draft.match = { kind: 'exact', value: reader.string() })),
  2: delimited((draft, reader) => (draft.match = { kind: 'prefix', value: reader.string() })),
  3: delimited((draft, reader) => (draft.match = { kind: 'suffix', value: reader.string() })),
  4: delimited((draft, reader) => {
    reader.bytes()
    draft.match = { kind: 'presence' }
  }),
})
const ADDRESS = wireFields<AddressDraft, undefined>({
  1: delimited((draft, reader) => (draft.bytes = reader.bytes())),
  2: varint((draft, reader) => (draft.length = reader.uint32())),
})
const SERVICE_ACCOUNT = wireFields<{ namespace: string; serviceAccount: string }, undefined>({
  1: delimited((draft, reader) => (draft.namespace = reader.string())),
  2: delimited((draft, reader) => (draft.serviceAccount = reader.string())),
})
const MATCH = wireFields<MatchDraft, undefined>({
  1: items((match) => match.namespaces, readStringMatch),
  2: items((match) => match.notNamespaces, readStringMatch),
  3: items((match) => match.principals, readStringMatch),
  4: items((match) => match.notPrincipals, readStringMatch),
  5: items((match) => match.sourceIps, readCidr),
  6: items((match) => match.notSourceIps, readCidr),
  7: items((match) => match.destinationIps, readCidr),
  8: items((match) => match.notDestinationIps, readCidr),
  9: varints((draft, port) => draft.destinationPorts.push(port)),
  10: varints((draft, port) => draft.notDestinationPorts.push(port)),
  11: items((match) => match.serviceAccounts, readServiceAccount),
  12: items((match) => match.notServiceAccounts, readServiceAccount),
})
const CLAUSE = wireFields<PolicyMatch[], undefined>({
  2: delimited((draft, reader) => draft.push(readMatch(reader))),
})
const RULE = wireFields<(readonly PolicyMatch[])[], undefined>({
  1: delimited((draft, reader) => {
    const matches: PolicyMatch[] = []
    const hasUnknown = readNested(reader, CLAUSE, matches, undefined)
    draft.push(hasUnknown ? [unknownMatch()] : matches)
  }),
})
/** 7, extensions, says nothing to a TCP proxy. */
const POLICY = wireFields<PolicyDraft, undefined>({
  1: delimited((draft, reader) => (draft.name = reader.string())),
  2: delimited((draft, reader) => (draft.namespace = reader.string())),
  3: varint((draft, reader) => (draft.scope = reader.uint32())),
  4: varint((draft, reader) => (draft.action = reader.uint32())),
  5: delimited((draft, reader) => {
    const clauses: (readonly PolicyMatch[])[] = []
    if (readNested(reader, RULE, clauses, undefined)) clauses.push([unknownMatch()])
    draft.rules.push(clauses)
  }),
  6: varint((draft, reader) => (draft.isDryRun = reader.bool())),
})

/** Decodes an istio.security.Authorization. */
export function decodeAuthorizationResource(value: Uint8Array): Result<AuthorizationPolicy> {
  return decodeResource(value, (reader, onProblem) => {
    const draft: PolicyDraft = { name: '', namespace: '', scope: 0, action: 0, rules: [], isDryRun: false }
    readFields(reader, POLICY, draft, undefined)
    const { name, namespace, isDryRun } = draft
    if (name === '') onProblem(['name'], 'an Authorization needs a name that is not empty')
    const scope = SCOPES[draft.scope]
    // What a policy that is not understood lets through is not known: it denies what it could have matched.
    const action = ACTIONS[draft.action] ?? 'deny'
    if (scope !== undefined) return { name, namespace, scope, action, rules: draft.rules, isDryRun }
    return { name, namespace, scope: 'namespace', action: 'deny', rules: [[[unknownMatch()]]], isDryRun }
  })
}

function readMatch(reader: WireReader): PolicyMatch {
  const match = emptyMatch()
  if (readNested(reader, MATCH, match, undefined)) match.isUnknown = true
  return match
}

/** A list field of a match; an item that is not understood makes the match unknown. */
function items<Item>(
  listOf: (draft: MatchDraft) => Item[],
  read: (reader: WireReader) => Item | undefined,
): WireField<MatchDraft, undefined> {
  return delimited((draft, reader) => {
    const item = read(reader)
    if (item === undefined) draft.isUnknown = true
    else listOf(draft).push(item)
  })
}

function readStringMatch(reader: WireReader): StringMatch | undefined {
  const draft: { match: StringMatch | undefined } = { match: undefined }
  return readNested(reader, STRING_MATCH, draft, undefined) ? undefined : draft.match
}

function readServiceAccount(reader: WireReader): ServiceAccount | undefined {
  const draft = { namespace: '', serviceAccount: '' }
  return readNested(reader, SERVICE_ACCOUNT, draft, undefined) ? undefined : draft
}

function readCidr(reader: WireReader): Cidr | undefined {
  const draft: AddressDraft = { bytes: NO_BYTES, length: 0 }
  if (readNested(reader, ADDRESS, draft, undefined)) return undefined
  try {
    return makeCidr(ipFromBytes(draft.bytes), draft.length)
  } catch (error) {
    if (error instanceof AddressError) return undefined
    throw error
  }
}

function emptyMatch(): MatchDraft {
  return {
    namespaces: [],
    notNamespaces: [],
    principals: [],
    notPrincipals: [],
    serviceAccounts: [],
    notServiceAccounts: [],
    sourceIps: [],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    destinationPorts: [],
    notDestinationPorts: [],
    isUnknown: false,
  }
}

function unknownMatch(): PolicyMatch {
  return { ...emptyMatch(), isUnknown: true }
}
