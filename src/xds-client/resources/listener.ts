/** Decodes envoy.config.listener.v3.Listener: where it listens, how connections get there, and its filter chains. */
import { formatSocketAddress, isMappedIpv4Text, isUnspecified, parseIp } from '../../core/address.ts'
import { decodeAccessLogs } from './access-log.ts'
import { parseUsableIp, readAddress } from './address.ts'
import { decodeFilterChain } from './filter-chain.ts'
import { checkMatchesDiffer } from './filter-chain-match.ts'
import { decodeListenerFilters } from './listener-filter.ts'
import {
  decodeKeepalive,
  decodeSocketOptions,
  decodeSocketOptionsOverride,
  optionsForFamily,
} from './socket-options.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Family } from '../../core/family.ts'
import type {
  Capture,
  Listener,
  ListenerAddress,
  SocketOption,
  TrafficDirection,
} from '../../mesh/listener.ts'
import type { Keepalive } from '../../mesh/upstream.ts'
import type { Field, MessageReader } from '../reading/message-reader.ts'
import type { AddressText } from './address.ts'
import type { FamilySocketOption } from './socket-options.ts'
import type { FilterContext } from './network-filter.ts'
import type { OnClusterName } from './tcp-proxy.ts'

/** Told of what a listener refers to or occupies, with the place, so that a whole document can be checked. */
export interface ListenerObserver {
  readonly onClusterName: OnClusterName
  readonly onAddress: (address: SocketAddress, place: Field, listener: Listener) => void
}

const IPV4_ANY = parseIp('0.0.0.0')
const DIRECTIONS: Readonly<Record<'UNSPECIFIED' | 'INBOUND' | 'OUTBOUND', TrafficDirection>> = {
  UNSPECIFIED: 'unspecified',
  INBOUND: 'inbound',
  OUTBOUND: 'outbound',
}
// Linux: IP_FREEBIND, IPV6_FREEBIND and TCP_FASTOPEN have no API but setsockopt.
const FREEBIND: Readonly<Record<Family, SocketOption>> = {
  ipv4: { level: 0, name: 15, value: 1 },
  ipv6: { level: 41, name: 78, value: 1 },
}
const TCP_FASTOPEN = { level: 6, name: 23 }
const MAX_BACKLOG = 2_147_483_647

/** Decodes a listener. What comes back while the report has errors is only good for finding more of them. */
export function decodeListener(field: Field, observer?: ListenerObserver): Listener | undefined {
  const message = field.message('Listener')
  if (message === undefined) return undefined
  message.take('@type')
  const namePlace = message.require('name')
  const name = namePlace?.string()
  if (name === '') namePlace?.error('the name of the listener is empty')

  const options = decodeOptions(message)
  const keepalive = message.takeMessage('tcp_keepalive', 'TcpKeepalive')
  const addresses = decodeAddresses(message, options)
  const filters = decodeListenerFilters(message.takeList('listener_filters'))
  const hasHandOff = message.take('use_original_dst')?.boolean() ?? false
  const isTransparent = message.take('transparent')?.boolean() ?? false
  const directionName = message.take('traffic_direction')?.oneOf(['UNSPECIFIED', 'INBOUND', 'OUTBOUND'])
  const direction = DIRECTIONS[directionName ?? 'UNSPECIFIED']
  const bindToPort = decodeBindToPort(message)
  const backlog = message.take('tcp_backlog_size')?.integer({ min: 1, max: MAX_BACKLOG })
  const onClusterName = observer?.onClusterName ?? (() => undefined)
  const chains = decodeChains(message, { onClusterName, direction })
  const accessLogs = decodeAccessLogs(message.takeList('access_log'))
  const keepaliveSettings: Keepalive | undefined = keepalive && decodeKeepalive(keepalive)
  finishListener(message)

  if (name === undefined) return undefined
  const listener: Listener = {
    name,
    addresses: addresses.map(({ address }) => address),
    capture: captureOf({ isTransparent, restoresDestination: hasHandOff || filters.restoresDestination }),
    direction,
    bindToPort: bindToPort && addresses.length > 0,
    ...(hasHandOff && { hasHandOff }),
    ...(filters.preservesSource && { preservesSource: true }),
    ...(backlog !== undefined && { backlog }),
    ...(keepaliveSettings !== undefined && { keepalive: keepaliveSettings }),
    ...chains,
    accessLogs,
  }
  for (const { address, place } of addresses) observer?.onAddress(address.address, place, listener)
  return listener
}

/** The place of old control planes for it counts on the wire only. */
function decodeBindToPort(message: MessageReader): boolean {
  const isOnWire = message.field.report.form === 'wire'
  const old = isOnWire ? message.takeMessage('deprecated_v1', 'DeprecatedV1') : undefined
  const oldValue = old?.take('bind_to_port')?.boolean()
  return message.take('bind_to_port')?.boolean() ?? oldValue ?? true
}

interface PlacedAddress {
  readonly address: ListenerAddress
  readonly place: Field
}

function captureOf(how: { isTransparent: boolean; restoresDestination: boolean }): Capture {
  if (how.isTransparent) return 'tproxy'
  return how.restoresDestination ? 'redirect' : 'none'
}

interface ListenerOptions {
  readonly hasFreebind: boolean
  readonly fastOpenQueueLength?: number
  readonly socketOptions: readonly FamilySocketOption[]
}

function decodeOptions(message: MessageReader): ListenerOptions {
  const hasFreebind = message.take('freebind')?.boolean() ?? false
  const queueLength = message.take('tcp_fast_open_queue_length')?.integer({ min: 0, max: MAX_BACKLOG })
  return {
    hasFreebind,
    ...(queueLength !== undefined && { fastOpenQueueLength: queueLength }),
    socketOptions: decodeSocketOptions(message.takeList('socket_options')),
  }
}

