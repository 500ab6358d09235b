/**
 * Envoy's access log templates: text with command operators, `%NAME%`, `%NAME(argument)%` or `%NAME:length%`. Says
 * what a template consists of and what of it is not known; what an operator prints is the access log's matter.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators
 */

/** Operators with a value of their own for a TCP connection. */
export const CONNECTION_OPERATORS = [
  'START_TIME',
  'DURATION',
  'BYTES_RECEIVED',
  'BYTES_SENT',
  'DOWNSTREAM_WIRE_BYTES_RECEIVED',
  'DOWNSTREAM_WIRE_BYTES_SENT',
  'UPSTREAM_WIRE_BYTES_RECEIVED',
  'UPSTREAM_WIRE_BYTES_SENT',
  'DOWNSTREAM_REMOTE_ADDRESS',
  'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_REMOTE_PORT',
  'DOWNSTREAM_DIRECT_REMOTE_ADDRESS',
  'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_DIRECT_REMOTE_PORT',
  'DOWNSTREAM_LOCAL_ADDRESS',
  'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_LOCAL_PORT',
  'UPSTREAM_HOST',
  'UPSTREAM_CLUSTER',
  'UPSTREAM_CLUSTER_RAW',
  'UPSTREAM_LOCAL_ADDRESS',
  'UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT',
  'UPSTREAM_LOCAL_PORT',
  'UPSTREAM_REMOTE_ADDRESS',
  'UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT',
  'UPSTREAM_REMOTE_PORT',
  'UPSTREAM_REQUEST_ATTEMPT_COUNT',
  'RESPONSE_CODE',
  'RESPONSE_FLAGS',
  'CONNECTION_TERMINATION_DETAILS',
  'UPSTREAM_TRANSPORT_FAILURE_REASON',
  'CONNECTION_ID',
  'ACCESS_LOG_TYPE',
] as const

export type ConnectionOperator = (typeof CONNECTION_OPERATORS)[number]

/** Operators of HTTP and TLS that shared formats carry; without a value for a plain TCP connection, so `-`. */
const INAPPLICABLE_OPERATORS = [
  'PROTOCOL',
  'REQ',
  'RESP',
  'TRAILER',
  'RESPONSE_CODE_DETAILS',
  'RESPONSE_DURATION',
  'REQUEST_DURATION',
  'ROUTE_NAME',
  'VIRTUAL_CLUSTER_NAME',
  'GRPC_STATUS',
  'REQUESTED_SERVER_NAME',
  'DOWNSTREAM_TLS_VERSION',
  'DOWNSTREAM_PEER_URI_SAN',
  'UPSTREAM_PEER_URI_SAN',
] as const

const ARGUMENT_OPERATORS: readonly string[] = ['REQ', 'RESP', 'TRAILER', 'START_TIME', 'GRPC_STATUS']

/** A piece of a template. */
export type TemplatePart =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'operator'
      /** `undefined`: an operator that has no value for a TCP connection. */
      readonly name: ConnectionOperator | undefined
      readonly argument?: string
      /** The value is cut to so many characters. */
      readonly maxLength?: number
    }

interface ParsedTemplate {
  readonly parts: readonly TemplatePart[]
  readonly unknown: readonly string[]
}

/** The strftime conversions that START_TIME understands; `%3f` and the like are parts of a second in so many digits. */
const TIME_CONVERSION = /%(?:[YmdHMSszZFTe%]|[1-9]?f)|%/g

const OPERATOR = /%%|%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::(\d+))?%|%/g

/** The pieces of a template. Operators that are not known are operators without a value. */
export function parseAccessLogTemplate(template: string): readonly TemplatePart[] {
  return parse(template).parts
}

/**
 * What of a template is not understood, as the operator's user would look for it: `%FILTER_STATE%`, a lone `%`, an
 * argument where there is none. Empty: the template is fine.
 */
export function unknownOperators(template: string): string[] {
  return [...new Set(parse(template).unknown)]
}

function parse(template: string): ParsedTemplate {
  const parts: TemplatePart[] = []
  const unknown: string[] = []
  let text = ''
  let end = 0
  for (const match of template.matchAll(OPERATOR)) {
    const [whole, name, argument, length] = match
    text += template.slice(end, match.index)
    end = match.index + whole.length
    if (name === undefined) {
      text += '%'
      if (whole === '%') unknown.push('%')
      continue
    }
    if (text !== '') parts.push({ kind: 'text', text })
    text = ''
    const connectionOperator = CONNECTION_OPERATORS.find((known) => known === name)
    if (connectionOperator === undefined && !isInapplicable(name)) unknown.push(`%${name}%`)
    else if (!isArgumentKnown(name, argument)) unknown.push(whole)
    parts.push({
      kind: 'operator',
      name: connectionOperator,
      ...(argument !== undefined && { argument }),
      ...(length !== undefined && { maxLength: Number(length) }),
    })
  }
  text += template.slice(end)
  if (text !== '') parts.push({ kind: 'text', text })
  return { parts, unknown }
}

function isInapplicable(name: string): boolean {
  return INAPPLICABLE_OPERATORS.some((known) => known === name)
}

function isArgumentKnown(name: string, argument: string | undefined): boolean {
  if (argument === undefined) return name !== 'REQ' && name !== 'RESP' && name !== 'TRAILER'
  if (!ARGUMENT_OPERATORS.includes(name)) return false
  return name !== 'START_TIME' || [...argument.matchAll(TIME_CONVERSION)].every(([found]) => found !== '%')
}
