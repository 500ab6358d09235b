import { readFileSync } from 'node:fs'

import t from 'tap'

import { Metrics } from '../../../src/agent/metrics/metrics.ts'
import { METRICS } from '../../../src/agent/metrics/metrics-schema.ts'
import { ProcessStats } from '../../../src/agent/metrics/process-stats.ts'
import { TrafficCounter } from '../../../src/agent/metrics/traffic-counter.ts'
import { WorkloadMetrics } from '../../../src/agent/metrics/workload-metrics.ts'
import { ProxyTotals } from '../../../src/proxy/proxy-totals.ts'
import { closedConnectionRecord, connectionRecord } from '../../fixtures/connection-records.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { openThread } from '../../fixtures/thread-stats.ts'

import type { MetricsDeps } from '../../../src/agent/metrics/metrics.ts'

const PROCESS: MetricsDeps['process'] = {
  openDescriptors: () => 12,
  maxDescriptors: () => 1_024,
  residentBytes: () => 1e6,
  cpuSeconds: () => 1.5,
  eventLoopLag: () => ({ p50: 0.001, p99: 0.002 }),
  busyRatios: () => new Map([['main', 0.25]]),
}

const NOT_HERE = { isAvailable: false, reason: 'not part of this test' } as const
const CAPABILITIES: MetricsDeps['engine']['capabilities'] = {
  originalDestination: { isAvailable: true },
  transparentSource: NOT_HERE,
  packetMark: NOT_HERE,
  socketOptions: NOT_HERE,
  userTimeout: NOT_HERE,
  splice: NOT_HERE,
  networkNamespaces: NOT_HERE,
}

function bench(parts: Partial<MetricsDeps> = {}): {
  readonly totals: ProxyTotals
  readonly workloads: WorkloadMetrics
  readonly lines: () => Promise<readonly string[]>
} {
  const totals = new ProxyTotals()
  const workloads = new WorkloadMetrics({ clock: new FakeClock(), hasWorkload: () => true })
  const metrics = new Metrics(
    {
      totals,
      workloads,
      refresh: () => Promise.resolve(),
      unhealthyEndpoints: () => ({ ipv4: 0, ipv6: 3 }),
      pods: () => undefined,
      source: () => ({
        isConnected: true,
        messages: [{ type: 'listener', result: 'accepted', count: 4 }],
        resources: [{ type: 'listener', count: 2 }],
        reconnects: [{ reason: 'ended', count: 5 }],
        onDemand: { pending: 1, unknown: 7, timedOut: 2, overflowed: 3 },
      }),
      process: PROCESS,
      engine: { engine: 'node', capabilities: CAPABILITIES },
      workerRestarts: () => 2,
      droppedLogLines: () => 0,
      ...parts,
    },
    { version: '1.2.3', families: ['ipv4', 'ipv6'], plaintextPermitted: true },
  )
  return { totals, workloads, lines: async () => (await metrics.scrape()).text.split('\n') }
}

function drive(totals: ProxyTotals, workloads: WorkloadMetrics): void {
  const { stats } = openThread(totals, '0')
  totals.listeners.setState('we"b', 'ipv6', 'absent')
  stats.accepted('we"b', 'ipv4')
  stats.attempt('ipv4', 'connected', 3)
  stats.attempt('ipv4', 'connected', 20_000)
  stats.connected({ downstream: 'ipv6', upstream: 'ipv4' })
  stats.fellBack({ from: 'ipv6', to: 'ipv4', reason: 'refused' })
  const nothing = { downstreamReceived: 0, downstreamSent: 0, upstreamReceived: 0, upstreamSent: 0 }
  stats.moved({ downstream: 'ipv6', upstream: 'ipv4' }, { ...nothing, downstreamSent: 5 }, { ...nothing })
  stats.closed('drained')
  const counter = new TrafficCounter({ clock: new FakeClock() })
  counter.connected(connectionRecord())
  counter.closed(closedConnectionRecord())
  const batch = counter.takeBatch()
  if (batch !== undefined) workloads.merge('main', batch)
  stats.ran(4, 1)
  stats.spliceFellBack('descriptors_exhausted')
}

