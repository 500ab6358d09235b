/**
 * The agent's own access log line: text like ztunnel's, or JSON with the same keys. It is written for every
 * connection, so what many connections share is rendered once, and nothing is built in between.
 */
import { formatSocketAddress } from '../../core/address.ts'
import { CLOSE_REASONS } from '../../proxy/close-reason.ts'
import { IsoTimes } from './time-format.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { ServiceLabels, WorkloadLabels } from '../../mesh/endpoint.ts'
import type { CloseReason } from '../../proxy/close-reason.ts'
import type { AttemptRecord, ClosedConnectionRecord } from '../../proxy/connection-record.ts'

export type OwnLineFormat = 'plain' | 'json'

const SCOPE = 'access'
const MESSAGE = 'connection complete'
/** What JSON writes as an escape: quotes, control characters, halves of surrogate pairs. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const NEEDS_ESCAPE = /["\\\u0000-\u001f\ud800-\udfff]/

/** Names and order of ztunnel's fields first, then what it does not have. */
const FIELDS = {
  client: 'src.addr',
  sourceWorkload: 'src.workload',
  sourceNamespace: 'src.namespace',
  sourceCluster: 'src.cluster',
  remote: 'dst.addr',
  service: 'dst.service',
  workload: 'dst.workload',
  namespace: 'dst.namespace',
  cluster: 'dst.cluster',
  direction: 'direction',
  sent: 'bytes_sent',
  received: 'bytes_recv',
  duration: 'duration',
  error: 'error',
  connection: 'connection',
  listener: 'listener',
  destination: 'dst.original',
  family: 'family',
  upstreamFamily: 'upstream_family',
  upstream: 'upstream',
  endpoint: 'endpoint',
  local: 'source',
  isSourcePreserved: 'source_preserved',
  attempts: 'attempts',
  fallback: 'fallback',
  closeReason: 'close_reason',
  responseFlags: 'response_flags',
} as const

type Field = keyof typeof FIELDS

/** Fields of text that never needs an escape: their prefix has the opening quote. */
const BARE_FIELDS: readonly Field[] = [
  'direction',
  'duration',
  'family',
  'upstreamFamily',
  'attempts',
  'fallback',
]

/** What is the same in all lines of one close reason. */
interface ReasonParts {
  /** Before and after the time. */
  readonly head: readonly [string, string]
  readonly isExpected: boolean
  readonly meaning: string
  readonly tail: string
}

/** Quoted names that are held; beyond that all are dropped. */
const MAX_QUOTED = 1_024

/** Formats lines in one format. Absent values leave the key out. */
export class OwnLineFormatter {
  readonly #isJson: boolean
  readonly #prefixes: Readonly<Record<Field, string>>
  readonly #times = new IsoTimes()
  readonly #reasons = new Map<CloseReason, ReasonParts>()
  readonly #quoted = new Map<string, string>()
  readonly #sources = new WeakMap<WorkloadLabels, string>()
  readonly #services = new WeakMap<ServiceLabels, string>()
  readonly #targets = new WeakMap<WorkloadLabels, string>()

  constructor(format: OwnLineFormat) {
    this.#isJson = format === 'json'
    this.#prefixes = prefixesOf(this.#isJson)
  }

  /** The line of a connection that ended at `timeMs`, with its line break. */
  format(record: ClosedConnectionRecord, timeMs: number): string {
    const names = this.#prefixes
    const { source, service } = record.labels
    const { upstream, bytes, attempts, fallback, detail } = record
    const target = upstream?.endpoint?.workload
    const isInbound = record.direction === 'inbound'
    const reason = this.#reasonParts(record.closeReason)
    let line = reason.head[0] + this.#times.format(timeMs) + reason.head[1] + this.#address(record.client)
    if (source !== undefined) line += this.#source(source)
    if (upstream?.remote !== undefined) line += names.remote + this.#address(upstream.remote)
    if (service !== undefined) line += this.#service(service)
    if (target !== undefined) line += this.#target(target)
    // Seen from the local application: the client of an outbound connection, the server of an inbound one.
    const sent = isInbound ? bytes.upstreamReceived : bytes.downstreamReceived
    const received = isInbound ? bytes.upstreamSent : bytes.downstreamSent
    line +=
      names.direction + record.direction + '"' + names.sent + String(sent) + names.received + String(received)
    line += names.duration + String(Math.round(record.durationMs)) + 'ms"'
    // An expected end is told of where it is not what its reason says: a client that fell silent, not RST.
    if (!reason.isExpected || (detail !== '' && detail !== 'reset'))
      line += names.error + (detail === '' ? reason.meaning : quote(detail))
    line += names.connection + String(record.id) + names.listener + this.#quote(record.listener)
    line += names.destination + this.#address(record.destination) + names.family + record.family + '"'
    if (upstream?.remote !== undefined) line += names.upstreamFamily + upstream.remote.ip.family + '"'
    if (upstream !== undefined) line += names.upstream + this.#quote(upstream.name)
    if (upstream?.endpoint !== undefined) line += names.endpoint + this.#quote(upstream.endpoint.id)
    if (upstream?.local !== undefined) line += names.local + this.#address(upstream.local)
    if (upstream?.isSourcePreserved !== undefined)
      line += names.isSourcePreserved + String(upstream.isSourcePreserved)
    if (attempts.length > 0) line += names.attempts + formatAttempts(attempts) + '"'
    if (fallback !== undefined)
      line += names.fallback + `${fallback.from} to ${fallback.to}: ${fallback.reason}"`
    return line + reason.tail
  }

