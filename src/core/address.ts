/**
 * IP and socket addresses, parsed once at the edge and canonical from then on: IPv4-mapped IPv6 becomes IPv4,
 * IPv6 text is RFC 5952, zone ids survive. Nothing behind this module compares addresses in another form.
 */
import ipaddr from 'ipaddr.js'

import type { Family } from './family.ts'

/** One canonical IP address. Two addresses are the same if and only if their `text` is equal. */
export interface IpAddress {
  readonly family: Family
  /** Dotted quad or RFC 5952 text, with `%zone` where there is one. Never IPv4-mapped. */
  readonly text: string
  /** Network byte order: 4 or 16 bytes. */
  readonly bytes: Uint8Array
  /** Interface name or index of a scoped IPv6 address. */
  readonly zone?: string | undefined
}

/** A canonical IP address and a TCP port (0–65535; 0 asks the kernel for one). */
export interface SocketAddress {
  readonly ip: IpAddress
  readonly port: number
}

/** Why a text is not an address that can be used. */
export class AddressError extends Error {
  override readonly name = 'AddressError'
}

/** Groups of 16 bits in an IPv6 address. */
export const IPV6_GROUPS = 8

const V4_MAPPED_PREFIX_BYTES = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255] as const

/**
 * Reads an IP literal in its canonical form. Dotted quads must have four decimal parts without leading zeros, so that
 * `010.0.0.1` is refused instead of being read as octal.
 *
 * @throws {AddressError} when the text is no IP literal
 */
export function parseIp(text: string): IpAddress {
  // Asked whether IPv6 text is IPv4, ipaddr.js throws and catches inside, which costs more than all the rest.
  const isIpv6 = text.includes(':')
  if (!isIpv6 && ipaddr.IPv4.isValidFourPartDecimal(text))
    return ipFromBytes(ipaddr.IPv4.parse(text).toByteArray())
  if (isIpv6 && ipaddr.IPv6.isValid(text)) {
    const parsed = ipaddr.IPv6.parse(text)
    return ipFromBytes(parsed.toByteArray(), parsed.zoneId)
  }
  throw new AddressError(`'${text}' is not an IP address`)
}

/** Like {@link parseIp}, with `undefined` where the text is no IP literal. */
export function tryParseIp(text: string): IpAddress | undefined {
  try {
    return parseIp(text)
  } catch (error) {
    if (error instanceof AddressError) return undefined
    throw error
  }
}

/**
 * Builds the canonical address of 4 or 16 bytes in network order, as xDS carries them.
 *
 * @throws {AddressError} for any other length
 */
export function ipFromBytes(bytes: ArrayLike<number>, zone?: string): IpAddress {
  if (bytes.length === 4) return ipv4(Uint8Array.from(bytes))
  if (bytes.length !== 16) throw new AddressError(`an IP address has 4 or 16 bytes, not ${bytes.length}`)
  const all = Uint8Array.from(bytes)
  if (V4_MAPPED_PREFIX_BYTES.every((byte, index) => all[index] === byte)) return ipv4(all.slice(12))
  const text = ipText(all, zone)
  return zone === undefined
    ? { family: 'ipv6', text, bytes: all }
    : { family: 'ipv6', text, bytes: all, zone }
}

/** The text of an address of 4 or 16 bytes: a dotted quad, or RFC 5952 sec. 4 with `%zone` where there is one. */
export function ipText(bytes: Uint8Array, zone?: string): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  const gap = longestZeroRun(bytes)
  let text = ''
  for (let index = 0; index < IPV6_GROUPS; index++) {
    if (index === gap.start) {
      text += '::'
      index += gap.length - 1
      continue
    }
    if (index > 0 && index !== gap.start + gap.length) text += ':'
    text += ipv6Group(bytes, index).toString(16)
  }
  return zone === undefined ? text : `${text}%${zone}`
}

/** The first of the longest runs of two or more groups that are zero; at -1 with no length when there is none. */
function longestZeroRun(bytes: Uint8Array): { readonly start: number; readonly length: number } {
  let longest = { start: -1, length: 1 }
  let length = 0
  for (let index = 0; index < IPV6_GROUPS; index++) {
    length = ipv6Group(bytes, index) === 0 ? length + 1 : 0
    if (length > longest.length) longest = { start: index + 1 - length, length }
  }
  return longest
}

/** One of the eight 16-bit groups of an IPv6 address. */
export function ipv6Group(bytes: Uint8Array, index: number): number {
  return ((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)
}

/** True for text such as `::ffff:10.0.0.1`, which {@link parseIp} turns into `10.0.0.1`. */
export function isMappedIpv4Text(text: string): boolean {
  return text.includes(':') && ipaddr.IPv6.isValid(text) && ipaddr.IPv6.parse(text).isIPv4MappedAddress()
}

/** True for fe80::/10. Such an address names a host only together with a zone. */
export function isLinkLocalIpv6(ip: IpAddress): boolean {
  return ip.family === 'ipv6' && ip.bytes[0] === 0xfe && ((ip.bytes[1] ?? 0) & 0xc0) === 0x80
}

/** True for 0.0.0.0 and ::, the addresses that a listener binds to hear on every address of its family. */
export function isUnspecified(ip: IpAddress): boolean {
  return ip.bytes.every((byte) => byte === 0)
}

/** True for 127.0.0.0/8 and ::1. */
export function isLoopback(ip: IpAddress): boolean {
  return ip.family === 'ipv4' ? ip.bytes[0] === 127 : ip.text === '::1'
}

/** The address as `a.b.c.d:port` or `[v6]:port`; equal texts are equal addresses, so it serves as a key. */
export function formatSocketAddress(address: SocketAddress): string {
  return address.ip.family === 'ipv6'
    ? `[${address.ip.text}]:${address.port}`
    : `${address.ip.text}:${address.port}`
}

/** True when both name the same address and port. */
export function isSameSocketAddress(a: SocketAddress, b: SocketAddress): boolean {
  return a.port === b.port && a.ip.text === b.ip.text
}

/**
 * Reads `a.b.c.d:port` or `[v6]:port`.
 *
 * @throws {AddressError} when either half is not what it should be
 */
export function parseSocketAddress(text: string): SocketAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535) {
    throw new AddressError(`'${text}' is not an address and port; write 10.0.0.1:80 or [fd00::1]:80`)
  }
  return { ip: parseIp(host), port }
}

function ipv4(bytes: Uint8Array): IpAddress {
  return { family: 'ipv4', text: ipText(bytes), bytes }
}
