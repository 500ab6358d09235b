/** CIDR prefixes over canonical addresses: parse, containment, and which of two is more specific. */
import { AddressError, ipFromBytes, isMappedIpv4Text, parseIp } from './address.ts'

import type { IpAddress } from './address.ts'

/** A prefix. Host bits of `base` are zero. `::ffff:10.0.0.0/104` is held as `10.0.0.0/8`. */
export interface Cidr {
  readonly base: IpAddress
  /** 0–32 for IPv4, 0–128 for IPv6. */
  readonly prefixLength: number
}

const MAPPED_PREFIX_BITS = 96

/**
 * Reads `address/length`, or a bare address as a prefix that holds just it. Host bits are cleared.
 *
 * @throws {AddressError} for a bad address or length, and for a mapped prefix shorter than /96, which would hold
 *   addresses of both families
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/')
  if (slash < 0) return makeCidr(parseIp(text))
  const lengthText = text.slice(slash + 1)
  if (!/^\d{1,3}$/.test(lengthText))
    throw new AddressError(`'${text}' has no prefix length; write it as 10.0.0.0/8`)
  const addressText = text.slice(0, slash)
  const length = Number(lengthText)
  if (!isMappedIpv4Text(addressText)) return makeCidr(parseIp(addressText), length)
  if (length < MAPPED_PREFIX_BITS || length > 128) {
    throw new AddressError(
      `'${text}' covers addresses of both families; write the IPv4 and the IPv6 prefix apart`,
    )
  }
  return makeCidr(parseIp(addressText), length - MAPPED_PREFIX_BITS)
}

/**
 * Builds a prefix; without a length it holds just `ip`.
 *
 * @throws {AddressError} when the length does not fit the family
 */
export function makeCidr(ip: IpAddress, prefixLength: number = ip.bytes.length * 8): Cidr {
  const maxLength = ip.bytes.length * 8
  if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > maxLength) {
    throw new AddressError(`a prefix of ${ip.text} has 0 to ${maxLength} bits, not ${prefixLength}`)
  }
  return {
    base: ipFromBytes(ip.bytes.map((byte, index) => byte & maskByte(index, prefixLength))),
    prefixLength,
  }
}

/** True when the prefix holds the address. A prefix never holds addresses of the other family. */
export function cidrContains(cidr: Cidr, ip: IpAddress): boolean {
  if (cidr.base.family !== ip.family) return false
  const base = cidr.base.bytes
  const bytes = ip.bytes
  for (let index = 0; index * 8 < cidr.prefixLength; index++) {
    if ((((base[index] ?? 0) ^ (bytes[index] ?? 0)) & maskByte(index, cidr.prefixLength)) !== 0) return false
  }
  return true
}

/** The prefix as `address/length`. */
export function formatCidr(cidr: Cidr): string {
  return `${cidr.base.text}/${cidr.prefixLength}`
}

function maskByte(index: number, prefixLength: number): number {
  const bits = Math.min(8, Math.max(0, prefixLength - index * 8))
  return (0xff << (8 - bits)) & 0xff
}
