/**
 * What Linux does for the worker pool: listening sockets that share a port, threads that are woken through an eventfd,
 * and a table that tells whose descriptor is whose, so that those of a dead thread can be closed.
 */
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads'

import { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import { openListeningSocket } from '../../proxy/linux/listening-socket.ts'
import { SocketOptions } from '../../proxy/linux/socket-options.ts'
import { WakeEvent } from '../../proxy/linux/wake-event.ts'
import { MAX_WORKERS } from '../settings/worker-count.ts'

import type { ListenerAddress } from '../../mesh/listener.ts'
import type { ListeningSocketOptions, OpenedListeningSocket } from '../../proxy/linux/listening-socket.ts'
import type { Syscalls } from '../../proxy/linux/syscalls.ts'
import type { ListenOptions, TransportCapabilities } from '../../proxy/transport.ts'
import type { FromWorker, ToWorker, WorkerInit } from '../../proxy/workers/messages.ts'
import type { WorkerPlatform } from '../../proxy/workers/pooled-proxy.ts'
import type { OpenedSockets } from '../../proxy/workers/shared-sockets.ts'
import type { WorkerThread, WorkerThreadEvents } from '../../proxy/workers/worker-pool.ts'
import type { AccessLogOptions } from '../access-log/access-log-printer.ts'
import type { WorkerThreadData } from './worker-thread.ts'

/** The owner of what the main thread opens. */
const MAIN_OWNER = MAX_WORKERS
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
  /** The module that a thread runs, see worker.ts. */
  readonly threadUrl: URL
}

export class LinuxPlatform implements WorkerPlatform {
  readonly engine: WorkerPlatform['engine']
  readonly sockets: WorkerPlatform['sockets']
  readonly #syscalls: Syscalls
  readonly #threadUrl: URL
  readonly #accessLog: AccessLogOptions
  readonly #table: SharedArrayBuffer
  readonly #descriptors: DescriptorTable
  readonly #options: SocketOptions

  constructor(deps: LinuxPlatformDeps, { descriptorLimit, accessLog, threadUrl }: LinuxPlatformOptions) {
    this.engine = { engine: 'linux', capabilities: deps.capabilities }
    this.#syscalls = deps.syscalls
    this.#threadUrl = threadUrl
    this.#accessLog = accessLog
    this.#table = new SharedArrayBuffer(Math.min(descriptorLimit, MAX_TABLE_BYTES))
    this.#descriptors = new DescriptorTable(deps, { memory: this.#table, owner: MAIN_OWNER })
    this.#options = new SocketOptions(deps)
    this.sockets = {
      open: (address, options, count) => this.#open(address, options, count),
      close: (fd) => {
        this.#descriptors.close(fd)
      },
    }
  }

  spawn(init: WorkerInit, events: WorkerThreadEvents): WorkerThread {
    const wake = new WakeEvent({ syscalls: this.#syscalls, descriptors: this.#descriptors })
    const { port1: port, port2: workerPort } = new MessageChannel()
    const workerData: WorkerThreadData = {
      init,
      port: workerPort,
      wakeFd: wake.fd,
      descriptors: this.#table,
      capabilities: this.engine.capabilities,
      accessLog: this.#accessLog,
    }
    const thread = new Worker(this.#threadUrl, {
      workerData,
      transferList: [workerPort],
      resourceLimits: { maxYoungGenerationSizeMb: MAX_YOUNG_GENERATION_MIB },
    })
    let reason: unknown
    let hasExited = false
    port.on('message', (message: FromWorker) => {
      if (!hasExited) events.received(message)
    })
    thread.on('error', (error) => {
      reason = error
    })
    thread.on('exit', () => {
      // What it said last is still under way: batches of records above all.
      for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port))
        events.received((last as { readonly message: FromWorker }).message)
      hasExited = true
      port.close()
      wake.close()
      events.exited(reason)
    })
    return {
      post: (message: ToWorker) => {
        if (hasExited) return
        port.postMessage(message)
        wake.signal()
      },
      terminate: () => {
        void thread.terminate()
        wake.signal()
      },
    }
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
