/**
 * Asks the Linux kernel where a redirected connection was going (SO_ORIGINAL_DST), through the descriptor of a
 * node:net socket. Needs no privilege. The engines share it; koffi is loaded here and nowhere else.
 *
 * iptables-extensions(8) REDIRECT; linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
 */
import { ipFromBytes } from '../../core/address.ts'
import { errorMessage } from '../../core/errors.ts'

import type { Socket } from 'node:net'
import type { Family } from '../../core/family.ts'
import type { SocketAddress } from '../../core/address.ts'
import type { OriginalDestinationSupport } from '../node/node-transport.ts'

/** struct sockaddr_in6, the larger one of the two. */
const SOCKADDR_BYTES = 28
const OPTION_NUMBER = 80
const OPTION_LEVEL: Readonly<Record<Family, number>> = { ipv4: 0, ipv6: 41 }

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, length: Buffer) => number

/** Gives the reader, or the reason why this machine has none: another platform, or no library that koffi can load. */
export async function loadOriginalDestination(
  platform: NodeJS.Platform,
): Promise<OriginalDestinationSupport> {
  if (platform !== 'linux') return { isAvailable: false, reason: `SO_ORIGINAL_DST: not on ${platform}` }
  try {
    const { default: koffi } = await import('koffi')
    // The symbols of the running process: the C library that Node.js itself uses, glibc or musl.
    const library = koffi.load(null)
    const getsockopt: unknown = library.func('int getsockopt(int, int, int, uint8_t *, uint8_t *)')
    if (typeof getsockopt !== 'function')
      return { isAvailable: false, reason: 'SO_ORIGINAL_DST: koffi gave no function' }
    const call = getsockopt as GetSockOpt
    return { isAvailable: true, read: (socket, local) => readOriginalDestination(call, socket, local) }
  } catch (reason) {
    return { isAvailable: false, reason: `SO_ORIGINAL_DST: koffi cannot be loaded: ${errorMessage(reason)}` }
  }
}

/** The original destination, or `undefined` for a connection that was not redirected (ENOENT, ENOPROTOOPT). */
function readOriginalDestination(
  getsockopt: GetSockOpt,
  socket: Socket,
  local: SocketAddress,
): SocketAddress | undefined {
  const fd = descriptorOf(socket)
  if (fd === undefined) return undefined
  const address = Buffer.alloc(SOCKADDR_BYTES)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(SOCKADDR_BYTES)
  const { family } = local.ip
  if (getsockopt(fd, OPTION_LEVEL[family], OPTION_NUMBER, address, length) !== 0) return undefined
  const bytes = family === 'ipv4' ? address.subarray(4, 8) : address.subarray(8, 24)
  return {
    ip: ipFromBytes(bytes, family === 'ipv6' ? local.ip.zone : undefined),
    port: address.readUInt16BE(2),
  }
}

/** The descriptor of a socket. node:net has no public way to ask for it (nodejs/node#49418). */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined
  return typeof fd === 'number' && fd >= 0 ? fd : undefined
}
