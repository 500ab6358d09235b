/**
 * What Linux does for the worker pool: listening sockets that share a port, threads that are woken through an eventfd,
 * and a table that tells whose descriptor is whose, so that those of a dead thread can be closed.
 */
import { SHUT_RD } from '../../proxy/linux/constants.ts'
import { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import { openListeningSocket } from '../../proxy/linux/listening-socket.ts'
import { SocketOptions } from '../../proxy/linux/socket-options.ts'
import { MAX_WORKERS } from '../settings/worker-count.ts'
import { LinuxPods } from './linux-pods.ts'
import { startNativeThread } from './native-thread.ts'

import type { Logger } from '../../core/logger.ts'
import type { ListenerAddress } from '../../mesh/listener.ts'
import type { ListeningSocketOptions, OpenedListeningSocket } from '../../proxy/linux/listening-socket.ts'
import type { Syscalls } from '../../proxy/linux/syscalls.ts'
import type { ListenOptions, TransportCapabilities } from '../../proxy/transport.ts'
import type { FromWorker, ToWorker, WorkerInit } from '../../proxy/workers/messages.ts'
import type { WorkerPlatform } from '../../proxy/workers/pooled-proxy.ts'
import type { OpenedSockets } from '../../proxy/workers/shared-sockets.ts'
import type { WorkerThread, WorkerThreadEvents } from '../../proxy/workers/worker-pool.ts'
import type { AccessLogOptions } from '../access-log/access-log-printer.ts'
import type { NativeThreadData } from './native-thread.ts'
import type { WorkerThreadData } from './worker-thread.ts'

/** The owners of what the main thread opens, and the thread for pods. */
const MAIN_OWNER = MAX_WORKERS
const POD_THREAD_OWNER = MAX_WORKERS + 1
/**
 * V8 lets the space of new objects grow to 48 MiB in steps, each when many of them live on: connections that stay. That
 * memory would be all garbage afterwards and is never given back, and the larger the space, the longer its collections.
 */
const MAX_YOUNG_GENERATION_MIB = 3
/** Descriptors beyond this are not found again after a death. */
const MAX_TABLE_BYTES = 1_048_576

export interface LinuxPlatformDeps {
  readonly syscalls: Syscalls
  readonly capabilities: TransportCapabilities
}

export interface LinuxPlatformOptions {
  readonly descriptorLimit: number
  readonly accessLog: AccessLogOptions
  /** The module that a thread runs, see worker-thread-entry.ts. */
  readonly threadUrl: URL
}

export class LinuxPlatform implements WorkerPlatform {
  readonly sockets: WorkerPlatform['sockets']
  podSockets?: LinuxPods
  readonly #syscalls: Syscalls
  readonly #capabilities: TransportCapabilities
  readonly #threadUrl: URL
  readonly #accessLog: AccessLogOptions
  readonly #table: SharedArrayBuffer
  readonly #descriptors: DescriptorTable
  readonly #options: SocketOptions

  constructor(deps: LinuxPlatformDeps, { descriptorLimit, accessLog, threadUrl }: LinuxPlatformOptions) {
    this.#syscalls = deps.syscalls
    this.#capabilities = deps.capabilities
    this.#threadUrl = threadUrl
    this.#accessLog = accessLog
    this.#table = new SharedArrayBuffer(Math.min(descriptorLimit, MAX_TABLE_BYTES))
    this.#descriptors = new DescriptorTable(deps, { memory: this.#table, owner: MAIN_OWNER })
    this.#options = new SocketOptions(deps)
    this.sockets = {
      open: (address, options, count) => this.#open(address, options, count),
      stopListening: (fd) => {
        this.#syscalls.shutdown(fd, SHUT_RD)
      },
      close: (fd) => {
        this.#descriptors.close(fd)
      },
    }
  }

  /** What opens sockets in the namespaces of pods, for `podSockets`; the caller ends it. */
  servePods(deps: { readonly logger: Logger }, options: { readonly threadUrl: URL }): LinuxPods {
    this.podSockets = new LinuxPods(
      { ...deps, syscalls: this.#syscalls, descriptors: this.#descriptors },
      { ...options, table: this.#table, owner: POD_THREAD_OWNER },
    )
    return this.podSockets
  }

  spawn(init: WorkerInit, events: WorkerThreadEvents): WorkerThread {
    const workerData = (thread: NativeThreadData): WorkerThreadData => ({
      ...thread,
      init,
      descriptors: this.#table,
      capabilities: this.#capabilities,
      accessLog: this.#accessLog,
    })
    return startNativeThread<ToWorker, FromWorker>(
      { syscalls: this.#syscalls, descriptors: this.#descriptors },
      { url: this.#threadUrl, workerData, maxYoungGenerationMib: MAX_YOUNG_GENERATION_MIB },
      events,
    )
  }

  reclaim(worker: number): number {
    return this.#descriptors.closeOwnedBy(worker, (fd) => {
      this.#options.setResetOnClose(fd)
    })
  }

  #open(address: ListenerAddress, options: ListenOptions, count: number): OpenedSockets {
    if (count > 1 && address.address.port !== 0) {
      // Sockets that share a port would share it with those of another listener or process too, unnoticed.
      const alone = this.#openOne(address, { ...options, reusePort: false })
      if (!alone.ok) return alone
      this.#descriptors.close(alone.fd)
    }
    const first = this.#openOne(address, { ...options, reusePort: count > 1 })
    if (!first.ok) return first
    const fds = [first.fd]
    while (fds.length < count) {
      const next = this.#openOne({ ...address, address: first.address }, { ...options, reusePort: true })
      if (!next.ok) {
        for (const fd of fds) this.#descriptors.close(fd)
        return next
      }
      fds.push(next.fd)
    }
    return { ok: true, address: first.address, fds }
  }

  #openOne(address: ListenerAddress, options: ListeningSocketOptions): OpenedListeningSocket {
    return openListeningSocket({ syscalls: this.#syscalls, descriptors: this.#descriptors }, address, options)
  }
}
