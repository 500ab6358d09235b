/**
 * Decodes envoy.config.core.v3.Address and SocketAddress. What an address may be depends on its use, so reading it and
 * deciding are apart; IPv4-mapped text becomes IPv4 here and is never seen behind this module.
 */
import { isLinkLocalIpv6, isMappedIpv4Text, tryParseIp } from '../../core/address.ts'

import type { IpAddress, SocketAddress } from '../../core/address.ts'
import type { HostAddress } from '../../mesh/cluster.ts'
import type { Field } from '../reading/message-reader.ts'

/** A core.v3.SocketAddress as it is written. */
export interface AddressText {
  readonly text: string
  readonly port: number
  readonly isIpv4Compat: boolean
  /** Where `text` stands. */
  readonly place: Field
  /** Where the port stands. */
  readonly portPlace: Field
}

/** The largest TCP port. */
export const MAX_PORT = 65_535

/** Reads a core.v3.Address, of which only socket_address is an address of the network. */
export function readAddress(field: Field): AddressText | undefined {
  const message = field.message('Address')
  if (message === undefined) return undefined
  const socketAddress = message.take('socket_address')
  const hasOther = message.has('pipe') || message.has('envoy_internal_address')
  message.finish({
    unsupported: {
      pipe: 'use a socket_address with an IP address and a port',
      envoy_internal_address: 'there are no internal listeners; use a socket_address',
    },
  })
  if (socketAddress !== undefined) return readSocketAddress(socketAddress)
  return hasOther ? undefined : field.error('Address needs socket_address')
}

/** Reads a core.v3.SocketAddress. */
export function readSocketAddress(field: Field): AddressText | undefined {
  const message = field.message('SocketAddress')
  if (message === undefined) return undefined
  const protocol = message.take('protocol')
  if (protocol?.oneOf(['TCP', 'UDP']) === 'UDP')
    protocol.error('UDP is not proxied; write TCP or leave protocol out')
  const place = message.require('address')
  const portPlace = message.take('port_value')
  const isIpv4Compat = message.take('ipv4_compat')?.boolean() ?? false
  const hasNamedPort = message.has('named_port')
  message.finish({
    unsupported: {
      named_port: 'write the number as port_value',
      resolver_name: 'remove it; host names belong in a STRICT_DNS or LOGICAL_DNS cluster',
      network_namespace_filepath: 'the proxy works in the network namespace that it runs in; remove it',
    },
  })
  if (portPlace === undefined && !hasNamedPort)
    field.error('SocketAddress needs port_value; write 0 where the kernel is to choose')
  const text = place?.string()
  const port = portPlace?.integer({ min: 0, max: MAX_PORT })
  if (place === undefined || text === undefined || portPlace === undefined || port === undefined)
    return undefined
  return { text, port, isIpv4Compat, place, portPlace }
}

/** Decides that the address is an IP literal. IPv4-mapped text becomes IPv4 with a warning. */
export function ipOf(address: AddressText): SocketAddress | undefined {
  const ip = parseUsableIp(address)
  if (ip === undefined) return undefined
  if (isMappedIpv4Text(address.text))
    address.place.warn(`'${address.text}' is IPv4 and is used as ${ip.text}; write ${ip.text}`)
  return { ip, port: address.port }
}

/** Decides that the address is an IP literal or a host name, and that it can be connected to. */
export function hostOf(address: AddressText): HostAddress | undefined {
  if (address.port === 0)
    address.portPlace.error('port 0 cannot be connected to; write the port of the endpoint')
  if (looksLikeIp(address.text)) {
    const socketAddress = ipOf(address)
    return socketAddress && { kind: 'ip', address: socketAddress }
  }
  if (!isHostname(address.text))
    return address.place.error(`'${address.text}' is neither an IP address nor a host name`)
  return { kind: 'hostname', hostname: address.text.toLowerCase(), port: address.port }
}

/** The IP literal, after the checks that hold for every use: it is one, and a link-local one names its interface. */
export function parseUsableIp(address: AddressText): IpAddress | undefined {
  const ip = tryParseIp(address.text)
  if (ip === undefined) {
    return address.place.error(
      isHostname(address.text) && !looksLikeIp(address.text)
        ? `'${address.text}' is a host name and an IP address is needed here`
        : `'${address.text}' is not an IP address; write it as 10.0.0.1 or fd00::1`,
    )
  }
  if (isLinkLocalIpv6(ip) && ip.zone === undefined) {
    return address.place.error(
      `${ip.text} is link-local and names no host without its interface; append it, as ${ip.text}%eth0`,
    )
  }
  return ip
}

/** True for text that can only be meant as an IP literal, right or wrong. */
function looksLikeIp(text: string): boolean {
  return text.includes(':') || /^[\d.]+$/.test(text)
}

/** RFC 1123 names, with the underscores that real zones have. */
function isHostname(text: string): boolean {
  return (
    text.length <= 254 &&
    /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i.test(
      text,
    )
  )
}
