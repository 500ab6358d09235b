/**
 * Wakes a thread that waits in epoll: an eventfd, which any thread of the process may write to.
 *
 * eventfd(2): https://man7.org/linux/man-pages/man2/eventfd.2.html
 */
import { EPOLLIN, SOCK_CLOEXEC, SOCK_NONBLOCK } from './constants.ts'
import { errnoName } from './syscalls.ts'

import type { DescriptorTable } from './descriptor-table.ts'
import type { NativeMemory } from './native-memory.ts'
import type { Reactor, ReadyHandler } from './reactor.ts'
import type { Syscalls } from './syscalls.ts'

const COUNTER_BYTES = 8

/** The side of the thread that wakes. It owns the descriptor. */
export class WakeEvent {
  readonly fd: number
  readonly #syscalls: Syscalls
  readonly #descriptors: DescriptorTable
  readonly #one: NativeMemory

  /** @throws {Error} when the kernel gives no descriptor */
  constructor(deps: { readonly syscalls: Syscalls; readonly descriptors: DescriptorTable }) {
    this.#syscalls = deps.syscalls
    this.#descriptors = deps.descriptors
    // EFD_NONBLOCK and EFD_CLOEXEC have the numbers of the socket flags.
    this.fd = deps.descriptors.opened(deps.syscalls.eventfd(0, SOCK_NONBLOCK | SOCK_CLOEXEC))
    if (this.fd < 0) throw new Error(`eventfd: ${errnoName(deps.syscalls.errno())}`)
    this.#one = deps.syscalls.allocate(COUNTER_BYTES)
    this.#one.bytes.writeBigUInt64LE(1n)
  }

  /** Wakes the waiting thread; once for any number of calls that it has not seen yet. */
  signal(): void {
    this.#syscalls.write(this.fd, this.#one.address, COUNTER_BYTES)
  }

  close(): void {
    this.#descriptors.close(this.fd)
  }
}

/** The side of the thread that is woken: calls `callback` in the turn after a signal. */
export function onWake(
  deps: { readonly syscalls: Syscalls; readonly reactor: Reactor },
  fd: number,
  callback: () => void,
): void {
  const counter = deps.syscalls.allocate(COUNTER_BYTES)
  const handler: ReadyHandler = {
    onReady: () => {
      deps.syscalls.read(fd, counter.address, COUNTER_BYTES)
      callback()
    },
  }
  deps.reactor.watch(fd, handler, EPOLLIN)
}
