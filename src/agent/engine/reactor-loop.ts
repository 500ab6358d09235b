/** Runs the loop of a thread that waits in epoll, and gives Node's own loop its turns. */
import { performance } from 'node:perf_hooks'
import { receiveMessageOnPort } from 'node:worker_threads'

import { onWake } from '../../proxy/linux/wake-event.ts'

import type { Reactor } from '../../proxy/linux/reactor.ts'
import type { Syscalls } from '../../proxy/linux/syscalls.ts'
import type { NativeThreadData } from './native-thread.ts'

/** The longest wait for events. Whoever has something to say to the thread wakes it, so it bounds nothing but surprises. */
const MAX_WAIT_MS = 500
/** How long the thread goes on in its own loop before it gives Node's loop a turn. */
const YIELD_INTERVAL_MS = 50

export interface ReactorLoopOptions<ToThread> {
  readonly receive: (message: ToThread) => void
  readonly isStopped: () => boolean
  /** Told after each turn how long it took, and how much of that was not waiting, in seconds. */
  readonly turned?: (seconds: number, busySeconds: number) => void
  /** Called once, after the last turn. */
  readonly ended: () => void
}

/** Begins to take messages and runs until stopped; what a turn throws ends the thread. */
export function runReactorLoop<ToThread>(
  deps: { readonly syscalls: Syscalls; readonly reactor: Reactor },
  { port, wakeFd }: NativeThreadData,
  { receive, isStopped, turned, ended }: ReactorLoopOptions<ToThread>,
): void {
  const { reactor } = deps
  onWake(deps, wakeFd, () => {
    for (let received = receiveMessageOnPort(port); received !== undefined;) {
      const { message } = received as { readonly message: ToThread }
      receive(message)
      received = receiveMessageOnPort(port)
    }
  })
  const runUntilYield = (): void => {
    const startedMs = performance.now()
    for (let beganMs = startedMs; !isStopped() && beganMs - startedMs < YIELD_INTERVAL_MS;) {
      reactor.turn(MAX_WAIT_MS)
      const endedMs = performance.now()
      turned?.((endedMs - beganMs) / 1_000, (endedMs - reactor.turnMs) / 1_000)
      beganMs = endedMs
    }
    if (!isStopped()) {
      setImmediate(runUntilYield)
      return
    }
    ended()
    port.close()
  }
  runUntilYield()
}
