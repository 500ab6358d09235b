/** Starts a thread that waits in epoll: messages go through a port, and an eventfd wakes it for them. */
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads'

import { WakeEvent } from '../../proxy/linux/wake-event.ts'

import type { MessagePort } from 'node:worker_threads'
import type { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import type { Syscalls } from '../../proxy/linux/syscalls.ts'

/** What every such thread is started with. */
export interface NativeThreadData {
  readonly port: MessagePort
  /** Becomes readable when there are messages. The main thread owns it. */
  readonly wakeFd: number
}

export interface NativeThreadOptions {
  /** The module that it runs. */
  readonly url: URL
  readonly workerData: (thread: NativeThreadData) => object
  readonly maxYoungGenerationMib?: number
}

/** A running thread, from the main one. */
export interface NativeThread<ToThread> {
  /** Sends a message and wakes the thread. Does nothing when it has ended. */
  post(message: ToThread): void
  /** Ends it at once, whatever it does; `exited` follows. */
  terminate(): void
}

export interface NativeThreadEvents<FromThread> {
  received(message: FromThread): void
  /** The thread runs no more; nothing is received after that. `reason` is what it threw, if it did. */
  exited(reason: unknown): void
}

/** @throws {Error} when the kernel gives no thread, or no descriptor to wake it; nothing of it is left then */
export function startNativeThread<ToThread, FromThread>(
  deps: { readonly syscalls: Syscalls; readonly descriptors: DescriptorTable },
  { url, workerData, maxYoungGenerationMib }: NativeThreadOptions,
  events: NativeThreadEvents<FromThread>,
): NativeThread<ToThread> {
  const wake = new WakeEvent(deps)
  const { port1: port, port2: threadPort } = new MessageChannel()
  let thread: Worker
  try {
    thread = new Worker(url, {
      workerData: workerData({ port: threadPort, wakeFd: wake.fd }),
      transferList: [threadPort],
      ...(maxYoungGenerationMib !== undefined && {
        resourceLimits: { maxYoungGenerationSizeMb: maxYoungGenerationMib },
      }),
    })
  } catch (error) {
    port.close()
    wake.close()
    throw error
  }
  let reason: unknown
  let hasExited = false
  port.on('message', (message: FromThread) => {
    if (!hasExited) events.received(message)
  })
  thread.on('error', (error) => {
    reason = error
  })
  thread.on('exit', () => {
    // What it said last is still under way: batches of records above all.
    for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port))
      events.received((last as { readonly message: FromThread }).message)
    hasExited = true
    port.close()
    wake.close()
    events.exited(reason)
  })
  return {
    post: (message) => {
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
