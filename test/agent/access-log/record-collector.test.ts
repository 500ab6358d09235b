import t from 'tap'

import { AccessLogWriter } from '../../../src/agent/access-log/access-log.ts'
import { AccessLogPrinter } from '../../../src/agent/access-log/access-log-printer.ts'
import { RecordBatcher } from '../../../src/agent/access-log/record-batcher.ts'
import { RecordCollector } from '../../../src/agent/access-log/record-collector.ts'
import { TrafficCounter } from '../../../src/agent/metrics/traffic-counter.ts'
import { WorkloadMetrics } from '../../../src/agent/metrics/workload-metrics.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { closedConnectionRecord, connectionRecord } from '../../fixtures/connection-records.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { LogLines, RecordRequest } from '../../../src/proxy/record-batch.ts'

function bench() {
  const clock = new FakeClock()
  const gone = new Set<string>()
  const workloads = new WorkloadMetrics({ clock, hasWorkload: (uid) => !gone.has(uid) })
  const written: LogLines[] = []
  let dropped = 0
  const log = {
    writeLines: (lines: LogLines) => written.push(lines),
    countDropped: (lines: number) => (dropped += lines),
  }
  return {
    clock,
    gone,
    workloads,
    written,
    dropped: () => dropped,
    collector: new RecordCollector({ clock, workloads, log }),
  }
}

/** Whether a promise has resolved by now. */
async function isResolved(promise: Promise<unknown>): Promise<boolean> {
  let isDone = false
  void promise.then(() => (isDone = true))
  await new Promise((resolve) => setImmediate(resolve))
  return isDone
}

const LINES: LogLines = { target: { kind: 'stdout' }, text: '1\n2\n', lineCount: 2 }

t.test('hands records on and says that it has taken them', async (t) => {
  const { clock, collector, workloads, written, dropped } = bench()
  const requests: RecordRequest[] = []
  collector.add('0', (request) => requests.push(request))
  const counter = new TrafficCounter({ clock })
  counter.connected(connectionRecord())
  const traffic = counter.takeBatch()
  collector.receive('0', { kind: 'records', ...(traffic && { traffic }), lines: [LINES], droppedLines: 3 })
  t.strictSame(requests, [{ kind: 'records-taken' }])
  t.strictSame(written, [LINES])
  t.equal(dropped(), 3)
  t.match([...workloads.samples('opened')], [{ value: 1 }])
  collector.remove('0', 'internal')
  t.match([...workloads.samples('closed')], [{ value: 1 }], 'its connection ended with the thread')
  collector.receive('0', { kind: 'records', lines: [LINES], droppedLines: 0 })
  t.equal(written.length, 1, 'a thread that has gone says nothing')
})

t.test('refreshes when every thread has answered', async (t) => {
  const { clock, collector } = bench()
  const requests: RecordRequest[] = []
  for (const thread of ['0', '1']) collector.add(thread, (request) => requests.push(request))
  const refreshed = collector.refresh()
  t.match(requests, [
    { kind: 'flush-records', request: 1 },
    { kind: 'flush-records', request: 1 },
  ])
  collector.receive('0', { kind: 'records-flushed', request: 1 })
  collector.receive('0', { kind: 'records-flushed', request: 1 })
  t.notOk(await isResolved(refreshed))
  collector.receive('1', { kind: 'records-flushed', request: 1 })
  t.ok(await isResolved(refreshed))
  t.equal(clock.pendingTimers, 0)
})

t.test('does not wait for a thread that hangs or dies', async (t) => {
  const { clock, collector } = bench()
  for (const thread of ['0', '1']) collector.add(thread, () => undefined)
  const first = collector.refresh()
  collector.receive('0', { kind: 'records-flushed', request: 1 })
  clock.advance(249)
  t.notOk(await isResolved(first))
  clock.advance(1)
  t.ok(await isResolved(first))
  const second = collector.refresh()
  collector.receive('0', { kind: 'records-flushed', request: 1 })
  t.notOk(await isResolved(second), 'an answer that comes late is not one to the next question')
  collector.receive('0', { kind: 'records-flushed', request: 2 })
  collector.remove('1', 'internal')
  t.ok(await isResolved(second))
  t.equal(clock.pendingTimers, 0)
})

t.test('forgets what has been gone for long at each refresh', async (t) => {
  const { clock, collector, gone, workloads } = bench()
  collector.add('0', () => undefined)
  const counter = new TrafficCounter({ clock })
  counter.connected(connectionRecord())
  counter.closed(closedConnectionRecord())
  const traffic = counter.takeBatch()
  collector.receive('0', { kind: 'records', ...(traffic && { traffic }), lines: [], droppedLines: 0 })
  collector.remove('0', 'internal')
  gone.add('uid-echo')
  workloads.workloadsChanged(gone)
  clock.advance(300_000)
  t.equal(workloads.seriesCount, 1)
  await collector.refresh()
  t.equal(workloads.seriesCount, 0)
})

t.test('refreshes at once when there is no thread, or it answers at once', async (t) => {
  const { clock, collector } = bench()
  await collector.refresh()
  collector.add('main', (request) => {
    if (request.kind === 'flush-records') {
      collector.receive('main', { kind: 'records-flushed', request: request.request })
    }
  })
  await collector.refresh()
  t.equal(clock.pendingTimers, 0)
})

t.test('keeps the lines of several threads whole, whatever part of them a write takes', async (t) => {
  const clock = new FakeClock()
  let text = ''
  const open = async () => ({
    write: async (bytes: Uint8Array) => {
      const taken = bytes.subarray(0, 1_000)
      text += Buffer.from(taken).toString('latin1')
      return taken.length
    },
    close: async () => undefined,
  })
  const options = { target: { kind: 'file', path: '/log' }, format: 'json' } as const
  const log = new AccessLogWriter({ clock, logger: silentLogger, open }, options)
  const collector = new RecordCollector({
    clock,
    workloads: new WorkloadMetrics({ clock, hasWorkload: () => true }),
    log,
  })
  const batchers = ['0', '1', '2'].map((thread) => {
    const batcher = new RecordBatcher(
      {
        clock,
        traffic: new TrafficCounter({ clock }),
        printer: new AccessLogPrinter({ clock }, options),
        foldStats: () => undefined,
        send: (message) => collector.receive(thread, structuredClone(message)),
      },
      { batchChars: 3_000 },
    )
    collector.add(thread, (request) => batcher.receive(request))
    return batcher
  })
  const count = 300
  for (let id = 0; id < count; id++) batchers[id % 3]?.closed(closedConnectionRecord({ id }))
  // This thread writes to the same file.
  log.closed(closedConnectionRecord({ id: count }))
  await collector.refresh()
  await log.close()
  const lines = text.split('\n')
  t.equal(lines.pop(), '')
  const ids = lines.map((line) =>
    Number(/^\{"level":.*,"connection":(\d+),.*"response_flags":"-"\}$/.exec(line)?.[1]),
  )
  t.strictSame(
    ids.toSorted((a, b) => a - b),
    Array.from({ length: count + 1 }, (_, id) => id),
  )
  t.equal(log.droppedLines, 0)
})
