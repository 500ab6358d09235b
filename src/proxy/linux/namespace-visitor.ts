/**
 * Makes sockets in the network namespaces of pods. A thread is in one namespace at a time and a socket stays where it was
 * made, so the thread goes there, makes it, and is back before anything else runs in it. Other threads are not moved.
 *
 * setns(2): https://man7.org/linux/man-pages/man2/setns.2.html
 */
import { openSync } from 'node:fs'

import { CLONE_NEWNET } from './constants.ts'
import { errnoName } from './syscalls.ts'

import type { NetworkNamespace } from '../transport.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { Syscalls } from './syscalls.ts'

const CLOSED = -1

export class NamespaceVisitor {
  readonly #syscalls: Syscalls
  readonly #descriptors: DescriptorTable
  /** The thread's own namespace, to come back to; opened when it is needed first. */
  #home = CLOSED

  constructor(deps: { readonly syscalls: Syscalls; readonly descriptors: DescriptorTable }) {
    this.#syscalls = deps.syscalls
    this.#descriptors = deps.descriptors
  }

  /** Why the thread may not change its namespace; `undefined` when it may. */
  whyNot(): string | undefined {
    if (!this.#hasHome()) return 'there is no /proc/thread-self/ns/net'
    return this.#syscalls.setns(this.#home, CLONE_NEWNET) === 0
      ? undefined
      : errnoName(this.#syscalls.errno())
  }

  /** As socket(2), in a namespace; -1 with its errno when the thread cannot go there or the socket cannot be made. */
  socket({ fd }: Pick<NetworkNamespace, 'fd'>, domain: number, type: number): number {
    if (!this.#enter(fd)) return -1
    const socket = this.#syscalls.socket(domain, type, 0)
    this.#leave()
    return socket
  }

  /**
   * Runs what needs more than one call there, and must not wait; `undefined` with its errno when the thread cannot go there.
   */
  visit<Value>({ fd }: Pick<NetworkNamespace, 'fd'>, work: () => Value): Value | undefined {
    if (!this.#enter(fd)) return undefined
    try {
      return work()
    } finally {
      this.#leave()
    }
  }

  /** Closes the way home. Idempotent. */
  close(): void {
    if (this.#home !== CLOSED) this.#descriptors.close(this.#home)
    this.#home = CLOSED
  }

  /** Never without a way back. Where that is missing the call fails as for a bad descriptor, and it is tried anew next time. */
  #enter(fd: number): boolean {
    return this.#syscalls.setns(this.#hasHome() ? fd : CLOSED, CLONE_NEWNET) === 0
  }

  /** @throws {Error} a thread that is lost in a pod must do nothing more: whoever runs it ends it */
  #leave(): void {
    if (this.#syscalls.setns(this.#home, CLONE_NEWNET) === 0) return
    throw new Error(`the thread cannot leave a pod's network namespace: ${errnoName(this.#syscalls.errno())}`)
  }

  #hasHome(): boolean {
    if (this.#home !== CLOSED) return true
    try {
      this.#home = this.#descriptors.opened(openSync('/proc/thread-self/ns/net', 'r'))
    } catch {
      // No descriptor is left, or no /proc: whoever asks learns it from the call that fails.
    }
    return this.#home !== CLOSED
  }
}
