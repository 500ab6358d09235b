/** Holds docs/LIMITS.md equal to the code: each row's value comes from the constant that decides it. */
import { readFileSync } from 'node:fs'

import t from 'tap'

import { DEFAULT_MAX_CHARS } from '../src/agent/access-log/line-writer.ts'
import { COMPLETION_TIMEOUT_MS } from '../src/agent/source/control-plane-feed.ts'
import { POLL_INTERVAL_MS } from '../src/agent/source/mesh-file-source.ts'
import { DEFAULT_MAX_CHARS as MAX_CHARS_UNDER_WAY } from '../src/agent/access-log/record-batcher.ts'
import { DEFAULT_MAX_SERIES } from '../src/agent/metrics/workload-metrics.ts'
import { AMBIENT_SETTINGS } from '../src/mesh/ambient-endpoints.ts'
import { DEFAULT_UPSTREAM_SETTINGS } from '../src/mesh/upstream.ts'
import { DEFAULT_CONNECTION_OPTIONS } from '../src/proxy/connection-options.ts'
import { SWEEP_INTERVAL_MS } from '../src/proxy/connections.ts'
import { REFUSE_AT_SHARE } from '../src/proxy/descriptor-budget.ts'
import { DEFAULT_INITIAL_MS, DEFAULT_MAX_MS } from '../src/proxy/endpoint-health.ts'
import { ABSENT_PROBE_MS, DEFAULT_BACKLOG, FAILED_BACKOFF } from '../src/proxy/listener-set.ts'
import { MAX_PACKET_BYTES } from '../src/proxy/linux/seqpacket-channel.ts'
import { END_PORT, SOURCE_PORT_COUNT } from '../src/proxy/linux/source-ports.ts'
import { LOOP_RECHECK_MS } from '../src/proxy/loop-check.ts'
import { POD_WAIT_MS } from '../src/proxy/pods/pod-discovery.ts'
import { MAX_EMPTY_LOOKS } from '../src/proxy/pods/pod-entry.ts'
import { HANDOVER_MS } from '../src/proxy/pods/pod-set.ts'
import { RELEASE_DEADLINE_MS } from '../src/proxy/release.ts'
import { LISTENER_ENTRIES } from '../src/proxy/stats-slots.ts'
import { SLOT_COUNT } from '../src/proxy/workers/connection-slots.ts'
import { ANSWER_TIMEOUT_MS } from '../src/proxy/workers/plan-cache.ts'
import { MAX_PLANS } from '../src/proxy/workers/plan-directory.ts'
import { ANSWER_DEADLINE_MS, RESTART_BACKOFF } from '../src/proxy/workers/worker-pool.ts'
import { DEFAULT_FIRST_RESPONSE_TIMEOUT_MS, RECONNECT_BACKOFF } from '../src/xds-client/stream/ads-client.ts'
import { INITIAL_FETCH_TIMEOUT_MS, ORDER_TIMEOUT_MS } from '../src/xds-client/sinks/envoy-resources.ts'
import {
  ANSWER_DEADLINE_MS as ADDRESS_DEADLINE_MS,
  ASK_AGAIN_MS,
  MAX_PENDING,
  MAX_UNKNOWN,
} from '../src/xds-client/sinks/on-demand.ts'
import { ANSWER_LIMIT_MS } from '../src/zds-client/sink-calls.ts'
import { RECONNECT_BACKOFF as ZDS_BACKOFF } from '../src/zds-client/zds-client.ts'

const seconds = (ms: number): string => `${ms / 1_000} s`
const characters = (count: number): string => `${count.toLocaleString('en-US')} characters`
const limitOrNone = (ms: number): string => (ms === 0 ? 'no limit' : seconds(ms))