t.test('publishes HELP and TYPE of every family even before anything has happened', async (t) => {
  const { lines } = bench()
  const text = await lines()
  for (const { name, type, help } of Object.values(METRICS)) {
    t.ok(text.includes(`# HELP ${name} ${help}`), `HELP ${name}`)
    t.ok(text.includes(`# TYPE ${name} ${type}`), `TYPE ${name}`)
  }
})

t.test('publishes what was counted', async (t) => {
  const { totals, workloads, lines } = bench()
  drive(totals, workloads)
  const text = await lines()
  const expected = [
    'istio_build{component="twinstack",tag="1.2.3"} 1',
    'twinstack_listener_state{listener="we\\"b",family="ipv6",state="absent"} 1',
    'twinstack_listener_state{listener="we\\"b",family="ipv6",state="bound"} 0',
    'twinstack_downstream_connections_total{listener="we\\"b",family="ipv4"} 1',
    'twinstack_downstream_connections_active{listener="we\\"b",family="ipv4"} 1',
    'twinstack_upstream_attempts_total{family="ipv4",result="connected"} 2',
    'twinstack_upstream_attempts_total{family="ipv6",result="refused"} 0',
    'twinstack_upstream_connections_total{downstream_family="ipv6",upstream_family="ipv4"} 1',
    'twinstack_family_fallbacks_total{from="ipv6",to="ipv4",reason="refused"} 1',
    'twinstack_family_fallbacks_total{from="ipv4",to="ipv6",reason="refused"} 0',
    'twinstack_upstream_connect_seconds_bucket{family="ipv4",le="0.0025"} 0',
    'twinstack_upstream_connect_seconds_bucket{family="ipv4",le="0.005"} 1',
    'twinstack_upstream_connect_seconds_bucket{family="ipv4",le="10"} 1',
    'twinstack_upstream_connect_seconds_bucket{family="ipv4",le="+Inf"} 2',
    'twinstack_upstream_connect_seconds_sum{family="ipv4"} 20.003',
    'twinstack_upstream_connect_seconds_count{family="ipv4"} 2',
    'twinstack_bytes_total{family="ipv6",side="downstream",direction="sent"} 5',
    'twinstack_connections_closed_total{reason="drained"} 1',
    'twinstack_endpoint_family_unhealthy{family="ipv6"} 3',
    'twinstack_dual_stack_enabled 1',
    'twinstack_xds_connected 1',
    'twinstack_xds_messages_total{type="listener",result="accepted"} 4',
    'twinstack_xds_resources{type="listener"} 2',
    'twinstack_xds_reconnects_total{reason="ended"} 5',
    'twinstack_xds_on_demand_addresses{state="unknown"} 7',
    'twinstack_xds_on_demand_unanswered_total{reason="overflow"} 3',
    'twinstack_plaintext_permitted 1',
    'process_open_fds 12',
    'process_max_fds 1024',
    'twinstack_event_loop_lag_seconds{quantile="0.99"} 0.002',
    'twinstack_worker_busy_ratio{worker="main"} 0.25',
    'twinstack_worker_busy_ratio{worker="0"} 0.25',
    'twinstack_worker_restarts_total 2',
    'twinstack_engine_info{engine="node"} 1',
    'twinstack_capability{name="original_destination"} 1',
    'twinstack_capability{name="packet_mark"} 0',
    'twinstack_splice_fallbacks_total{reason="descriptors_exhausted"} 1',
    'twinstack_splice_fallbacks_total{reason="unsupported"} 0',
  ]
  for (const line of expected) t.ok(text.includes(line), line)
  t.match(text.join('\n'), /^istio_tcp_sent_bytes_total\{reporter="source",source_workload="sleep",.*\} 20$/m)
})

