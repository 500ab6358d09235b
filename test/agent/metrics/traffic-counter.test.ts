import fc from 'fast-check'
import t from 'tap'

import { KEEP_IDLE_MS, TrafficCounter } from '../../../src/agent/metrics/traffic-counter.ts'
import { WorkloadMetrics } from '../../../src/agent/metrics/workload-metrics.ts'
import { CLOSE_REASONS } from '../../../src/proxy/close-reason.ts'
import { TRAFFIC_COLUMNS } from '../../../src/proxy/record-batch.ts'
import {
  closedConnectionRecord,
  connectionRecord,
  workloadLabels,
} from '../../fixtures/connection-records.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { ConnectionRecord } from '../../../src/proxy/connection-record.ts'
import type { RouteLabels } from '../../../src/mesh/router.ts'
import type { TrafficBatch } from '../../../src/proxy/record-batch.ts'
import type { RelayBytes } from '../../../src/proxy/transport.ts'

/** The rows of a batch by the names of their columns. */
function rowsOf(batch: TrafficBatch | undefined): readonly Readonly<Record<string, number>>[] {
  const { rows = new Float64Array() } = batch ?? {}
  const width = TRAFFIC_COLUMNS.length
  return Array.from({ length: rows.length / width }, (_, index) =>
    Object.fromEntries(TRAFFIC_COLUMNS.map((column, place) => [column, rows[index * width + place] ?? NaN])),
  )
}

t.test('announces a set of labels once, then sends numbers only', async (t) => {
  const counter = new TrafficCounter({ clock: new FakeClock() })
  counter.connected(connectionRecord({ id: 1 }))
  counter.connected(connectionRecord({ id: 2 }))
  const first = counter.takeBatch()
  t.match(first?.announced, [{ id: 1, workloads: ['uid-sleep', 'uid-echo'] }])
  t.match(rowsOf(first), [{ id: 1, opened: 2, live: 2, closed: 0 }])
  counter.closed(closedConnectionRecord({ id: 1 }))
  const second = counter.takeBatch()
  t.strictSame(second?.announced, [])
  t.match(rowsOf(second), [{ id: 1, opened: 0, closed: 1, live: -1, sent: 0, received: 0 }])
  t.equal(counter.takeBatch(), undefined, 'nothing has happened since')
})

t.test('takes equal labels for the same, whatever object they are', async (t) => {
  const counter = new TrafficCounter({ clock: new FakeClock() })
  for (const id of [1, 2, 3])
    counter.connected(connectionRecord({ id, labels: { source: workloadLabels('a') } }))
  const batch = counter.takeBatch()
  t.equal(batch?.announced.length, 1)
  t.match(rowsOf(batch), [{ opened: 3 }])
})

t.test('tells labels apart by direction, endpoint workload and flags', async (t) => {
  const counter = new TrafficCounter({ clock: new FakeClock() })
  const labels = {}
  counter.connected(connectionRecord({ id: 1, labels }))
  counter.connected(connectionRecord({ id: 2, labels, direction: 'inbound' }))
  counter.connected(connectionRecord({ id: 3, labels, upstream: { name: 'x' } }))
  counter.closed(closedConnectionRecord({ id: 1, labels, closeReason: 'upstream_reset' }))
  t.match(rowsOf(counter.takeBatch()), [
    { id: 1, opened: 1, closed: 0 },
    { id: 2, opened: 1 },
    { id: 3, opened: 1 },
    { id: 4, opened: 0, closed: 1 },
  ])
})

t.test('forgets labels that nobody has used for a while, and announces them anew', async (t) => {
  const clock = new FakeClock()
  const counter = new TrafficCounter({ clock })
  const record = connectionRecord()
  counter.connected(record)
  counter.takeBatch()
  clock.advance(2 * KEEP_IDLE_MS)
  t.equal(counter.takeBatch(), undefined, 'not while a connection lives')
  counter.closed(closedConnectionRecord(record))
  counter.takeBatch()
  clock.advance(KEEP_IDLE_MS)
  t.strictSame(counter.takeBatch()?.forgotten, [1])
  counter.connected(record)
  t.match(counter.takeBatch(), { announced: [{ id: 2 }], forgotten: [] })
})

