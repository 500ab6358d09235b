/**
 * struct sockaddr_in and sockaddr_in6 in memory that the kernel reads and writes. Addresses that come back are
 * canonical; the last ones are remembered, because clients and destinations repeat.
 *
 * ip(7), ipv6(7)
 */
import { ipFromBytes, isLinkLocalIpv6 } from '../../core/address.ts'
import { AF_INET, AF_INET6, SOCKADDR_BYTES, SOCKADDR_IN_BYTES } from './constants.ts'

import type { IpAddress, SocketAddress } from '../../core/address.ts'
import type { NativeMemory } from './native-memory.ts'
import type { Syscalls } from './syscalls.ts'

const MAX_REMEMBERED = 4_096
/** IF_NAMESIZE */
const INTERFACE_NAME_BYTES = 16

/** One address in memory, used again for each call. */
export class Sockaddr {
  readonly #syscalls: Syscalls
  readonly #memory: NativeMemory
  readonly #length: NativeMemory
  readonly #interfaceName: NativeMemory
  readonly #remembered = new Map<string, IpAddress>()

  constructor(deps: { readonly syscalls: Syscalls }) {
    this.#syscalls = deps.syscalls
    this.#memory = deps.syscalls.allocate(SOCKADDR_BYTES)
    this.#length = deps.syscalls.allocate(4)
    this.#interfaceName = deps.syscalls.allocate(INTERFACE_NAME_BYTES)
  }

  /** Where the kernel is to write an address. */
  get address(): number {
    return this.#memory.address
  }

  /** Where the kernel is to read how much it may write; to be asked for before each call that writes. */
  get lengthAddress(): number {
    this.#length.bytes.writeUInt32LE(SOCKADDR_BYTES)
    return this.#length.address
  }

  /** Puts an address where the kernel reads it, and gives its length. */
  write({ ip, port }: SocketAddress): number {
    const { bytes } = this.#memory
    bytes.writeUInt16BE(port, 2)
    if (ip.family === 'ipv4') {
      bytes.writeUInt16LE(AF_INET, 0)
      bytes.set(ip.bytes, 4)
      bytes.fill(0, 8, SOCKADDR_IN_BYTES)
      return SOCKADDR_IN_BYTES
    }
    bytes.writeUInt16LE(AF_INET6, 0)
    bytes.writeUInt32LE(0, 4)
    bytes.set(ip.bytes, 8)
    bytes.writeUInt32LE(ip.zone === undefined ? 0 : this.#interfaceIndex(ip.zone), 24)
    return SOCKADDR_BYTES
  }

  /** The address that the kernel has written. */
  read(): SocketAddress {
    const { bytes } = this.#memory
    const port = (bytes[2] ?? 0) * 256 + (bytes[3] ?? 0)
    const isIpv4 = bytes.readUInt16LE(0) === AF_INET
    // With the scope of an IPv6 address: the same link-local address is another one on another interface.
    const key = isIpv4 ? bytes.toString('latin1', 4, 8) : bytes.toString('latin1', 8, SOCKADDR_BYTES)
    const remembered = this.#remembered.get(key)
    if (remembered !== undefined) return { ip: remembered, port }
    const ip = isIpv4 ? ipFromBytes(bytes.subarray(4, 8)) : this.#readIpv6()
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear()
    this.#remembered.set(key, ip)
    return { ip, port }
  }

  #readIpv6(): IpAddress {
    const { bytes } = this.#memory
    const ip = ipFromBytes(bytes.subarray(8, 24))
    const scope = bytes.readUInt32LE(24)
    if (scope === 0 || !isLinkLocalIpv6(ip)) return ip
    return ipFromBytes(bytes.subarray(8, 24), this.#interfaceNameOf(scope))
  }

  #interfaceIndex(zone: string): number {
    return /^\d+$/.test(zone) ? Number(zone) : this.#syscalls.if_nametoindex(zone)
  }

  #interfaceNameOf(index: number): string {
    const { bytes, address } = this.#interfaceName
    if (this.#syscalls.if_indextoname(index, address) === 0) return String(index)
    return bytes.toString('utf8', 0, bytes.indexOf(0))
  }
}
