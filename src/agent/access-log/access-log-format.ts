/** What Envoy's access log templates say about a closed connection. */
import { formatSocketAddress } from '../../core/address.ts'
import { parseAccessLogTemplate } from '../../mesh/access-log-operators.ts'
import { CLOSE_REASONS } from '../../proxy/close-reason.ts'
import { quote } from './own-log-line.ts'
import { formatTime, IsoTimes } from './time-format.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { ConnectionOperator, TemplatePart } from '../../mesh/access-log-operators.ts'
import type { AccessLogFormat } from '../../mesh/listener.ts'
import type { ClosedConnectionRecord } from '../../proxy/connection-record.ts'

/** A value as an access log prints it; `undefined` where the connection has none. */
type Value = string | number | undefined

/** Makes the line of a closed connection, with its line break where the format has one. */
export type LineFormatter = (record: ClosedConnectionRecord) => string

const ABSENT = '-'

/** Prepares a template once, for many connections. */
export function compileFormat(format: AccessLogFormat): LineFormatter {
  const times = new IsoTimes()
  if (format.kind === 'text') {
    const parts = parseAccessLogTemplate(format.template)
    return (record) => printParts(parts, record, times)
  }
  const entries = Object.entries(format.template).map(([key, template]) => ({
    prefix: `${JSON.stringify(key)}:`,
    parts: parseAccessLogTemplate(template),
  }))
  return (record) => {
    let line = ''
    for (const { prefix, parts } of entries) {
      line += (line === '' ? '{' : ',') + prefix + jsonText(parts, record, times)
    }
    return line === '' ? '{}\n' : `${line}}\n`
  }
}

function printParts(parts: readonly TemplatePart[], record: ClosedConnectionRecord, times: IsoTimes): string {
  let text = ''
  for (const part of parts) text += printPart(part, record, times)
  return text
}

function printPart(part: TemplatePart, record: ClosedConnectionRecord, times: IsoTimes): string {
  if (part.kind === 'text') return part.text
  const text = String(valueOf(part, record, times) ?? ABSENT)
  return part.maxLength === undefined ? text : text.slice(0, part.maxLength)
}

/** As Envoy: a lone operator keeps its type and is null without a value; anything else is text. */
function jsonText(parts: readonly TemplatePart[], record: ClosedConnectionRecord, times: IsoTimes): string {
  const [only] = parts
  if (parts.length !== 1 || only?.kind !== 'operator' || only.maxLength !== undefined)
    return quote(printParts(parts, record, times))
  const value = valueOf(only, record, times)
  if (value === undefined) return 'null'
  return typeof value === 'number' ? String(value) : quote(value)
}

function valueOf(
  { name, argument }: Extract<TemplatePart, { kind: 'operator' }>,
  record: ClosedConnectionRecord,
  times: IsoTimes,
): Value {
  if (name === undefined) return undefined
  if (name !== 'START_TIME') return operatorValue(name, record)
  return argument === undefined ? times.format(record.openedAtMs) : formatTime(record.openedAtMs, argument)
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
      return address(hostOf(record))
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

/** As Envoy: the endpoint goes by its first address, whichever was connected to, and the last that failed counts too. */
function hostOf({ upstream, attempts }: ClosedConnectionRecord): SocketAddress | undefined {
  const endpoint = upstream?.endpoint ?? attempts.at(-1)?.endpoint
  return endpoint?.addresses[0]
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