const EXPECTED: Readonly<Record<string, string>> = {
  'endpoints that one connection tries': String(DEFAULT_CONNECTION_OPTIONS.maxEndpoints),
  'delay between attempts': `${DEFAULT_CONNECTION_OPTIONS.attemptDelayMs} ms`,
  'time to connect, all attempts together': seconds(DEFAULT_UPSTREAM_SETTINGS.connectTimeoutMs),
  'a family that failed comes last for': `${seconds(DEFAULT_INITIAL_MS)}, doubling to ${seconds(DEFAULT_MAX_MS)}`,
  'probe of a missing family': seconds(ABSENT_PROBE_MS),
  'retry of a taken port': `${seconds(FAILED_BACKOFF.initialMs)}, doubling to ${seconds(FAILED_BACKOFF.maxMs)}`,
  'idle connection': limitOrNone(DEFAULT_CONNECTION_OPTIONS.idleTimeoutMs),
  'idle half-closed connection': limitOrNone(DEFAULT_CONNECTION_OPTIONS.halfClosedTimeoutMs),
  'connections of an upstream':
    DEFAULT_UPSTREAM_SETTINGS.maxConnections === undefined ? 'no limit' : 'a limit of connections',
  'open descriptors': `${REFUSE_AT_SHARE * 100} % of the limit of the process`,
  'accept queue': `${DEFAULT_BACKLOG}, cut by net.core.somaxconn`,
  'time limits are checked': `every ${seconds(SWEEP_INTERVAL_MS)}`,
  'a changed file is noticed': `after two equal looks, ${seconds(POLL_INTERVAL_MS)} apart`,
  'access log waiting to be written, per file': characters(DEFAULT_MAX_CHARS),
  'access log of a worker thread on its way to the file': characters(MAX_CHARS_UNDER_WAY),
  'listeners counted each for itself': LISTENER_ENTRIES.toLocaleString('en-US'),
  'route plans that workers keep': MAX_PLANS.toLocaleString('en-US'),
  'a worker waits for a route': seconds(ANSWER_TIMEOUT_MS),
  'upstreams whose `max_connections` holds over all workers': SLOT_COUNT.toLocaleString('en-US'),
  'a worker that died is started again': `after ${seconds(RESTART_BACKOFF.initialMs)}, doubling to ${seconds(RESTART_BACKOFF.maxMs)}`,
  'an answer of all workers to /config_dump and /clusters': seconds(ANSWER_DEADLINE_MS),
  'a connection waits for an address on demand': seconds(ADDRESS_DEADLINE_MS),
  'addresses waited for on demand at once': MAX_PENDING.toLocaleString('en-US'),
  'unknown addresses that are remembered on demand': MAX_UNKNOWN.toLocaleString('en-US'),
  'first response of a control plane': seconds(DEFAULT_FIRST_RESPONSE_TIMEOUT_MS),
  'pause before a stream is opened anew': `up to ${seconds(RECONNECT_BACKOFF.initialMs)}, doubling to ${seconds(RECONNECT_BACKOFF.maxMs)}`,
  'a cluster waits for its assignment': seconds(INITIAL_FETCH_TIMEOUT_MS),
  'connections wait at the start for what a control plane has announced': seconds(COMPLETION_TIMEOUT_MS),
  'a listener waits for its clusters, a removed cluster for its listeners': seconds(ORDER_TIMEOUT_MS),
  "ports for connections from clients' addresses": `${SOURCE_PORT_COUNT.toLocaleString('en-US')} in each direction, odd ones: inbound below ${END_PORT.toLocaleString('en-US')}, outbound above`,
  'a connection whose ends are those of an upstream one': `${LOOP_RECHECK_MS} ms`,
  "a connection into a pod waits for the pod's workload": seconds(POD_WAIT_MS),
  'looks at the empty namespace of a pod': String(MAX_EMPTY_LOOKS),
  'an answer to istio-cni': seconds(ANSWER_LIMIT_MS),
  'a packet of istio-cni': `${MAX_PACKET_BYTES.toLocaleString('en-US')} bytes`,
  'pause before istio-cni is connected to anew': `${seconds(ZDS_BACKOFF.initialMs)}, doubling to ${seconds(ZDS_BACKOFF.maxMs)}`,
  'a worker lets go of a pod': seconds(RELEASE_DEADLINE_MS),
  'new connections go to the next agent before listeners close': seconds(HANDOVER_MS),
  'workload series of metrics': DEFAULT_MAX_SERIES.toLocaleString('en-US'),
}

t.test('docs/LIMITS.md has the values of the code', async (t) => {
  const text = readFileSync('docs/LIMITS.md', 'utf8')
  const rows = [...text.matchAll(/^\| (.+?) \| (.+?) \| .+? \| .+? \|$/gm)].filter(
    ([, name]) => name !== 'limit',
  )
  const documented = Object.fromEntries(rows.map(([, name, value]) => [name ?? '', value]))
  t.match(documented, EXPECTED)
  t.match(text, `${seconds(AMBIENT_SETTINGS.connectTimeoutMs)} in the ambient dialect`)
  t.match(text, `each is asked for again after ${seconds(ASK_AGAIN_MS)}`)
  const unchecked = Object.keys(documented).filter((name) => EXPECTED[name] === undefined)
  t.strictSame(unchecked, ['early data before the upstream is there'], 'node decides the size of a read')
})
