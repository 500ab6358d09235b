import t from 'tap'

import { TrafficCounter } from '../../../src/agent/metrics/traffic-counter.ts'
import { WorkloadMetrics } from '../../../src/agent/metrics/workload-metrics.ts'
import { TRAFFIC_LABELS } from '../../../src/agent/metrics/metrics-schema.ts'
import {
  closedConnectionRecord,
  connectionRecord,
  refusedConnectionRecord,
  workloadLabels,
} from '../../fixtures/connection-records.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { Sample } from '../../../src/agent/metrics/scraped-metric.ts'
import type { WorkloadCounter, WorkloadMetricsOptions } from '../../../src/agent/metrics/workload-metrics.ts'
import type { ConnectionRecord } from '../../../src/proxy/connection-record.ts'

interface Bench {
  readonly clock: FakeClock
  readonly counter: TrafficCounter
  readonly metrics: WorkloadMetrics
  /** Workloads that are not in the mesh, by UID. */
  readonly gone: Set<string>
  readonly leave: (uid: string) => void
  readonly comeBack: (uid: string) => void
  /** Brings what the counter has to the metrics, as it would get there from another thread. */
  readonly update: () => void
  /** The same, then the series of one counter. */
  readonly samples: (counter: WorkloadCounter) => readonly Sample[]
}

function bench(options?: WorkloadMetricsOptions): Bench {
  const clock = new FakeClock()
  const counter = new TrafficCounter({ clock })
  const gone = new Set<string>()
  const metrics = new WorkloadMetrics({ clock, hasWorkload: (uid) => !gone.has(uid) }, options)
  const leave = (uid: string): void => {
    gone.add(uid)
    metrics.workloadsChanged(new Set([uid]))
  }
  const comeBack = (uid: string): void => {
    gone.delete(uid)
    metrics.workloadsChanged(new Set([uid]))
  }
  const update = (): void => {
    const batch = counter.takeBatch()
    if (batch !== undefined) metrics.merge('0', structuredClone(batch))
    metrics.forgetGone()
  }
  const samples = (what: WorkloadCounter): readonly Sample[] => {
    update()
    return [...metrics.samples(what)]
  }
  return { clock, counter, metrics, gone, leave, comeBack, update, samples }
}

function total(samples: Bench['samples'], counter: WorkloadCounter): number {
  return samples(counter).reduce((sum, { value }) => sum + value, 0)
}

function from(name: string): Pick<ConnectionRecord, 'labels'> {
  return { labels: { source: workloadLabels(name) } }
}

t.test("labels a connection as ztunnel does, in ztunnel's order", async (t) => {
  const { counter, samples } = bench()
  counter.connected(connectionRecord())
  const [sample] = samples('opened')
  t.strictSame(Object.keys(sample?.labels ?? {}), [...TRAFFIC_LABELS])
  t.match(sample, {
    value: 1,
    labels: {
      reporter: 'source',
      source_workload: 'sleep',
      source_app: 'sleep',
      source_version: 'v1',
      source_principal: 'unknown',
      destination_service: 'echo.default.svc.cluster.local',
      destination_service_name: 'echo',
      destination_workload: 'echo',
      destination_cluster: 'Kubernetes',
      request_protocol: 'tcp',
      response_flags: '-',
      connection_security_policy: 'unknown',
      source_region: 'unknown',
    },
  })
})

t.test('leaves the locality out when no workload is known', async (t) => {
  const { counter, samples } = bench()
  const parts = { labels: {}, direction: 'inbound', upstream: { name: 'passthrough' } } as const
  counter.connected(connectionRecord(parts))
  const [sample] = samples('opened')
  t.strictSame(Object.keys(sample?.labels ?? {}), TRAFFIC_LABELS.slice(0, -4))
  t.match(sample?.labels, { reporter: 'destination', source_workload: 'unknown' })
})

t.test('opens without flags and closes with those of the close reason', async (t) => {
  const { counter, samples } = bench()
  counter.connected(connectionRecord())
  counter.closed(closedConnectionRecord({ closeReason: 'upstream_reset' }))
  t.match(samples('opened'), [{ value: 1, labels: { response_flags: '-' } }])
  t.match(samples('closed'), [{ value: 1, labels: { response_flags: 'UR' } }])
})

