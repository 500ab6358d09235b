/** Holds docs/LIMITS.md equal to the code: each row's value comes from the constant that decides it. */
import { readFileSync } from 'node:fs'

import t from 'tap'

import { DEFAULT_MAX_LINES } from '../src/agent/line-writer.ts'
import { POLL_INTERVAL_MS } from '../src/agent/mesh-file-source.ts'
import { DEFAULT_MAX_SERIES } from '../src/agent/workload-metrics.ts'
import { AMBIENT_SETTINGS } from '../src/mesh/ambient-router.ts'
import { DEFAULT_UPSTREAM_SETTINGS } from '../src/mesh/upstream.ts'
import { REFUSE_AT_SHARE } from '../src/proxy/descriptor-budget.ts'
import { DEFAULT_INITIAL_MS, DEFAULT_MAX_MS } from '../src/proxy/endpoint-health.ts'
import { ABSENT_PROBE_MS, FAILED_BACKOFF } from '../src/proxy/listener-set.ts'
import { DEFAULT_BACKLOG, DEFAULT_CONNECTION_OPTIONS, SWEEP_INTERVAL_MS } from '../src/proxy/proxy.ts'

const seconds = (ms: number): string => `${ms / 1_000} s`
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
  'access log lines waiting to be written': DEFAULT_MAX_LINES.toLocaleString('en-US'),
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
  const unchecked = Object.keys(documented).filter((name) => EXPECTED[name] === undefined)
  t.strictSame(unchecked, ['early data before the upstream is there'], 'node decides the size of a read')
})
