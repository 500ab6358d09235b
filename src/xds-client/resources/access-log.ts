/** Decodes envoy.config.accesslog.v3.AccessLog: to a file or to one of the standard streams, as text or JSON. */
import { unknownOperators } from '../../mesh/access-log-operators.ts'
import { readTypedConfig } from './typed-config.ts'

import type { AccessLog, AccessLogFormat } from '../../mesh/listener.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'
import type { TypedConfig } from './typed-config.ts'

const LOGGERS = 'envoy.extensions.access_loggers'

/** Decodes a list of access logs. */
export function decodeAccessLogs(fields: readonly Field[]): readonly AccessLog[] {
  return fields.flatMap((field) => decodeAccessLog(field) ?? [])
}

function decodeAccessLog(field: Field): AccessLog | undefined {
  const message = field.message('AccessLog')
  if (message === undefined) return undefined
  message.take('name')
  const typed = readTypedConfig(message)
  const isFiltered = message.has('filter')
  message.finish({ unsupported: { filter: 'every connection is logged; remove the filter' } })
  // Without its filter it would log what nobody asked for: on the wire the whole log is left out.
  return typed && !isFiltered ? decodeLogger(typed) : undefined
}

function decodeLogger({ typeName, config, place }: TypedConfig): AccessLog | undefined {
  switch (typeName) {
    case `${LOGGERS}.file.v3.FileAccessLog`:
      return decodeFile(config)
    case `${LOGGERS}.stream.v3.StdoutAccessLog`:
      return logTo({ kind: 'stdout' }, config)
    case `${LOGGERS}.stream.v3.StderrAccessLog`:
      return logTo({ kind: 'stderr' }, config)
    default:
      return place.unsupported(
        `AccessLog.${typeName}`,
        `access logger ${typeName} is not supported; write to a FileAccessLog, StdoutAccessLog or StderrAccessLog`,
      )
  }
}

function decodeFile(config: MessageReader): AccessLog | undefined {
  const place = config.require('path')
  const path = place?.string()
  if (path === '') place?.error('path is empty; write the file to log to, or /dev/stdout')
  const oldFormats = [
    textFormat(config.take('format')),
    jsonFormat(config.take('json_format')),
    jsonFormat(config.take('typed_json_format')),
  ]
  return path === undefined ? undefined : logTo(targetOf(path), config, oldFormats)
}

function targetOf(path: string): AccessLog['target'] {
  if (path === '/dev/stdout') return { kind: 'stdout' }
  if (path === '/dev/stderr') return { kind: 'stderr' }
  return { kind: 'file', path }
}

/** `oldFormats`: what a file has beside log_format, under names that are older. */
function logTo(
  target: AccessLog['target'],
  config: MessageReader,
  oldFormats: readonly (AccessLogFormat | undefined)[] = [],
): AccessLog {
  const logFormat = config.takeMessage('log_format', 'SubstitutionFormatString')
  const formats = [logFormat && decodeFormatString(logFormat), ...oldFormats].filter(
    (format) => format !== undefined,
  )
  config.finish()
  const [format] = formats
  if (formats.length > 1) config.field.error('an access log has one format; remove all but one')
  return format === undefined ? { target } : { target, format }
}

function decodeFormatString(message: MessageReader): AccessLogFormat | undefined {
  const source = message.takeMessage('text_format_source', 'DataSource')
  const inline = source?.take('inline_string')
  source?.finish({
    unsupported: {
      filename: 'write the format as inline_string',
      inline_bytes: 'write the format as inline_string',
      environment_variable: 'write the format as inline_string',
      watched_directory: 'write the format as inline_string',
    },
  })
  const format = textFormat(message.take('text_format') ?? inline) ?? jsonFormat(message.take('json_format'))
  message.finish({
    ignored: ['omit_empty_values', 'content_type', 'json_format_options'],
    unsupported: { formatters: 'only the built-in command operators are known; remove it' },
  })
  return format
}

function textFormat(field: Field | undefined): AccessLogFormat | undefined {
  const template = field && readTemplate(field)
  return template === undefined || template === '' ? undefined : { kind: 'text', template }
}

function jsonFormat(field: Field | undefined): AccessLogFormat | undefined {
  if (field === undefined) return undefined
  const template: Record<string, string> = {}
  for (const [key, value] of field.entries()) {
    if (typeof value.value === 'object') {
      value.unsupported('SubstitutionFormatString.json_format', 'must be text, not a map or a list')
      continue
    }
    template[key] = readTemplate(value) ?? ''
  }
  return { kind: 'json', template }
}

/** A template whose command operators are all known: one that is not would be written as it stands. */
function readTemplate(field: Field): string | undefined {
  const template = field.string()
  const unknown = template === undefined ? [] : unknownOperators(template)
  if (unknown.length === 0) return template
  // On the wire they stay: an operator without a value here is written as `-`.
  if (field.report.form === 'wire') return template
  return field.error(
    `has unknown command operators: ${unknown.join(', ')}; remove them, or write %% for a percent sign`,
  )
}