t.test(
  'counts a connection that reached no upstream as opened and closed, and a rejected one not at all',
  async (t) => {
    const { counter, samples } = bench()
    counter.closed(refusedConnectionRecord())
    t.strictSame([...samples('opened'), ...samples('closed')], [])
    counter.closed({
      ...refusedConnectionRecord({ closeReason: 'upstream_refused' }),
      upstream: { name: 'echo' },
    })
    t.match(samples('opened'), [{ value: 1 }])
    t.match(samples('closed'), [{ value: 1, labels: { response_flags: 'UF,URX' } }])
  },
)

t.test('counts the bytes of a live connection at each batch, and none twice', async (t) => {
  const { counter, samples } = bench()
  const bytes = { downstreamReceived: 0, downstreamSent: 0, upstreamReceived: 0, upstreamSent: 0 }
  const record = connectionRecord({ bytes })
  counter.connected(record)
  t.equal(total(samples, 'sent'), 0)
  Object.assign(bytes, { downstreamReceived: 5, downstreamSent: 7 })
  t.equal(total(samples, 'received'), 5)
  t.equal(total(samples, 'sent'), 7, 'sent is what the client was sent')
  t.equal(total(samples, 'sent'), 7, 'a second batch adds nothing')
  Object.assign(bytes, { downstreamReceived: 6, downstreamSent: 9 })
  counter.closed(closedConnectionRecord({ bytes }))
  t.equal(total(samples, 'received'), 6)
  t.equal(total(samples, 'sent'), 9)
})

t.test('forgets the series of a workload five minutes after it has gone', async (t) => {
  const { clock, counter, metrics, update, leave } = bench()
  counter.connected(connectionRecord())
  counter.closed(closedConnectionRecord())
  update()
  leave('uid-echo')
  clock.advance(299_999)
  update()
  t.equal(metrics.seriesCount, 1)
  clock.advance(1)
  update()
  t.equal(metrics.seriesCount, 0)
})

t.test('keeps the series of a workload that comes back, and of one that has connections', async (t) => {
  const { clock, counter, metrics, samples, update, leave, comeBack } = bench()
  counter.connected(connectionRecord({ id: 1, ...from('back') }))
  counter.closed(closedConnectionRecord({ id: 1, ...from('back') }))
  counter.connected(connectionRecord({ id: 2, ...from('busy') }))
  update()
  leave('uid-back')
  leave('uid-busy')
  comeBack('uid-back')
  clock.advance(400_000)
  update()
  t.equal(metrics.seriesCount, 2)
  counter.closed(closedConnectionRecord({ id: 2, ...from('busy') }))
  update()
  t.strictSame(
    samples('opened').map(({ labels }) => labels['source_workload']),
    ['back'],
  )
})

t.test('finds its own among the many workloads that change at once', async (t) => {
  const { clock, counter, metrics, samples, update, gone } = bench()
  for (const [id, name] of ['gone', 'there'].entries()) {
    counter.connected(connectionRecord({ id, ...from(name) }))
    counter.closed(closedConnectionRecord({ id, ...from(name) }))
  }
  update()
  const changed = new Set(['uid-gone', ...Array.from({ length: 100 }, (_, n) => `uid-${n}`)])
  gone.add('uid-gone')
  metrics.workloadsChanged(changed)
  clock.advance(300_000)
  t.strictSame(
    samples('opened').map(({ labels }) => labels['source_workload']),
    ['there'],
  )
})

t.test('puts what exceeds the limit of series into one overflow series per reporter', async (t) => {
  const { counter, metrics, samples, update } = bench({ maxSeries: 2 })
  for (const [index, name] of ['a', 'b', 'c', 'd'].entries()) {
    counter.connected(connectionRecord({ id: index, ...from(name) }))
    counter.closed(closedConnectionRecord({ id: index, ...from(name) }))
  }
  update()
  t.equal(metrics.seriesCount, 2)
  const overflow = samples('opened').at(-1)
  t.equal(overflow?.value, 2)
  t.match(overflow?.labels, { reporter: 'source', source_workload: 'overflow', response_flags: 'overflow' })
  t.equal(total(samples, 'closed'), 4)
  t.equal(total(samples, 'sent'), 80)
})

