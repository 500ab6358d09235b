/**
 * The composition root of a worker thread: its system calls, its event loop, and the worker core on top of them. The
 * thread waits in epoll; messages come through a port, announced by an eventfd.
 */
import { systemClock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import { LinuxTransport } from '../../proxy/linux/linux-transport.ts'
import { Reactor } from '../../proxy/linux/reactor.ts'
import { SourcePorts } from '../../proxy/linux/source-ports.ts'
import { loadSyscalls } from '../../proxy/linux/syscalls.ts'
import { WorkerCore } from '../../proxy/workers/worker-core.ts'
import { AccessLogPrinter } from '../access-log/access-log-printer.ts'
import { combineObservers } from '../access-log/connection-observers.ts'
import { RecordBatcher } from '../access-log/record-batcher.ts'
import { TrafficCounter } from '../metrics/traffic-counter.ts'
import { runReactorLoop } from './reactor-loop.ts'

import type { ConnectionObserver } from '../../proxy/connection-record.ts'
import type { TransportCapabilities } from '../../proxy/transport.ts'
import type { FromWorker, ToWorker, WorkerInit } from '../../proxy/workers/messages.ts'
import type { AccessLogOptions } from '../access-log/access-log-printer.ts'
import type { NativeThreadData } from './native-thread.ts'

/** What a thread is started with. */
export interface WorkerThreadData extends NativeThreadData {
  readonly init: WorkerInit
  /** Whose descriptor is whose, see DescriptorTable. */
  readonly descriptors: SharedArrayBuffer
  /** As the main thread has probed them. */
  readonly capabilities: TransportCapabilities
  readonly accessLog: AccessLogOptions
}

/** Runs until the thread is told to stop; what a turn throws ends the thread. `moreObservers` are told of connections. */
export async function runWorkerThread(
  data: WorkerThreadData,
  moreObservers: readonly ConnectionObserver[] = [],
): Promise<void> {
  const { init, port, capabilities, accessLog } = data
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
    sourcePorts: new SourcePorts({ random: systemRandom }, init),
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
  core.start()
  runReactorLoop<ToWorker>({ syscalls, reactor }, data, {
    receive: (message) => {
      core.receive(message)
    },
    isStopped: () => isStopped,
    turned: (seconds, busySeconds) => {
      core.stats.ran(seconds, busySeconds)
    },
    ended: () => {
      transport.close()
      reactor.close()
    },
  })
}
