/** Sets and reads options of sockets by descriptor. socket(7), tcp(7), ip(7), ipv6(7) */
import {
  IP_FREEBIND,
  IP_TRANSPARENT,
  IPV6_FREEBIND,
  IPV6_TRANSPARENT,
  SO_ATTACH_REUSEPORT_CBPF,
  SO_DETACH_REUSEPORT_BPF,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from './constants.ts'

import type { Family } from '../../core/family.ts'
import type { SocketOption } from '../../mesh/listener.ts'
import type { Keepalive } from '../../mesh/upstream.ts'
import type { NativeMemory } from './native-memory.ts'
import type { Syscalls } from './syscalls.ts'

const INT_BYTES = 4
/** The kernel's limit of both keepalive times, in seconds. */
const MAX_KEEPALIVE_S = 32_767
const MAX_KEEPALIVE_PROBES = 127
/** BPF_RET | BPF_K */
const BPF_RETURN_CONSTANT = 0x06

/** Each method answers whether the kernel took the option; the number of a failure is in `errno`. */
export class SocketOptions {
  readonly #syscalls: Syscalls
  readonly #value: NativeMemory
  readonly #words: Int32Array
  readonly #length: NativeMemory

  constructor(deps: { readonly syscalls: Syscalls }) {
    this.#syscalls = deps.syscalls
    this.#value = deps.syscalls.allocate(2 * INT_BYTES)
    this.#words = new Int32Array(this.#value.bytes.buffer, this.#value.bytes.byteOffset, 2)
    this.#length = deps.syscalls.allocate(INT_BYTES)
  }

  setInt(fd: number, level: number, name: number, value: number): boolean {
    this.#words[0] = value
    return this.#syscalls.setsockopt(fd, level, name, this.#value.address, INT_BYTES) === 0
  }

  /** An option as a configuration has it: a number, or the bytes of a structure. */
  setRaw(fd: number, { level, name, value }: SocketOption): boolean {
    if (typeof value === 'number') return this.setInt(fd, level, name, value)
    const copy = Buffer.from(value)
    return this.#syscalls.setsockopt(fd, level, name, this.#syscalls.addressOf(copy), copy.byteLength) === 0
  }

  /** No delay of small segments, and an end to waiting for acknowledgements. Accepted sockets inherit both. */
  setTcp(fd: number, { userTimeoutMs }: Keepalive): void {
    this.setInt(fd, SOL_TCP, TCP_NODELAY, 1)
    if (userTimeoutMs !== undefined) this.setInt(fd, SOL_TCP, TCP_USER_TIMEOUT, userTimeoutMs)
  }

  /** Probes of a silent connection, where they have an idle time. Accepted sockets inherit them. */
  setKeepalive(fd: number, { idleMs, intervalMs, probes }: Keepalive): void {
    if (idleMs === undefined) return
    this.setInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    this.setInt(fd, SOL_TCP, TCP_KEEPIDLE, toSeconds(idleMs))
    if (intervalMs !== undefined) this.setInt(fd, SOL_TCP, TCP_KEEPINTVL, toSeconds(intervalMs))
    if (probes !== undefined) this.setInt(fd, SOL_TCP, TCP_KEEPCNT, Math.min(probes, MAX_KEEPALIVE_PROBES))
  }

  /** Lets the socket have an address that is not of this host; needs CAP_NET_ADMIN or CAP_NET_RAW. */
  setTransparent(fd: number, family: Family): boolean {
    if (family === 'ipv4') {
      return this.setInt(fd, SOL_IP, IP_TRANSPARENT, 1) && this.setInt(fd, SOL_IP, IP_FREEBIND, 1)
    }
    return this.setInt(fd, SOL_IPV6, IPV6_TRANSPARENT, 1) && this.setInt(fd, SOL_IPV6, IPV6_FREEBIND, 1)
  }

  /**
   * Lets the kernel choose among sockets that share an address: the one that listens there since `place` others did, if
   * there is one; else as it does without. Takes a program of classic BPF: `return place`. socket(7) SO_ATTACH_REUSEPORT_CBPF
   */
  setReusePortChoice(fd: number, place: number): boolean {
    // struct sock_filter { code: u16; jt, jf: u8; k: u32 } and struct sock_fprog { len: u16; filter: pointer }.
    const instruction = Buffer.allocUnsafeSlow(8).fill(0)
    instruction.writeUInt16LE(BPF_RETURN_CONSTANT, 0)
    instruction.writeUInt32LE(place, 4)
    const program = Buffer.allocUnsafeSlow(16).fill(0)
    program.writeUInt16LE(1, 0)
    program.writeBigUInt64LE(BigInt(this.#syscalls.addressOf(instruction)), 8)
    const value = this.#syscalls.addressOf(program)
    return this.#syscalls.setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, value, program.length) === 0
  }

  /** Leaves the choice to the kernel again, whoever has set one. False with ENOENT where nobody has. */
  clearReusePortChoice(fd: number): boolean {
    return this.setInt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
  }

  /** Makes the close of the socket a reset that drops what is unsent. */
  setResetOnClose(fd: number): void {
    this.#words[0] = 1
    this.#words[1] = 0
    this.#syscalls.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#value.address, 2 * INT_BYTES)
  }

  /** The failure that the socket has met since it was last asked; 0 for none. */
  takeError(fd: number): number {
    this.#length.bytes.writeUInt32LE(INT_BYTES)
    const result = this.#syscalls.getsockopt(
      fd,
      SOL_SOCKET,
      SO_ERROR,
      this.#value.address,
      this.#length.address,
    )
    return result === 0 ? (this.#words[0] ?? 0) : this.#syscalls.errno()
  }
}

function toSeconds(ms: number): number {
  return Math.min(Math.max(1, Math.round(ms / 1_000)), MAX_KEEPALIVE_S)
}