t.test('makes room for new series by forgetting gone workloads even if nobody scrapes', async (t) => {
  const { clock, counter, samples, update, leave } = bench({ maxSeries: 1 })
  counter.connected(connectionRecord(from('old')))
  counter.closed(closedConnectionRecord(from('old')))
  update()
  leave('uid-old')
  clock.advance(300_000)
  counter.connected(connectionRecord({ id: 2, ...from('new') }))
  t.match(samples('opened'), [{ labels: { source_workload: 'new' } }])
})

t.test('moves a series out of the overflow when there is room and its connections have ended', async (t) => {
  const { clock, counter, samples, update, leave } = bench({ maxSeries: 1 })
  counter.connected(connectionRecord({ id: 1, ...from('old') }))
  counter.connected(connectionRecord({ id: 2, ...from('new') }))
  counter.closed(closedConnectionRecord({ id: 1, ...from('old') }))
  update()
  leave('uid-old')
  clock.advance(300_000)
  update()
  counter.connected(connectionRecord({ id: 3, ...from('new') }))
  const opened = () => samples('opened').map(({ labels, value }) => [labels['source_workload'], value])
  t.strictSame(opened(), [['overflow', 2]], 'its connections are counted in one place')
  for (const id of [2, 3]) counter.closed(closedConnectionRecord({ id, ...from('new') }))
  update()
  counter.connected(connectionRecord({ id: 4, ...from('new') }))
  t.strictSame(opened(), [
    ['new', 1],
    ['overflow', 2],
  ])
})

t.test('counts the connections of a thread that died as closed', async (t) => {
  const { counter, metrics, samples, leave } = bench()
  counter.connected(connectionRecord({ id: 1 }))
  counter.connected(connectionRecord({ id: 2 }))
  counter.closed(closedConnectionRecord({ id: 2 }))
  t.equal(total(samples, 'opened'), 2)
  metrics.threadGone('0', 'upstream_reset')
  const closed = [...metrics.samples('closed')].map(({ labels, value }) => [labels['response_flags'], value])
  t.strictSame(closed, [
    ['-', 1],
    ['UR', 1],
  ])
  leave('uid-echo')
  metrics.threadGone('0', 'upstream_reset')
  t.equal([...metrics.samples('closed')].length, 2, 'only once')
})

t.test('forgets the series of a gone workload when the thread that had its connections died', async (t) => {
  const { clock, counter, metrics, update, leave } = bench()
  counter.connected(connectionRecord())
  update()
  leave('uid-echo')
  clock.advance(300_000)
  metrics.forgetGone()
  t.equal(metrics.seriesCount, 1)
  metrics.threadGone('0', 'internal')
  metrics.forgetGone()
  t.equal(metrics.seriesCount, 0)
})

t.test('forgets what is counted for a workload that has gone already', async (t) => {
  const { clock, counter, metrics, leave, update } = bench()
  // What a thread had counted by then, and a connection that reaches an upstream afterwards.
  counter.connected(connectionRecord({ id: 1, ...from('early') }))
  counter.closed(closedConnectionRecord({ id: 1, ...from('early') }))
  for (const uid of ['uid-early', 'uid-late']) leave(uid)
  update()
  clock.advance(299_999)
  counter.connected(connectionRecord({ id: 2, ...from('late') }))
  counter.closed(closedConnectionRecord({ id: 2, ...from('late') }))
  update()
  t.equal(metrics.seriesCount, 2)
  clock.advance(1)
  update()
  t.equal(metrics.seriesCount, 1, 'from when it was counted first')
  clock.advance(299_999)
  update()
  t.equal(metrics.seriesCount, 0)
})

t.test('publishes a series that was forgotten again when a thread counts for it', async (t) => {
  const { clock, counter, metrics, samples, update, leave } = bench()
  counter.connected(connectionRecord())
  counter.closed(closedConnectionRecord())
  update()
  leave('uid-echo')
  clock.advance(300_000)
  metrics.forgetGone()
  t.strictSame([...metrics.samples('opened')], [])
  counter.connected(connectionRecord())
  t.match(samples('opened'), [{ value: 1, labels: { source_workload: 'sleep' } }])
})

t.test('refuses numbers of a series that was never announced', async (t) => {
  const { metrics } = bench()
  t.throws(
    () => metrics.merge('0', { announced: [], rows: Float64Array.of(7, 1, 0, 0, 0, 0), forgotten: [] }),
    /series 7/,
  )
})