interface Thread {
  readonly counter: TrafficCounter
  readonly open: { readonly record: ConnectionRecord; readonly bytes: RelayBytes }[]
}

interface Step {
  readonly thread: number
  readonly act: 'open' | 'move' | 'close' | 'batch' | 'wait'
  readonly source: string
  readonly reason: 'finished' | 'upstream_reset' | 'idle_timeout'
  readonly bytes: number
}

t.test('batches of several threads add up to what was counted one by one', async () => {
  const step: fc.Arbitrary<Step> = fc.record({
    thread: fc.integer({ min: 0, max: 2 }),
    act: fc.constantFrom('open', 'open', 'move', 'close', 'batch', 'wait'),
    source: fc.constantFrom('a', 'b', 'c'),
    reason: fc.constantFrom('finished', 'upstream_reset', 'idle_timeout'),
    bytes: fc.integer({ min: 0, max: 1_000 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const clock = new FakeClock()
      const metrics = new WorkloadMetrics({ clock, hasWorkload: () => true })
      const threads = [0, 1, 2].map((): Thread => ({ counter: new TrafficCounter({ clock }), open: [] }))
      const expected = new Map<string, number>()
      const expect = (counter: string, source: string, flags: string, count: number): void => {
        const key = `${counter} ${source} ${flags}`
        expected.set(key, (expected.get(key) ?? 0) + count)
      }
      const flush = (index: number): void => {
        const batch = threads[index]?.counter.takeBatch()
        if (batch !== undefined) metrics.merge(String(index), structuredClone(batch))
      }
      // Half of the connections share their labels, half bring equal ones of their own.
      const shared = new Map(['a', 'b', 'c'].map((name) => [name, { source: workloadLabels(name) }]))
      const labelsOf = (source: string): RouteLabels =>
        (id % 2 === 0 ? shared.get(source) : undefined) ?? { source: workloadLabels(source) }
      let id = 0
      for (const { thread, act, source, reason, bytes: moved } of steps) {
        const { counter, open } = threads[thread] ?? fail(thread)
        const [first] = open
        switch (act) {
          case 'open': {
            const bytes = { downstreamReceived: 0, downstreamSent: 0, upstreamReceived: 0, upstreamSent: 0 }
            const record = connectionRecord({ id: id++, labels: labelsOf(source), bytes })
            open.push({ record, bytes })
            counter.connected(record)
            expect('opened', source, '-', 1)
            expect('sent', source, '-', 0)
            break
          }
          case 'move':
            if (first === undefined) break
            first.bytes.downstreamSent += moved
            expect('sent', first.record.labels.source?.name ?? '', '-', moved)
            break
          case 'close': {
            if (first === undefined) break
            open.shift()
            const { record } = first
            counter.closed(closedConnectionRecord({ ...record, closeReason: reason }))
            expect('closed', record.labels.source?.name ?? '', CLOSE_REASONS[reason].responseFlag, 1)
            break
          }
          case 'batch':
            flush(thread)
            break
          case 'wait':
            clock.advance(KEEP_IDLE_MS)
            break
        }
      }
      for (const index of threads.keys()) flush(index)
      const published = new Map<string, number>()
      for (const counter of ['opened', 'sent', 'closed'] as const)
        for (const { labels, value } of metrics.samples(counter))
          published.set(
            `${counter} ${labels['source_workload'] ?? ''} ${labels['response_flags'] ?? ''}`,
            value,
          )
      return (
        published.size === expected.size &&
        [...expected].every(([key, value]) => published.get(key) === value)
      )
    }),
  )
})

function fail(thread: number): never {
  throw new TypeError(`there is no thread ${thread}`)
}
