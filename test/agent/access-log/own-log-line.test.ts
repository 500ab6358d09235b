import fc from 'fast-check'
import t from 'tap'

import { OwnLineFormatter, quote } from '../../../src/agent/access-log/own-log-line.ts'
import { ipFromBytes } from '../../../src/core/address.ts'
import { CLOSE_REASONS } from '../../../src/proxy/close-reason.ts'
import { CLOSE_REASON_NAMES } from '../../../src/proxy/stats-slots.ts'
import {
  closedConnectionRecord,
  endpointOf,
  refusedConnectionRecord,
  workloadLabels,
} from '../../fixtures/connection-records.ts'

import type { ClosedConnectionRecord } from '../../../src/proxy/connection-record.ts'
import type { CloseReason } from '../../../src/proxy/close-reason.ts'

const LINK_LOCAL = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]

const plainLines = new OwnLineFormatter('plain')
const jsonLines = new OwnLineFormatter('json')

function plain(record: ClosedConnectionRecord): string {
  return plainLines.format(record, 0)
}

function json(record: ClosedConnectionRecord): string {
  return jsonLines.format(record, 0)
}

t.test('writes one line with both families, the attempts and the way the connection ended', async (t) => {
  t.equal(
    plain(closedConnectionRecord()),
    [
      '1970-01-01T00:00:00.000Z',
      'info',
      'access',
      'connection complete',
      [
        'src.addr=[fd00::1]:40000 src.workload="sleep" src.namespace="default" src.cluster="Kubernetes"',
        'dst.addr=10.0.0.2:9000 dst.service="echo.default.svc.cluster.local" dst.workload="echo"',
        'dst.namespace="default" dst.cluster="Kubernetes" direction="outbound" bytes_sent=10 bytes_recv=20',
        'duration="1235ms" connection=1 listener="web" dst.original=[fd00::99]:80 family="ipv6"',
        'upstream_family="ipv4" upstream="outbound|80||echo" endpoint="uid-echo" source=10.0.0.1:41000',
        'attempts="[fd00::2]:9000 refused 1ms, 10.0.0.2:9000 connected 1ms" fallback="ipv6 to ipv4: refused"',
        'close_reason="finished" response_flags="-"\n',
      ].join(' '),
    ].join('\t'),
  )
})

t.test('rule 9: says whether the source was preserved, where that was asked for', async (t) => {
  for (const isSourcePreserved of [true, false]) {
    const record = closedConnectionRecord()
    const asked = { ...record, upstream: { name: 'web', ...record.upstream, isSourcePreserved } }
    t.match(plain(asked), ` source_preserved=${String(isSourcePreserved)} `)
    t.match(JSON.parse(json(asked)), { source_preserved: isSourcePreserved })
  }
  t.notMatch(plain(closedConnectionRecord()), 'source_preserved')
})

t.test('writes the same as JSON', async (t) => {
  const line = json(closedConnectionRecord())
  t.match(JSON.parse(line), {
    level: 'info',
    time: '1970-01-01T00:00:00.000Z',
    scope: 'access',
    message: 'connection complete',
    'src.addr': '[fd00::1]:40000',
    bytes_sent: 10,
    family: 'ipv6',
    upstream_family: 'ipv4',
    close_reason: 'finished',
  })
  t.ok(line.endsWith('}\n'))
})

t.test('counts bytes from the point of view of the local application', async (t) => {
  const bytes = { downstreamReceived: 1, downstreamSent: 2, upstreamReceived: 3, upstreamSent: 4 }
  const line = (direction: 'inbound' | 'outbound') => plain(closedConnectionRecord({ direction, bytes }))
  t.match(line('outbound'), 'bytes_sent=1 bytes_recv=2')
  t.match(line('inbound'), 'bytes_sent=3 bytes_recv=4')
})

t.test(
  'is an error when the end was not expected, with the detail or the meaning of the reason',
  async (t) => {
    const failed = plain(refusedConnectionRecord())
    t.match(
      failed,
      /\terror\taccess\t.* error="No filter chain, service or workload matches the destination"/,
    )
    t.notMatch(failed, /upstream|attempts|fallback|dst\.addr/, 'what is absent is left out')
    const detailed = refusedConnectionRecord({ closeReason: 'policy_denied', detail: 'policy default/deny' })
    t.match(plain(detailed), 'error="policy default/deny"')
    t.match(plain(refusedConnectionRecord({ closeReason: 'downstream_gone' })), /\tinfo\t/)
  },
)

t.test('quotes as JSON does', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom('"', '\\', '\n', '\ud800', 'é') }),
  )
  fc.assert(fc.property(text, (value) => quote(value) === JSON.stringify(value)))
})

t.test('says the same in text and in JSON, whatever names a mesh has, one line each', async () => {
  const text = fc.oneof(
    fc.constant(''),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('a b', '"', '\n', '=\t'),
  )
  const parts = fc.record({
    source: text,
    target: text,
    hostname: text,
    listener: text,
    upstream: text,
    detail: fc.oneof(text, fc.constantFrom('', 'reset', 'timeout')),
    reason: fc.constantFrom(...CLOSE_REASON_NAMES),
    durationMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
  })
  fc.assert(
    fc.property(parts, ({ source, target, hostname, listener, upstream, detail, reason, durationMs }) => {
      const record = closedConnectionRecord({
        listener,
        detail,
        durationMs,
        closeReason: reason,
        labels: { source: workloadLabels(source), service: { hostname, namespace: '', name: '' } },
        upstream: {
          name: upstream,
          endpoint: endpointOf(workloadLabels(target), '10.0.0.2:9000'),
          local: { ip: ipFromBytes(LINK_LOCAL, 'eth"0'), port: 1 },
        },
      })
      const [line, jsonLine] = [plain(record), json(record)]
      const fields = parseFields(jsonLine)
      const expected = {
        'src.workload': source === '' ? undefined : source,
        'dst.workload': target === '' ? undefined : target,
        'dst.service': hostname === '' ? undefined : hostname,
        listener,
        upstream,
        endpoint: `uid-${target}`,
        source: '[fe80::1%eth"0]:1',
        duration: `${Math.round(durationMs)}ms`,
        close_reason: reason,
        error: expectedError(reason, detail),
      }
      const bare = new Set(['src.addr', 'dst.original', 'source'])
      const rebuilt = [...fields]
        .slice(4)
        .map(([key, value]) => `${key}=${bare.has(key) ? String(value) : JSON.stringify(value)}`)
        .join(' ')
      return (
        Object.entries(expected).every(([key, value]) => fields.get(key) === value) &&
        line ===
          `1970-01-01T00:00:00.000Z\t${String(fields.get('level'))}\taccess\tconnection complete\t${rebuilt}\n` &&
        [line, jsonLine].every((each) => each.indexOf('\n') === each.length - 1)
      )
    }),
  )
})

/** What went wrong; nothing where the end is an expected one and was RST or FIN. */
function expectedError(reason: CloseReason, detail: string): string | undefined {
  const { isExpected, meaning } = CLOSE_REASONS[reason]
  if (isExpected) return detail === '' || detail === 'reset' ? undefined : detail
  return detail === '' ? meaning : detail
}

function parseFields(text: string): ReadonlyMap<string, unknown> {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null) throw new TypeError(`${text} is no object`)
  return new Map(Object.entries(value))
}
