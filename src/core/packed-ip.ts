/**
 * Addresses in a third of the memory, for those that are held by the hundred thousand, and the keys by which maps find
 * addresses of either form. A packed address makes its bytes and its text anew each time, and does not survive
 * `postMessage`: what leaves the mesh is unpacked.
 */
import { ipFromBytes, ipText } from './address.ts'

import type { IpAddress } from './address.ts'
import type { Family } from './family.ts'

/** Equal for equal addresses: 32 bits of IPv4, or the 16 bytes of IPv6 as Latin-1 text, with `%zone` if there is one. */
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
    const bytes = new Uint8Array(IPV6_BYTES)
    for (let index = 0; index < IPV6_BYTES; index++) bytes[index] = key.charCodeAt(index)
    return bytes
  }

  get text(): string {
    return ipText(this.bytes, this.zone)
  }

  get zone(): string | undefined {
    const { key } = this
    return typeof key === 'number' || key.length === IPV6_BYTES ? undefined : key.slice(IPV6_BYTES + 1)
  }
}

const IPV6_BYTES = 16

/** The key of an address in either form. */
export function ipKey(ip: IpAddress): IpKey {
  if (ip instanceof PackedIp) return ip.key
  const { bytes } = ip
  if (ip.family === 'ipv4')
    return ((bytes[0] ?? 0) << 24) | ((bytes[1] ?? 0) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0)
  const key = String.fromCharCode(...bytes)
  return ip.zone === undefined ? key : `${key}%${ip.zone}`
}

/** The packed form. */
export function packIp(ip: IpAddress): PackedIp {
  return ip instanceof PackedIp ? ip : new PackedIp(ipKey(ip))
}

/** The form whose bytes and text are at hand, and which other threads can be sent. */
export function unpackIp(ip: IpAddress): IpAddress {
  return ip instanceof PackedIp ? ipFromBytes(ip.bytes, ip.zone) : ip
}