/** Freebind and fast open hold for every address; only the literal list can be overridden by an address. */
function optionsOf(
  options: ListenerOptions,
  override: readonly FamilySocketOption[] | undefined,
  family: Family,
): readonly SocketOption[] {
  return [
    ...(options.hasFreebind ? [FREEBIND[family]] : []),
    ...(options.fastOpenQueueLength === undefined
      ? []
      : [{ ...TCP_FASTOPEN, value: options.fastOpenQueueLength }]),
    ...optionsForFamily(override ?? options.socketOptions, family),
  ]
}

function decodeAddresses(message: MessageReader, options: ListenerOptions): readonly PlacedAddress[] {
  // An internal listener hears nothing from the network; nothing here leads to it either.
  const isOnWire = message.field.report.form === 'wire'
  const isInternal = isOnWire && message.take('internal_listener') !== undefined
  const primary = isInternal ? message.take('address') : message.require('address')
  const found = primary === undefined ? [] : placeAddresses(readAddress(primary), options, undefined)
  for (const field of message.takeList('additional_addresses')) {
    const additional = field.message('AdditionalAddress')
    if (additional === undefined) continue
    const address = additional.require('address')
    const override = additional.takeMessage('socket_options', 'SocketOptionsOverride')
    const overriding = override && decodeSocketOptionsOverride(override)
    additional.finish({
      unsupported: { tcp_keepalive: 'set tcp_keepalive of the listener, for all addresses' },
    })
    if (address !== undefined) found.push(...placeAddresses(readAddress(address), options, overriding))
  }
  return withoutRepetition(found)
}

/**
 * An address that is given twice is a mistake in a file; on the wire the first one holds, as in Envoy. Istio 1.24 gives a
 * service whose primary family is IPv6 its IPv4 address twice (istio/istio#55577).
 */
function withoutRepetition(found: readonly PlacedAddress[]): readonly PlacedAddress[] {
  const seen = new Set<string>()
  return found.filter(({ address: { address }, place }) => {
    const text = formatSocketAddress(address)
    const isRepeated = seen.has(text) && address.port !== 0
    if (isRepeated)
      place.unsupported(
        'AdditionalAddress.address',
        `the listener has ${text} already; remove one of the two`,
      )
    seen.add(text)
    return !isRepeated
  })
}

function placeAddresses(
  text: AddressText | undefined,
  options: ListenerOptions,
  override: readonly FamilySocketOption[] | undefined,
): PlacedAddress[] {
  if (text === undefined) return []
  return bindAddresses(text).map((address) => ({
    address: { address, socketOptions: optionsOf(options, override, address.ip.family) },
    place: text.place,
  }))
}

/** The addresses of one socket each that an address stands for: `::` with ipv4_compat is both wildcards (rule 1). */
function bindAddresses(address: AddressText): readonly SocketAddress[] {
  const { text, port, isIpv4Compat, place } = address
  const ip = parseUsableIp(address)
  if (ip === undefined) return []
  if (isMappedIpv4Text(text)) {
    if (isIpv4Compat)
      place.warn(`'${text}' is IPv4 and is bound as ${ip.text}; write ${ip.text} without ipv4_compat`)
    else place.error(`'${text}' is IPv4 and an IPv6-only socket cannot be bound to it; write ${ip.text}`)
    return [{ ip, port }]
  }
  if (!isIpv4Compat) return [{ ip, port }]
  if (ip.family === 'ipv6' && isUnspecified(ip))
    return [
      { ip, port },
      { ip: IPV4_ANY, port },
    ]
  place.error(`ipv4_compat is for :: and IPv4-mapped addresses, not for ${ip.text}; remove it`)
  return []
}

function decodeChains(
  message: MessageReader,
  context: FilterContext,
): Pick<Listener, 'filterChains' | 'defaultFilterChain'> {
  const chains = message.takeList('filter_chains').flatMap((place) => {
    const chain = decodeFilterChain(place, context)
    return chain === undefined ? [] : [{ chain, place }]
  })
  checkMatchesDiffer(chains)
  const defaultPlace = message.take('default_filter_chain')
  const defaultFilterChain = defaultPlace && decodeFilterChain(defaultPlace, context)
  const isOnWire = message.field.report.form === 'wire'
  if (!isOnWire && !message.has('filter_chains') && defaultPlace === undefined)
    message.field.error('the listener has no filter_chains; add one with a tcp_proxy filter')
  return {
    filterChains: chains.map(({ chain }) => chain),
    ...(defaultFilterChain !== undefined && { defaultFilterChain }),
  }
}

function finishListener(message: MessageReader): void {
  message.finish({
    ignored: [
      'stat_prefix',
      'stats_matcher',
      'per_connection_buffer_limit_bytes',
      'per_connection_buffer_high_watermark_timeout',
      'metadata',
      'drain_type',
      'listener_filters_timeout',
      'continue_on_listener_filters_timeout',
      'connection_balance_config',
      'reuse_port',
      'enable_reuse_port',
      'max_connections_to_accept_per_socket_event',
      'enable_mptcp',
      'ignore_global_conn_limit',
      'bypass_overload_manager',
    ],
    unsupported: {
      deprecated_v1: 'write bind_to_port in the listener itself',
      fcds_config: 'write the filter_chains in the listener',
    },
    refused: {
      filter_chain_matcher: 'give each filter chain a filter_chain_match',
      udp_listener_config: 'UDP is not proxied; remove the listener',
      api_listener: 'HTTP is not served; remove the listener',
      internal_listener: 'name the cluster behind it in the tcp_proxy that leads to it',
    },
  })
}
