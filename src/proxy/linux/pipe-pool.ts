/**
 * Pipes for splice. One is held only while bytes are in it or on their way, so their number is that of the transfers
 * that are stuck, not of the connections. The first ones are large for speed; beyond them they are small, and beyond
 * those there are none and the caller copies: a thousand slow readers must not pin a gigabyte of kernel memory.
 *
 * pipe(7): https://man7.org/linux/man-pages/man7/pipe.7.html
 */
import { F_SETPIPE_SZ, SOCK_CLOEXEC, SOCK_NONBLOCK } from './constants.ts'
import { errorCodeOfErrno } from './syscalls.ts'

import type { ErrorCode } from '../../core/errors.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { NativeMemory } from './native-memory.ts'
import type { Syscalls } from './syscalls.ts'

export interface Pipe {
  readonly readEnd: number
  readonly writeEnd: number
  readonly capacityBytes: number
}

/** Capacity of the first {@link MAX_LARGE} pipes. */
const LARGE_BYTES = 1_048_576
/** What the kernel gives by itself. */
const SMALL_BYTES = 65_536
const MAX_LARGE = 32
const MAX_PIPES = 512
const MAX_SPARE = 32

export class PipePool {
  readonly #syscalls: Syscalls
  readonly #descriptors: DescriptorTable
  readonly #failed: (code: ErrorCode) => void
  readonly #ends: NativeMemory
  readonly #spareLarge: Pipe[] = []
  readonly #spareSmall: Pipe[] = []
  #largeCount = 0
  #count = 0

  /** @param deps.failed told each time the kernel gives no pipe, which costs speed and nothing else */
  constructor(deps: {
    readonly syscalls: Syscalls
    readonly descriptors: DescriptorTable
    readonly failed: (code: ErrorCode) => void
  }) {
    this.#syscalls = deps.syscalls
    this.#descriptors = deps.descriptors
    this.#failed = deps.failed
    this.#ends = deps.syscalls.allocate(8)
  }

  /** An empty pipe, or `undefined` when there are enough or the kernel gives none. */
  take(): Pipe | undefined {
    return this.#spareLarge.pop() ?? this.#spareSmall.pop() ?? this.#open()
  }

  /** Gives a pipe back; one with bytes in it is closed. */
  release(pipe: Pipe, bytesInside: number): void {
    const isLarge = pipe.capacityBytes === LARGE_BYTES
    const spare = isLarge ? this.#spareLarge : this.#spareSmall
    if (bytesInside === 0 && spare.length < MAX_SPARE) {
      spare.push(pipe)
      return
    }
    this.#count--
    if (isLarge) this.#largeCount--
    this.#close(pipe)
  }

  /** Closes the pipes that are spare. */
  close(): void {
    for (const pipe of [...this.#spareLarge, ...this.#spareSmall]) this.#close(pipe)
    this.#spareLarge.length = this.#spareSmall.length = 0
  }

  #open(): Pipe | undefined {
    if (this.#count >= MAX_PIPES) return undefined
    if (this.#syscalls.pipe2(this.#ends.address, SOCK_NONBLOCK | SOCK_CLOEXEC) !== 0) {
      this.#failed(errorCodeOfErrno(this.#syscalls.errno()))
      return undefined
    }
    const readEnd = this.#descriptors.opened(this.#ends.bytes.readInt32LE(0))
    const writeEnd = this.#descriptors.opened(this.#ends.bytes.readInt32LE(4))
    // Beyond pipe-user-pages-soft the kernel refuses to enlarge it for who has no CAP_SYS_RESOURCE.
    const isLarge =
      this.#largeCount < MAX_LARGE && this.#syscalls.fcntl(writeEnd, F_SETPIPE_SZ, LARGE_BYTES) > 0
    this.#count++
    if (isLarge) this.#largeCount++
    return { readEnd, writeEnd, capacityBytes: isLarge ? LARGE_BYTES : SMALL_BYTES }
  }

  #close({ readEnd, writeEnd }: Pipe): void {
    this.#descriptors.close(readEnd)
    this.#descriptors.close(writeEnd)
  }
}