t.test('keeps to the rules of the Prometheus text format and of metric names', async (t) => {
  const { totals, workloads, lines } = bench()
  drive(totals, workloads)
  const text = await lines()
  const series = text.filter((line) => line !== '' && !line.startsWith('#'))
  const ids = series.map((line) => line.slice(0, line.lastIndexOf(' ')))
  t.equal(new Set(ids).size, ids.length, 'no series twice')
  for (const line of series) {
    t.match(line, /^[a-z_]+(\{([a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (-?[\d.]+(e[+-]?\d+)?|NaN)$/)
  }
  for (const { name, type, labels, help } of Object.values(METRICS)) {
    t.match(name, /^[a-z][a-z0-9_]*$/)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} ends in _total if it is a counter`)
    t.notMatch(name, /_(ms|milliseconds|kb|minutes)(_|$)/, 'base units')
    t.ok(help.length > 0 && !help.endsWith('.'), help)
    const lines = series.filter((line) => line.startsWith(`${name}{`))
    for (const line of lines) {
      const names = [...line.matchAll(/([a-z_]+)="/g)].map((match) => match[1] ?? '')
      t.strictSame(names, labels.slice(0, names.length), `${name} has its labels in order`)
      const isWithoutLocality = labels.length - names.length === 4 && name.startsWith('istio_tcp_')
      t.ok(names.length === labels.length || isWithoutLocality, `${name} has all its labels`)
    }
  }
})

t.test('has every metric that product and readers of dashboards rely on', async (t) => {
  const names = new Set<string>(Object.values(METRICS).map(({ name }) => name))
  const promised = [
    ...['connections_opened', 'connections_closed', 'sent_bytes', 'received_bytes'].map(
      (what) => `istio_tcp_${what}_total`,
    ),
    'istio_build',
    'twinstack_listener_state',
    'twinstack_downstream_connections_total',
    'twinstack_downstream_connections_active',
    'twinstack_upstream_attempts_total',
    'twinstack_upstream_connections_total',
    'twinstack_family_fallbacks_total',
    'twinstack_upstream_connect_seconds',
    'twinstack_bytes_total',
    'twinstack_endpoint_family_unhealthy',
    'twinstack_connections_closed_total',
    'twinstack_xds_connected',
    'twinstack_xds_messages_total',
    'twinstack_xds_resources',
    'twinstack_dual_stack_enabled',
    'process_open_fds',
    'process_max_fds',
    'twinstack_event_loop_lag_seconds',
    'twinstack_worker_busy_ratio',
    'twinstack_worker_restarts_total',
    'twinstack_engine_info',
    'twinstack_capability',
    'twinstack_splice_fallbacks_total',
  ]
  for (const name of promised) t.ok(names.has(name), name)
})

t.test('has the threads bring their numbers up to date before each scrape', async (t) => {
  const totals = new ProxyTotals()
  const { stats } = openThread(totals)
  const refresh = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve))
    stats.closed('finished')
  }
  const { lines } = bench({ totals, refresh })
  t.ok((await lines()).includes('twinstack_connections_closed_total{reason="finished"} 1'))
  t.ok((await lines()).includes('twinstack_connections_closed_total{reason="finished"} 2'))
})

t.test('leaves out what the platform does not tell', async (t) => {
  const { lines } = bench({ process: { ...PROCESS, openDescriptors: () => undefined } })
  t.notOk((await lines()).some((line) => line.startsWith('process_open_fds')))
})

t.test('reads the process it runs in', async (t) => {
  const stats = new ProcessStats()
  t.teardown(() => stats.close())
  const { p50, p99 } = stats.eventLoopLag()
  t.ok(p50 >= 0 && p99 >= p50)
  const busy = stats.busyRatios().get('main') ?? -1
  t.ok(busy >= 0 && busy <= 1)
  t.ok(stats.residentBytes() > 1e6 && stats.cpuSeconds() > 0)
  if (process.platform !== 'linux') return
  t.ok((stats.openDescriptors() ?? 0) > 2)
  t.match(
    readFileSync('/proc/self/limits', 'utf8'),
    new RegExp(`Max open files +(${stats.maxDescriptors()}|unlimited)`),
  )
})
