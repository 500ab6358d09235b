/** Decodes an authorization policy of the ambient dialect, as ztunnel's local file writes it. */
import { REAL_PORT, readCidr, readSpelling, requireText } from './network-address.ts'

import type { AuthorizationPolicy, PolicyMatch, StringMatch } from '../../mesh/workload.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'

const SCOPES = { Global: 'global', Namespace: 'namespace', WorkloadSelector: 'workload-selector' } as const
const ACTIONS = { Allow: 'allow', Deny: 'deny' } as const
const STRING_MATCHES = { Exact: 'exact', Prefix: 'prefix', Suffix: 'suffix' } as const

/** Decodes an entry of the local file's `policies`. An unknown key of a match is an error, never left out. */
export function decodeLocalAuthorization(field: Field): AuthorizationPolicy | undefined {
  const message = field.message('Authorization')
  if (message === undefined) return undefined
  const name = requireText(message, 'name')
  // A global policy may stand in no namespace.
  const namespace = message.require('namespace')?.string()
  const scope = message.require('scope')
  const action = message.require('action')
  const policy = {
    scope: scope && readSpelling(scope, SCOPES),
    action: action && readSpelling(action, ACTIONS),
    rules: message
      .takeList('rules')
      .map((rule) => rule.list().map((clause) => clause.list().flatMap((match) => readMatch(match) ?? []))),
    isDryRun: message.take('dry_run')?.boolean() ?? false,
  }
  message.finish()
  const { scope: scopeValue, action: actionValue } = policy
  if (name === undefined || namespace === undefined || scopeValue === undefined || actionValue === undefined)
    return undefined
  return { ...policy, name, namespace, scope: scopeValue, action: actionValue }
}

function readMatch(field: Field): PolicyMatch | undefined {
  const message = field.message('Match')
  if (message === undefined) return undefined
  const match: PolicyMatch = {
    namespaces: takeStringMatches(message, 'namespaces'),
    notNamespaces: takeStringMatches(message, 'not_namespaces'),
    principals: takeStringMatches(message, 'principals'),
    notPrincipals: takeStringMatches(message, 'not_principals'),
    serviceAccounts: takeServiceAccounts(message, 'service_accounts'),
    notServiceAccounts: takeServiceAccounts(message, 'not_service_accounts'),
    sourceIps: message.takeList('source_ips').flatMap((item) => readCidr(item) ?? []),
    notSourceIps: message.takeList('not_source_ips').flatMap((item) => readCidr(item) ?? []),
    destinationIps: message.takeList('destination_ips').flatMap((item) => readCidr(item) ?? []),
    notDestinationIps: message.takeList('not_destination_ips').flatMap((item) => readCidr(item) ?? []),
    destinationPorts: takePorts(message, 'destination_ports'),
    notDestinationPorts: takePorts(message, 'not_destination_ports'),
    isUnknown: false,
  }
  message.finish()
  return match
}

function takePorts(message: MessageReader, name: string): readonly number[] {
  return message.takeList(name).flatMap((item) => item.integer(REAL_PORT) ?? [])
}

function takeStringMatches(message: MessageReader, name: string): readonly StringMatch[] {
  return message.takeList(name).flatMap((item): readonly StringMatch[] => {
    const match = readStringMatch(item)
    return match === undefined ? [] : [match]
  })
}

/** `{Exact: text}` and so on, or `{Presence: []}`. */
function readStringMatch(field: Field): StringMatch | undefined {
  const [entry, ...others] = field.entries()
  if (entry === undefined || others.length > 0) {
    return field.error('a text match has exactly one of Exact, Prefix, Suffix, Presence')
  }
  const [kindText, place] = entry
  if (kindText.toLowerCase() === 'presence') return { kind: 'presence' }
  const kind = Object.entries(STRING_MATCHES).find(([name]) => name.toLowerCase() === kindText.toLowerCase())
  if (kind === undefined)
    return place.errorAtKey(`must be one of Exact, Prefix, Suffix, Presence, not '${kindText}'`)
  const value = place.string()
  return value === undefined ? undefined : { kind: kind[1], value }
}

function takeServiceAccounts(message: MessageReader, name: string): PolicyMatch['serviceAccounts'] {
  return message.takeList(name).flatMap((item) => {
    const account = item.message('ServiceAccountMatch')
    if (account === undefined) return []
    const namespace = account.require('namespace')?.string()
    const serviceAccount = account.require('service_account')?.string()
    account.finish()
    return namespace === undefined || serviceAccount === undefined ? [] : [{ namespace, serviceAccount }]
  })
}
