/** What an access log says about a closed connection: the agent's own line, and Envoy's templates. Pure. */
import { formatSocketAddress } from '../core/address.ts'
import { parseAccessLogTemplate } from '../mesh/access-log-operators.ts'
import { CLOSE_REASONS } from '../proxy/close-reason.ts'
import { formatFields } from './logging.ts'
import { formatTime } from './time-format.ts'

import type { SocketAddress } from '../core/address.ts'
import type { ConnectionOperator, TemplatePart } from '../mesh/access-log-operators.ts'
import type { AccessLogFormat } from '../mesh/listener.ts'
import type { ClosedConnectionRecord } from '../proxy/connection-record.ts'

/** A value as an access log prints it; `undefined` where the connection has none. */
type Value = string | number | undefined

/** Makes the line of a closed connection, with its line break where the format has one. */
export type LineFormatter = (record: ClosedConnectionRecord) => string

const MESSAGE = 'connection complete'
const ABSENT = '-'
/** What ztunnel writes without quotes. */
const ADDRESS_FIELDS: ReadonlySet<string> = new Set(['src.addr', 'dst.addr', 'dst.original', 'source'])

/** The agent's own line: text like ztunnel's, or JSON with the same keys. */
export function formatOwnLine(
  record: ClosedConnectionRecord,
  options: { readonly format: 'plain' | 'json'; readonly timeMs: number },
): string {
  const level = CLOSE_REASONS[record.closeReason].isExpected ? 'info' : 'error'
  const time = new Date(options.timeMs).toISOString()
  const fields = ownFields(record)
  return options.format === 'json'
    ? `${JSON.stringify({ level, time, scope: 'access', message: MESSAGE, ...fields })}\n`
    : `${time}\t${level}\taccess\t${MESSAGE}\t${formatFields(fields, ADDRESS_FIELDS)}\n`
}

/** Prepares a template of Envoy's once, for many connections. */
export function compileFormat(format: AccessLogFormat): LineFormatter {
  if (format.kind === 'text') {
    const parts = parseAccessLogTemplate(format.template)
    return (record) => parts.map((part) => printPart(part, record)).join('')
  }
  const entries = Object.entries(format.template).map(
    ([key, template]) => [key, parseAccessLogTemplate(template)] as const,
  )
  return (record) => {
    const line = Object.fromEntries(entries.map(([key, parts]) => [key, jsonValue(parts, record)]))
    return `${JSON.stringify(line)}\n`
  }
}

/** Names and order of ztunnel's fields first, then what it does not have. Absent values leave the key out. */
function ownFields(record: ClosedConnectionRecord): Readonly<Record<string, Value>> {
  const { labels, upstream, bytes, fallback } = record
  const { source, service } = labels
  const target = upstream?.endpoint?.workload
  const isInbound = record.direction === 'inbound'
  const reason = CLOSE_REASONS[record.closeReason]
  return {
    'src.addr': formatSocketAddress(record.client),
    'src.workload': some(source?.name),
    'src.namespace': some(source?.namespace),
    'src.cluster': some(source?.cluster),
    'dst.addr': address(upstream?.remote),
    'dst.service': some(service?.hostname),
    'dst.workload': some(target?.name),
    'dst.namespace': some(target?.namespace),
    'dst.cluster': some(target?.cluster),
    direction: record.direction,
    // Seen from the local application: the client of an outbound connection, the server of an inbound one.
    bytes_sent: isInbound ? bytes.upstreamReceived : bytes.downstreamReceived,
    bytes_recv: isInbound ? bytes.upstreamSent : bytes.downstreamSent,
    duration: `${Math.round(record.durationMs)}ms`,
    error: reason.isExpected ? undefined : (some(record.detail) ?? reason.meaning),
    connection: record.id,
    listener: record.listener,
    'dst.original': formatSocketAddress(record.destination),
    family: record.family,
    upstream_family: upstream?.remote?.ip.family,
    upstream: upstream?.name,
    endpoint: upstream?.endpoint?.id,
    source: address(upstream?.local),
    attempts: some(attemptsOf(record)),
    fallback: fallback && `${fallback.from} to ${fallback.to}: ${fallback.reason}`,
    close_reason: record.closeReason,
    response_flags: reason.responseFlag,
  }
}