  /** Text has addresses without quotes, as ztunnel. */
  #address(address: SocketAddress): string {
    return this.#isJson ? `"${escapedAddress(address)}"` : formatSocketAddress(address)
  }

  /** A text that many connections have, in quotes. */
  #quote(text: string): string {
    let quoted = this.#quoted.get(text)
    if (quoted === undefined) {
      quoted = flat(quote(text))
      if (this.#quoted.size >= MAX_QUOTED) this.#quoted.clear()
      this.#quoted.set(text, quoted)
    }
    return quoted
  }

  #source(source: WorkloadLabels): string {
    const held = this.#sources.get(source)
    if (held !== undefined) return held
    const { sourceWorkload, sourceNamespace, sourceCluster } = this.#prefixes
    const text = flat(
      named(sourceWorkload, source.name),
      named(sourceNamespace, source.namespace),
      named(sourceCluster, source.cluster),
    )
    this.#sources.set(source, text)
    return text
  }

  #service(service: ServiceLabels): string {
    const held = this.#services.get(service)
    if (held !== undefined) return held
    const text = flat(named(this.#prefixes.service, service.hostname))
    this.#services.set(service, text)
    return text
  }

  #target(target: WorkloadLabels): string {
    const held = this.#targets.get(target)
    if (held !== undefined) return held
    const { workload, namespace, cluster } = this.#prefixes
    const text = flat(
      named(workload, target.name),
      named(namespace, target.namespace),
      named(cluster, target.cluster),
    )
    this.#targets.set(target, text)
    return text
  }

  #reasonParts(reason: CloseReason): ReasonParts {
    const held = this.#reasons.get(reason)
    if (held !== undefined) return held
    const { isExpected, meaning, responseFlag } = CLOSE_REASONS[reason]
    const { client, closeReason, responseFlags } = this.#prefixes
    const level = isExpected ? 'info' : 'error'
    const parts: ReasonParts = {
      head: this.#isJson
        ? [flat(`{"level":"${level}","time":"`), flat(`","scope":"${SCOPE}","message":"${MESSAGE}"`, client)]
        : ['', flat(`\t${level}\t${SCOPE}\t${MESSAGE}`, client)],
      isExpected,
      meaning: flat(quote(meaning)),
      tail: flat(closeReason, `"${reason}"`, responseFlags, `"${responseFlag}"`, this.#isJson ? '}\n' : '\n'),
    }
    this.#reasons.set(reason, parts)
    return parts
  }
}

/** A text as JSON has it. */
export function quote(text: string): string {
  return NEEDS_ESCAPE.test(text) ? JSON.stringify(text) : `"${text}"`
}

function named(prefix: string, value: string): string {
  return value === '' ? '' : prefix + quote(value)
}

/** An address as JSON has it between quotes. Only a zone, the name of an interface, can hold what needs an escape. */
function escapedAddress(address: SocketAddress): string {
  const text = formatSocketAddress(address)
  return address.ip.zone === undefined ? text : quote(text).slice(1, -1)
}

function formatAttempts(attempts: readonly AttemptRecord[]): string {
  let text = ''
  for (const { address, result, durationMs } of attempts) {
    const separator = text === '' ? '' : ', '
    text += `${separator}${escapedAddress(address)} ${result} ${Math.round(durationMs)}ms`
  }
  return text
}

/** What stands before each value. In text, a tab before the first one and a blank before the others. */
function prefixesOf(isJson: boolean): Readonly<Record<Field, string>> {
  const prefixes: Record<Field, string> = { ...FIELDS }
  for (const field of Object.keys(FIELDS).filter(isField)) {
    const name = FIELDS[field]
    const separator = field === 'client' ? '\t' : ' '
    prefixes[field] = flat(
      isJson ? `,"${name}":` : `${separator}${name}=`,
      BARE_FIELDS.includes(field) ? '"' : '',
    )
  }
  return prefixes
}

/**
 * The parts as one piece of memory. What `+` makes is a tree of pieces that is walked through each time a text that
 * it is part of is written; `join` makes no tree.
 */
function flat(...parts: readonly string[]): string {
  // A second element: of a single one `join` gives that one, tree or not.
  return ['', ...parts].join('')
}

function isField(key: string): key is Field {
  return key in FIELDS
}
