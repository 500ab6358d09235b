import t from 'tap'

import { AccessLogPrinter } from '../../../src/agent/access-log/access-log-printer.ts'
import { RecordBatcher } from '../../../src/agent/access-log/record-batcher.ts'
import { TrafficCounter } from '../../../src/agent/metrics/traffic-counter.ts'
import { closedConnectionRecord, connectionRecord } from '../../fixtures/connection-records.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { RecordBatcherOptions } from '../../../src/agent/access-log/record-batcher.ts'
import type { AccessLog } from '../../../src/mesh/listener.ts'
import type { RecordMessage } from '../../../src/proxy/record-batch.ts'

type Records = Extract<RecordMessage, { kind: 'records' }>

const ID: AccessLog = {
  target: { kind: 'file', path: '/id' },
  format: { kind: 'text', template: '%CONNECTION_ID%\n' },
}
const DURATION: AccessLog = { target: { kind: 'stderr' }, format: { kind: 'text', template: '%DURATION%\n' } }

function bench(options?: RecordBatcherOptions) {
  const clock = new FakeClock()
  const messages: RecordMessage[] = []
  let folds = 0
  const batcher = new RecordBatcher(
    {
      clock,
      traffic: new TrafficCounter({ clock }),
      printer: new AccessLogPrinter({ clock }, { target: { kind: 'off' }, format: 'plain' }),
      foldStats: () => folds++,
      send: (message) => messages.push(structuredClone(message)),
    },
    options,
  )
  return {
    clock,
    batcher,
    messages,
    folds: () => folds,
    records: () => messages.filter((message): message is Records => message.kind === 'records'),
    close: (id: number, accessLogs = [ID]) => batcher.closed(closedConnectionRecord({ id, accessLogs })),
  }
}

t.test('sends what happened within a moment in one batch', async (t) => {
  const { clock, batcher, messages, close } = bench()
  batcher.connected(connectionRecord({ id: 1 }))
  close(1, [ID, DURATION])
  close(2, [ID])
  clock.advance(249)
  t.strictSame(messages, [])
  clock.advance(1)
  t.match(messages, [
    {
      kind: 'records',
      traffic: { announced: [{ id: 1 }] },
      lines: [
        { target: ID.target, text: '1\n2\n', lineCount: 2 },
        { target: DURATION.target, text: '1235\n', lineCount: 1 },
      ],
      droppedLines: 0,
    },
  ])
  clock.advance(1_000)
  t.equal(messages.length, 1)
  t.equal(clock.pendingTimers, 0, 'a thread without events is not woken')
})

t.test('sends at once what has grown', async (t) => {
  const { records, close } = bench({ batchChars: 4 })
  close(1)
  t.equal(records().length, 0)
  close(2)
  t.match(records(), [{ lines: [{ text: '1\n2\n' }] }])
})

t.test('answers a request with everything up to now, and the counters folded', async (t) => {
  const { batcher, messages, folds, close } = bench()
  close(1)
  batcher.receive({ kind: 'flush-records', request: 7 })
  t.equal(folds(), 1)
  t.match(messages, [
    { kind: 'records', lines: [{ text: '1\n' }] },
    { kind: 'records-flushed', request: 7 },
  ])
  batcher.receive({ kind: 'flush-records', request: 8 })
  t.strictSame(messages.slice(2), [{ kind: 'records-flushed', request: 8 }], 'nothing has happened since')
})

t.test('drops and counts lines while too much is under way, and keeps counting traffic', async (t) => {
  const { clock, batcher, records, close } = bench({ maxChars: 6 })
  for (const id of [1, 2]) close(id)
  clock.advance(250)
  for (const id of [3, 4, 5]) close(id)
  clock.advance(250)
  t.match(records(), [
    { lines: [{ text: '1\n2\n' }] },
    { lines: [{ text: '3\n', lineCount: 1 }], droppedLines: 2 },
  ])
  batcher.receive({ kind: 'records-taken' })
  close(6)
  clock.advance(250)
  t.match(records()[2], { lines: [{ text: '6\n' }], droppedLines: 0 })
  const closed = records().map(({ traffic }) => traffic?.rows[2])
  t.strictSame(closed, [2, 3, 1])
})

t.test('holds back what a receiver that takes nothing could not take', async (t) => {
  const { clock, batcher, records, close } = bench()
  for (let id = 0; id < 20; id++) {
    close(id)
    clock.advance(250)
  }
  t.equal(records().length, 8)
  batcher.receive({ kind: 'records-taken' })
  clock.advance(250)
  t.match(records().at(-1)?.lines, [{ lineCount: 12, text: /^8\n9\n10\n.*\n19\n$/s }], 'nothing is lost')
})

t.test('sends what is left when it is closed', async (t) => {
  const { clock, batcher, messages, close } = bench()
  close(1)
  batcher.close()
  batcher.close()
  t.match(messages, [{ kind: 'records', lines: [{ text: '1\n' }] }])
  t.equal(clock.pendingTimers, 0)
})