function attemptsOf({ attempts }: ClosedConnectionRecord): string {
  return attempts
    .map((attempt) => {
      const took = `${Math.round(attempt.durationMs)}ms`
      return `${formatSocketAddress(attempt.address)} ${attempt.result} ${took}`
    })
    .join(', ')
}

function printPart(part: TemplatePart, record: ClosedConnectionRecord): string {
  if (part.kind === 'text') return part.text
  const text = String(valueOf(part, record) ?? ABSENT)
  return part.maxLength === undefined ? text : text.slice(0, part.maxLength)
}

/** As Envoy: a lone operator keeps its type and is null without a value; anything else is text. */
function jsonValue(parts: readonly TemplatePart[], record: ClosedConnectionRecord): string | number | null {
  const [only] = parts
  if (parts.length !== 1 || only?.kind !== 'operator' || only.maxLength !== undefined)
    return parts.map((part) => printPart(part, record)).join('')
  return valueOf(only, record) ?? null
}

function valueOf(
  { name, argument }: Extract<TemplatePart, { kind: 'operator' }>,
  record: ClosedConnectionRecord,
): Value {
  if (name === undefined) return undefined
  return name === 'START_TIME' ? formatTime(record.openedAtMs, argument) : operatorValue(name, record)
}

function operatorValue(
  name: Exclude<ConnectionOperator, 'START_TIME'>,
  record: ClosedConnectionRecord,
): Value {
  const { client, destination, upstream, bytes } = record
  switch (name) {
    case 'DURATION':
      return Math.round(record.durationMs)
    case 'BYTES_RECEIVED':
    case 'DOWNSTREAM_WIRE_BYTES_RECEIVED':
      return bytes.downstreamReceived
    case 'BYTES_SENT':
    case 'DOWNSTREAM_WIRE_BYTES_SENT':
      return bytes.downstreamSent
    case 'UPSTREAM_WIRE_BYTES_RECEIVED':
      return bytes.upstreamReceived
    case 'UPSTREAM_WIRE_BYTES_SENT':
      return bytes.upstreamSent
    case 'DOWNSTREAM_REMOTE_ADDRESS':
    case 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS':
      return address(client)
    case 'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT':
    case 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT':
      return client.ip.text
    case 'DOWNSTREAM_REMOTE_PORT':
    case 'DOWNSTREAM_DIRECT_REMOTE_PORT':
      return client.port
    case 'DOWNSTREAM_LOCAL_ADDRESS':
      return address(destination)
    case 'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT':
      return destination.ip.text
    case 'DOWNSTREAM_LOCAL_PORT':
      return destination.port
    case 'UPSTREAM_HOST':
    case 'UPSTREAM_REMOTE_ADDRESS':
      return address(upstream?.remote)
    case 'UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT':
      return upstream?.remote?.ip.text
    case 'UPSTREAM_REMOTE_PORT':
      return upstream?.remote?.port
    case 'UPSTREAM_CLUSTER':
    case 'UPSTREAM_CLUSTER_RAW':
      return upstream?.name
    case 'UPSTREAM_LOCAL_ADDRESS':
      return address(upstream?.local)
    case 'UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT':
      return upstream?.local?.ip.text
    case 'UPSTREAM_LOCAL_PORT':
      return upstream?.local?.port
    case 'UPSTREAM_REQUEST_ATTEMPT_COUNT':
      return record.attempts.length
    case 'RESPONSE_CODE':
      // Envoy prints 0 for what is no HTTP.
      return 0
    case 'RESPONSE_FLAGS':
      return CLOSE_REASONS[record.closeReason].responseFlag
    case 'CONNECTION_TERMINATION_DETAILS':
      return isUpstreamFailure(record) ? undefined : oneWord(record.detail)
    case 'UPSTREAM_TRANSPORT_FAILURE_REASON':
      return isUpstreamFailure(record) ? oneWord(record.detail) : undefined
    case 'CONNECTION_ID':
      return record.id
    case 'ACCESS_LOG_TYPE':
      return 'TcpConnectionEnd'
  }
}

function isUpstreamFailure({ closeReason }: ClosedConnectionRecord): boolean {
  return CLOSE_REASONS[closeReason].responseFlag.startsWith('UF')
}

/** Envoy replaces the blanks of such texts, so that the columns of a line can be told apart. */
function oneWord(text: string): string | undefined {
  return some(text)?.replaceAll(/\s+/g, '_')
}

function address(value: SocketAddress | undefined): string | undefined {
  return value && formatSocketAddress(value)
}

function some(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}
