/**
 * Addresses in a third of the memory, for those that are held by the hundred thousand, and the keys by which maps find
 * addresses of either form. A packed address makes its bytes and its text anew each time, and does not survive
 * `postMessage`: what leaves the mesh is unpacked.
 */
import { IPV6_GROUPS, ipFromBytes, ipText, ipv6Group } from './address.ts'

import type { IpAddress } from './address.ts'
import type { Family } from './family.ts'

/** Equal for equal addresses: 32 bits of IPv4, or the eight groups of IPv6 as UTF-16 units, and `%zone` if there is one. */
export type IpKey = number | string

/** An {@link IpAddress} that is little more than its key. */
export class PackedIp implements IpAddress {
  readonly key: IpKey

  constructor(key: IpKey) {
    this.key = key
  }

  get family(): Family {
    return typeof this.key === 'number' ? 'ipv4' : 'ipv6'
  }

  get bytes(): Uint8Array {
    const { key } = this
    if (typeof key === 'number') return Uint8Array.of(key >>> 24, key >>> 16, key >>> 8, key)
    const bytes = new Uint8Array(2 * IPV6_GROUPS)
    for (let index = 0; index < IPV6_GROUPS; index++) {
      const group = key.charCodeAt(index)
      bytes[2 * index] = group >>> 8
      bytes[2 * index + 1] = group
    }
    return bytes
  }

  get text(): string {
    return ipText(this.bytes, this.zone)
  }

  get zone(): string | undefined {
    const { key } = this
    return typeof key === 'number' || key.length === IPV6_GROUPS ? undefined : key.slice(IPV6_GROUPS + 1)
  }
}

/** The key of an address in either form. */
export function ipKey(ip: IpAddress): IpKey {
  if (ip instanceof PackedIp) return ip.key
  return ip.family === 'ipv4' ? ipv4Key(ip.bytes) : ipv6Key(ip)
}

function ipv4Key(bytes: Uint8Array): number {
  return ((bytes[0] ?? 0) << 24) | ((bytes[1] ?? 0) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0)
}

function ipv6Key({ bytes, zone }: IpAddress): string {
  // Written out: a spread of the bytes takes ten times as long, and every look-up of a route comes by here.
  const key = String.fromCharCode(
    ipv6Group(bytes, 0),
    ipv6Group(bytes, 1),
    ipv6Group(bytes, 2),
    ipv6Group(bytes, 3),
    ipv6Group(bytes, 4),
    ipv6Group(bytes, 5),
    ipv6Group(bytes, 6),
    ipv6Group(bytes, 7),
  )
  return zone === undefined ? key : `${key}%${zone}`
}

/** The packed form. */
export function packIp(ip: IpAddress): PackedIp {
  return ip instanceof PackedIp ? ip : new PackedIp(ipKey(ip))
}

/** The form whose bytes and text are at hand, and which other threads can be sent. */
export function unpackIp(ip: IpAddress): IpAddress {
  return ip instanceof PackedIp ? ipFromBytes(ip.bytes, ip.zone) : ip
}
