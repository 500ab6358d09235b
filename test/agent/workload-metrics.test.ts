import t from 'tap'

import { WorkloadMetrics } from '../../src/agent/workload-metrics.ts'
import { TRAFFIC_LABELS } from '../../src/agent/metrics-schema.ts'
import {
  closedConnectionRecord,
  connectionRecord,
  refusedConnectionRecord,
  workloadLabels,
} from '../fixtures/connection-records.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'

import type { WorkloadCounter, WorkloadMetricsOptions } from '../../src/agent/workload-metrics.ts'
import type { ConnectionRecord } from '../../src/proxy/connection-record.ts'

interface Bench {
  readonly clock: FakeClock
  readonly live: Map<number, ConnectionRecord>
  readonly metrics: WorkloadMetrics
}

function bench(options?: WorkloadMetricsOptions): Bench {
  const clock = new FakeClock()
  const live = new Map<number, ConnectionRecord>()
  return {
    clock,
    live,
    metrics: new WorkloadMetrics({ clock, liveConnections: () => live.values() }, options),
  }
}

function total(metrics: WorkloadMetrics, counter: WorkloadCounter): number {
  metrics.update()
  return [...metrics.samples(counter)].reduce((sum, { value }) => sum + value, 0)
}

function from(name: string): Pick<ConnectionRecord, 'labels'> {
  return { labels: { source: workloadLabels(name) } }
}

const BYTES = { downstreamReceived: 1, downstreamSent: 2, upstreamReceived: 3, upstreamSent: 4 }

t.test("labels a connection as ztunnel does, in ztunnel's order", async (t) => {
  const { metrics } = bench()
  metrics.connected(connectionRecord())
  const [sample] = [...metrics.samples('opened')]
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
  const { metrics } = bench()
  const parts = { labels: {}, direction: 'inbound', upstream: { name: 'passthrough' } } as const
  metrics.connected(connectionRecord(parts))
  const [sample] = [...metrics.samples('opened')]
  t.strictSame(Object.keys(sample?.labels ?? {}), TRAFFIC_LABELS.slice(0, -4))
  t.match(sample?.labels, { reporter: 'destination', source_workload: 'unknown' })
})

t.test('opens without flags and closes with those of the close reason', async (t) => {
  const { metrics } = bench()
  metrics.connected(connectionRecord())
  metrics.closed(closedConnectionRecord({ closeReason: 'upstream_reset' }))
  t.match([...metrics.samples('opened')], [{ value: 1, labels: { response_flags: '-' } }])
  t.match([...metrics.samples('closed')], [{ value: 1, labels: { response_flags: 'UC' } }])
})

t.test(
  'counts a connection that reached no upstream as opened and closed, and a rejected one not at all',
  async (t) => {
    const { metrics } = bench()
    metrics.closed(refusedConnectionRecord())
    t.strictSame([...metrics.samples('opened'), ...metrics.samples('closed')], [])
    metrics.closed({
      ...refusedConnectionRecord({ closeReason: 'upstream_refused' }),
      upstream: { name: 'echo' },
    })
    t.match([...metrics.samples('opened')], [{ value: 1 }])
    t.match([...metrics.samples('closed')], [{ value: 1, labels: { response_flags: 'UF,URX' } }])
  },
)

t.test('counts the bytes of a live connection at each scrape, and none twice', async (t) => {
  const { metrics, live } = bench()
  const record = connectionRecord({ bytes: { ...BYTES, downstreamReceived: 0, downstreamSent: 0 } })
  live.set(record.id, record)
  metrics.connected(record)
  t.equal(total(metrics, 'sent'), 0)
  live.set(record.id, { ...record, bytes: { ...BYTES, downstreamReceived: 5, downstreamSent: 7 } })
  t.equal(total(metrics, 'received'), 5)
  t.equal(total(metrics, 'sent'), 7, 'sent is what the client was sent')
  t.equal(total(metrics, 'sent'), 7, 'a second scrape adds nothing')
  live.delete(record.id)
  metrics.closed(closedConnectionRecord({ bytes: { ...BYTES, downstreamReceived: 6, downstreamSent: 9 } }))
  t.equal(total(metrics, 'received'), 6)
  t.equal(total(metrics, 'sent'), 9)
})

t.test('forgets the series of a workload five minutes after it has gone', async (t) => {
  const { metrics, clock } = bench()
  metrics.connected(connectionRecord())
  metrics.closed(closedConnectionRecord())
  metrics.workloadRemoved('uid-echo')
  clock.advance(299_999)
  metrics.update()
  t.equal(metrics.seriesCount, 1)
  clock.advance(1)
  metrics.update()
  t.equal(metrics.seriesCount, 0)
})

t.test('keeps the series of a workload that comes back, and of one that has connections', async (t) => {
  const { metrics, clock } = bench()
  metrics.connected(connectionRecord({ id: 1, ...from('back') }))
  metrics.closed(closedConnectionRecord({ id: 1, ...from('back') }))
  metrics.connected(connectionRecord({ id: 2, ...from('busy') }))
  metrics.workloadRemoved('uid-back')
  metrics.workloadRemoved('uid-busy')
  metrics.workloadSeen('uid-back')
  clock.advance(400_000)
  metrics.update()
  t.equal(metrics.seriesCount, 2)
  metrics.closed(closedConnectionRecord({ id: 2, ...from('busy') }))
  metrics.update()
  t.strictSame(
    [...metrics.samples('opened')].map(({ labels }) => labels['source_workload']),
    ['back'],
  )
})

t.test('puts what exceeds the limit of series into one overflow series per reporter', async (t) => {
  const { metrics } = bench({ maxSeries: 2 })
  for (const [index, name] of ['a', 'b', 'c', 'd'].entries()) {
    metrics.connected(connectionRecord({ id: index, ...from(name) }))
    metrics.closed(closedConnectionRecord({ id: index, ...from(name) }))
  }
  t.equal(metrics.seriesCount, 2)
  const overflow = [...metrics.samples('opened')].at(-1)
  t.equal(overflow?.value, 2)
  t.match(overflow?.labels, { reporter: 'source', source_workload: 'overflow', response_flags: 'overflow' })
  t.equal(total(metrics, 'closed'), 4)
  t.equal(total(metrics, 'sent'), 80)
})

t.test('makes room for new series by forgetting gone workloads even if nobody scrapes', async (t) => {
  const { metrics, clock } = bench({ maxSeries: 1 })
  metrics.connected(connectionRecord(from('old')))
  metrics.closed(closedConnectionRecord(from('old')))
  metrics.workloadRemoved('uid-old')
  clock.advance(300_000)
  metrics.connected(connectionRecord({ id: 2, ...from('new') }))
  t.match([...metrics.samples('opened')], [{ labels: { source_workload: 'new' } }])
})
