/**
 * Which sockets listen in the network namespace that the calling thread is in, asked as `ss -l` does. /proc/net/tcp says it
 * too, but the kernel walks through the connections of the whole machine to end that list: some milliseconds each time.
 *
 * sock_diag(7), netlink(7)
 */
import { FAMILIES } from '../../core/family.ts'
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  NETLINK_SOCK_DIAG,
  SEND_FLAGS,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
} from './constants.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { Family } from '../../core/family.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { Syscalls } from './syscalls.ts'

export interface DiagnosedListener {
  readonly family: Family
  readonly port: number
  readonly inode: number
}

export interface ListenerDiagDeps {
  readonly syscalls: Syscalls
  readonly descriptors: DescriptorTable
}

const FAMILY_NUMBERS: Readonly<Record<Family, number>> = { ipv4: AF_INET, ipv6: AF_INET6 }
const IPPROTO_TCP = 6
/** 1 << TCP_LISTEN: with no other state the kernel looks through its table of listeners only. */
const LISTENING = 1 << 10
/** SOCK_DIAG_BY_FAMILY, also of what is answered. */
const BY_FAMILY = 20
/** NLM_F_REQUEST | NLM_F_DUMP */
const DUMP_FLAGS = 0x301
/** struct nlmsghdr, with the place of its type; the length is at 0. */
const HEADER = { bytes: 16, type: 4, flags: 6 } as const
/** struct inet_diag_req_v2 behind the header. */
const REQUEST = { bytes: 72, family: 16, protocol: 17, states: 20 } as const
/** struct inet_diag_msg, from where a message begins. */
const SOCKET = { port: 20, inode: 84, bytes: 88 } as const
/** NLMSG_GOODSIZE at the most: the kernel puts no more into an answer than that, or than the last read could take. */
const BUFFER_BYTES = 8_192

/** Those of TCP, of both families; none where the kernel does not tell (CONFIG_INET_DIAG). */
export function diagnosedListeners({
  syscalls,
  descriptors,
}: ListenerDiagDeps): readonly DiagnosedListener[] {
  const fd = descriptors.opened(
    syscalls.socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_SOCK_DIAG),
  )
  if (fd < 0) return []
  try {
    const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
    return FAMILIES.flatMap((family) => ask({ syscalls, fd, buffer }, family))
  } finally {
    descriptors.close(fd)
  }
}

/** The inodes of those on the port of an address, in its family. */
export function inodesOn(
  sockets: readonly DiagnosedListener[],
  { ip, port }: SocketAddress,
): readonly number[] {
  return sockets
    .filter((socket) => socket.family === ip.family && socket.port === port)
    .map(({ inode }) => inode)
}

function ask(
  { syscalls, fd, buffer }: { readonly syscalls: Syscalls; readonly fd: number; readonly buffer: Buffer },
  family: Family,
): readonly DiagnosedListener[] {
  const request = requestFor(family)
  if (syscalls.send(fd, syscalls.addressOf(request), request.length, SEND_FLAGS) < 0) return []
  const found: DiagnosedListener[] = []
  const address = syscalls.addressOf(buffer)
  // The kernel has the answer ready: nothing is waited for.
  for (;;) {
    const length = syscalls.recv(fd, address, BUFFER_BYTES, 0)
    if (length <= 0 || !readSockets(buffer.subarray(0, length), family, found)) return found
  }
}

function requestFor(family: Family): Buffer {
  const request = Buffer.allocUnsafeSlow(REQUEST.bytes).fill(0)
  request.writeUInt32LE(REQUEST.bytes)
  request.writeUInt16LE(BY_FAMILY, HEADER.type)
  request.writeUInt16LE(DUMP_FLAGS, HEADER.flags)
  request.writeUInt8(FAMILY_NUMBERS[family], REQUEST.family)
  request.writeUInt8(IPPROTO_TCP, REQUEST.protocol)
  request.writeUInt32LE(LISTENING, REQUEST.states)
  return request
}

/** Adds what an answer has; false: it was the last one, or an error. */
function readSockets(answer: Buffer, family: Family, found: DiagnosedListener[]): boolean {
  for (let at = 0; at + HEADER.bytes <= answer.length;) {
    const length = answer.readUInt32LE(at)
    if (answer.readUInt16LE(at + HEADER.type) !== BY_FAMILY || length < SOCKET.bytes) return false
    found.push({
      family,
      port: answer.readUInt16BE(at + SOCKET.port),
      inode: answer.readUInt32LE(at + SOCKET.inode),
    })
    // Messages are aligned to 4 bytes.
    at += (length + 3) & ~3
  }
  return true
}
