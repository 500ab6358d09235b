/**
 * The composition root of a worker thread: its system calls, its event loop, and the worker core on top of them. The
 * thread waits in epoll; messages come through a port, announced by an eventfd.
 */
import { performance } from 'node:perf_hooks'
import { receiveMessageOnPort } from 'node:worker_threads'

import { systemClock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import { LinuxTransport } from '../../proxy/linux/linux-transport.ts'
import { Reactor } from '../../proxy/linux/reactor.ts'
import { loadSyscalls } from '../../proxy/linux/syscalls.ts'
import { onWake } from '../../proxy/linux/wake-event.ts'
import { WorkerCore } from '../../proxy/workers/worker-core.ts'
import { AccessLogPrinter } from '../access-log/access-log-printer.ts'
import { combineObservers } from '../access-log/connection-observers.ts'
import { RecordBatcher } from '../access-log/record-batcher.ts'
import { TrafficCounter } from '../metrics/traffic-counter.ts'

import type { MessagePort } from 'node:worker_threads'
import type { ConnectionObserver } from '../../proxy/connection-record.ts'
import type { TransportCapabilities } from '../../proxy/transport.ts'
import type { FromWorker, ToWorker, WorkerInit } from '../../proxy/workers/messages.ts'
import type { AccessLogOptions } from '../access-log/access-log-printer.ts'

/** What a thread is started with. */
export interface WorkerThreadData {
  readonly init: WorkerInit
  readonly port: MessagePort
  /** Becomes readable when there are messages. The main thread owns it. */
  readonly wakeFd: number
  /** Whose descriptor is whose, see DescriptorTable. */
  readonly descriptors: SharedArrayBuffer
  /** As the main thread has probed them. */
  readonly capabilities: TransportCapabilities
  readonly accessLog: AccessLogOptions
}

/** The longest wait for events. Whoever has something to say to the thread wakes it, so it bounds nothing but surprises. */
const MAX_WAIT_MS = 500
/** How long the thread goes on in its own loop before it gives Node's loop a turn. */
const YIELD_INTERVAL_MS = 50

/** Runs until the thread is told to stop; what a turn throws ends the thread. `moreObservers` are told of connections. */
export async function runWorkerThread(
  data: WorkerThreadData,
  moreObservers: readonly ConnectionObserver[] = [],
): Promise<void> {
  const { init, port, wakeFd, capabilities, accessLog } = data
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(`the Linux engine cannot run in this thread: ${loaded.reason}`)
  const { syscalls } = loaded
  const descriptors = new DescriptorTable({ syscalls }, { memory: data.descriptors, owner: init.worker })
  const reactor = new Reactor({ syscalls, descriptors, clock: systemClock })
  const transport = new LinuxTransport({
    syscalls,
    reactor,
    descriptors,
    capabilities,
    pipeFailed: (code) => {
      core.stats.spliceFellBack(code)
    },
  })
  const post = (message: FromWorker): void => {
    port.postMessage(message)
  }
  const records = new RecordBatcher({
    clock: reactor,
    traffic: new TrafficCounter({ clock: reactor }),
    printer: new AccessLogPrinter({ clock: reactor }, accessLog),
    foldStats: () => {
      core.foldStats()
    },
    send: post,
  })
  let isStopped = false
  const core: WorkerCore = new WorkerCore(
    {
      transport,
      clock: reactor,
      random: systemRandom,
      observer: combineObservers(records, ...moreObservers),
      records,
      post,
      defer: (callback) => {
        reactor.defer(callback)
      },
      stop: () => {
        isStopped = true
      },
    },
    init,
  )
  const takeMessages = (): void => {
    for (let received = receiveMessageOnPort(port); received !== undefined;) {
      const { message } = received as { readonly message: ToWorker }
      core.receive(message)
      received = receiveMessageOnPort(port)
    }
  }
  const runUntilYield = (): void => {
    const startedMs = performance.now()
    for (let beganMs = startedMs; !isStopped && beganMs - startedMs < YIELD_INTERVAL_MS;) {
      reactor.turn(MAX_WAIT_MS)
      const endedMs = performance.now()
      core.stats.ran((endedMs - beganMs) / 1_000, (endedMs - reactor.turnMs) / 1_000)
      beganMs = endedMs
    }
    if (!isStopped) {
      setImmediate(runUntilYield)
      return
    }
    transport.close()
    reactor.close()
    port.close()
  }
  onWake({ syscalls, reactor }, wakeFd, takeMessages)
  core.start()
  runUntilYield()
}
