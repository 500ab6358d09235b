/**
 * The event loop of one thread: waits for descriptors in epoll, runs timers, and calls whoever watches. It is also the
 * clock of everything that runs in it, because Node's own timers do not fire while it waits.
 *
 * epoll(7): https://man7.org/linux/man-pages/man7/epoll.7.html
 */
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  SOCK_CLOEXEC,
} from './constants.ts'
import { EINTR, errnoName } from './syscalls.ts'
import { TimerLists } from './timer-lists.ts'

import type { Clock, Timer } from '../../core/clock.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { NativeMemory } from './native-memory.ts'
import type { Syscalls } from './syscalls.ts'

/** Somebody who waits for a descriptor. */
export interface ReadyHandler {
  /** @param events EPOLL* flags; everything that has become so since the last call */
  onReady(events: number): void
}

/** Every change of a connected socket, told once (edge-triggered): whoever watches reads and writes until EAGAIN. */
export const SOCKET_EVENTS = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET

const MAX_EVENTS = 512
/** struct epoll_event is packed on x64 and nowhere else. */
const EVENT_WORDS = process.arch === 'x64' ? 3 : 4
const DATA_WORD = process.arch === 'x64' ? 1 : 2

export class Reactor implements Clock {
  /** When the current turn began, on the scale of `nowMs`. For what need not be more exact. */
  turnMs: number
  readonly #syscalls: Syscalls
  readonly #descriptors: DescriptorTable
  readonly #clock: Clock
  readonly #epoll: number
  readonly #timers = new TimerLists()
  readonly #handlers: (ReadyHandler | undefined)[] = []
  /** Tells a descriptor from the one that had its number before, for events that were on their way. */
  readonly #generations: number[] = []
  readonly #event: NativeMemory
  readonly #eventWords: Int32Array
  readonly #events: NativeMemory
  readonly #eventsWords: Int32Array
  #deferred: (() => void)[] = []

  /**
   * @param deps.clock where time comes from; its timers are not used
   * @throws {Error} when the kernel gives no epoll descriptor
   */
  constructor(deps: {
    readonly syscalls: Syscalls
    readonly descriptors: DescriptorTable
    readonly clock: Clock
  }) {
    const { syscalls, descriptors, clock } = deps
    this.#syscalls = syscalls
    this.#descriptors = descriptors
    this.#clock = clock
    this.turnMs = clock.nowMs()
    this.#epoll = descriptors.opened(syscalls.epoll_create1(SOCK_CLOEXEC))
    if (this.#epoll < 0) throw new Error(`epoll_create1: ${errnoName(syscalls.errno())}`)
    this.#event = syscalls.allocate(EVENT_WORDS * 4)
    this.#eventWords = wordsOf(this.#event)
    this.#events = syscalls.allocate(EVENT_WORDS * 4 * MAX_EVENTS)
    this.#eventsWords = wordsOf(this.#events)
  }

  nowMs(): number {
    return this.#clock.nowMs()
  }

  wallTimeMs(): number {
    return this.#clock.wallTimeMs()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return this.#timers.add(this.nowMs(), delayMs, callback)
  }

  /** Calls `callback` at the end of this turn. */
  defer(callback: () => void): void {
    this.#deferred.push(callback)
  }

  /**
   * Watches a descriptor until `unwatch`. False when the kernel has no memory for it.
   *
   * @param events EPOLL* flags
   */
  watch(fd: number, handler: ReadyHandler, events: number): boolean {
    const generation = ((this.#generations[fd] ?? 0) + 1) | 0
    this.#generations[fd] = generation
    this.#handlers[fd] = handler
    return this.#control(EPOLL_CTL_ADD, fd, events)
  }

  /** Gives a watched descriptor to somebody else; events that nobody has been told of yet go there. */
  handOver(fd: number, handler: ReadyHandler): void {
    this.#handlers[fd] = handler
  }

  /** Stops watching a descriptor that stays open. */
  unwatch(fd: number): void {
    this.#forget(fd)
    this.#control(EPOLL_CTL_DEL, fd, 0)
  }

  /** Closes a watched descriptor, which ends the watching too. */
  closeWatched(fd: number): void {
    this.#forget(fd)
    this.#descriptors.close(fd)
  }

  /** Waits for something to happen, at most `maxWaitMs`, and sees to everything that has. */
  turn(maxWaitMs: number): void {
    const count = this.#syscalls.epoll_wait(
      this.#epoll,
      this.#events.address,
      MAX_EVENTS,
      this.#waitMs(maxWaitMs),
    )
    this.turnMs = this.nowMs()
    if (count < 0) {
      const errno = this.#syscalls.errno()
      if (errno !== EINTR) throw new Error(`epoll_wait: ${errnoName(errno)}`)
    }
    const words = this.#eventsWords
    for (let index = 0; index < count; index++) {
      const word = index * EVENT_WORDS
      const fd = words[word + DATA_WORD] ?? -1
      if (this.#generations[fd] === words[word + DATA_WORD + 1]) this.#handlers[fd]?.onReady(words[word] ?? 0)
    }
    this.#timers.run(this.turnMs)
    this.#runDeferred()
  }

  /** Closes the epoll descriptor. What was watched stays open. */
  close(): void {
    this.#descriptors.close(this.#epoll)
  }

  #waitMs(maxWaitMs: number): number {
    if (this.#deferred.length > 0) return 0
    const untilDueMs = this.#timers.nextDueMs - this.nowMs()
    return Math.max(0, Math.min(maxWaitMs, Math.ceil(untilDueMs)))
  }

  #runDeferred(): void {
    if (this.#deferred.length === 0) return
    const callbacks = this.#deferred
    this.#deferred = []
    for (const callback of callbacks) callback()
  }

  #forget(fd: number): void {
    this.#handlers[fd] = undefined
    this.#generations[fd] = ((this.#generations[fd] ?? 0) + 1) | 0
  }

  #control(operation: number, fd: number, events: number): boolean {
    const words = this.#eventWords
    words[0] = events | 0
    words[DATA_WORD] = fd
    words[DATA_WORD + 1] = this.#generations[fd] ?? 0
    return this.#syscalls.epoll_ctl(this.#epoll, operation, fd, this.#event.address) === 0
  }
}

function wordsOf({ bytes }: NativeMemory): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}
