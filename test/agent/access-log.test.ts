import t from 'tap'

import { AccessLogWriter } from '../../src/agent/access-log.ts'
import { compileFormat, formatOwnLine } from '../../src/agent/access-log-format.ts'
import { formatTime } from '../../src/agent/time-format.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { CONNECTION_OPERATORS } from '../../src/mesh/access-log-operators.ts'
import { closedConnectionRecord, refusedConnectionRecord } from '../fixtures/connection-records.ts'
import { FakeClock } from '../fixtures/fake-clock.ts'

import type { AccessLogOptions } from '../../src/agent/access-log.ts'
import type { AccessLog } from '../../src/mesh/listener.ts'

const PLAIN = { format: 'plain', timeMs: 0 } as const

function bench(options: AccessLogOptions): {
  readonly log: AccessLogWriter
  readonly texts: () => Promise<Readonly<Record<string, string>>>
} {
  const texts: Record<string, string> = {}
  const open = async (target: AccessLog['target']) => ({
    write: async (bytes: Uint8Array) => {
      const name = target.kind === 'file' ? target.path : target.kind
      texts[name] = (texts[name] ?? '') + Buffer.from(bytes).toString()
      return bytes.length
    },
    close: async () => undefined,
  })
  const log = new AccessLogWriter({ clock: new FakeClock(), logger: silentLogger, open }, options)
  return {
    log,
    texts: async () => {
      await log.close()
      return texts
    },
  }
}

t.test('writes one line with both families, the attempts and the way the connection ended', async (t) => {
  t.equal(
    formatOwnLine(closedConnectionRecord(), PLAIN),
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

t.test('writes the same as JSON', async (t) => {
  const line = formatOwnLine(closedConnectionRecord(), { format: 'json', timeMs: 0 })
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
  const line = (direction: 'inbound' | 'outbound') =>
    formatOwnLine(closedConnectionRecord({ direction, bytes }), PLAIN)
  t.match(line('outbound'), 'bytes_sent=1 bytes_recv=2')
  t.match(line('inbound'), 'bytes_sent=3 bytes_recv=4')
})

t.test(
  'is an error when the end was not expected, with the detail or the meaning of the reason',
  async (t) => {
    const failed = formatOwnLine(refusedConnectionRecord(), PLAIN)
    t.match(
      failed,
      /\terror\taccess\t.* error="No filter chain, service or workload matches the destination"/,
    )
    t.notMatch(failed, /upstream|attempts|fallback|dst\.addr/, 'what is absent is left out')
    const detailed = refusedConnectionRecord({ closeReason: 'policy_denied', detail: 'policy default/deny' })
    t.match(formatOwnLine(detailed, PLAIN), 'error="policy default/deny"')
    t.match(formatOwnLine(refusedConnectionRecord({ closeReason: 'downstream_gone' }), PLAIN), /\tinfo\t/)
  },
)

t.test("prints Envoy's templates, with - for what does not apply", async (t) => {
  const template =
    '[%START_TIME%] %DURATION% %BYTES_RECEIVED%/%BYTES_SENT% %PROTOCOL% %DOWNSTREAM_REMOTE_ADDRESS% ' +
    '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ' +
    '%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% ' +
    '%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_ID% ' +
    '"%REQ(:METHOD)%" %RESPONSE_CODE% %UPSTREAM_HOST:4% 100%%\n'
  t.equal(
    compileFormat({ kind: 'text', template })(closedConnectionRecord()),
    '[2026-01-02T03:04:05.678Z] 1235 10/20 - [fd00::1]:40000 fd00::1 [fd00::1]:40000 [fd00::99]:80 ' +
      '10.0.0.2:9000 outbound|80||echo 10.0.0.1:41000 10.0.0.2 - - - 1 "-" 0 10.0 100%\n',
  )
})

t.test('says why a connection has no upstream, in one word', async (t) => {
  const format = compileFormat({
    kind: 'text',
    template:
      '%UPSTREAM_HOST% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%',
  })
  const failed = refusedConnectionRecord({ closeReason: 'upstream_refused', detail: '10.0.0.2:80 refused' })
  t.equal(format(failed), '- UF,URX 10.0.0.2:80_refused -')
  const denied = refusedConnectionRecord({ closeReason: 'policy_denied', detail: 'policy default/deny' })
  t.equal(format(denied), '- RBAC - policy_default/deny')
})

t.test('keeps the type of a lone operator in JSON, null without a value', async (t) => {
  const format = compileFormat({
    kind: 'json',
    template: {
      ms: '%DURATION%',
      host: '%UPSTREAM_HOST%',
      method: '%REQ(:METHOD)%',
      both: '%CONNECTION_ID%-%PROTOCOL%',
    },
  })
  const line = format(refusedConnectionRecord())
  t.strictSame(JSON.parse(line), { ms: 0, host: null, method: null, both: '1--' })
  t.ok(line.endsWith('\n'))
})

t.test('prints something for every operator that it knows', async (t) => {
  const record = closedConnectionRecord({ detail: 'x' })
  const isFailure = new Set(['UPSTREAM_TRANSPORT_FAILURE_REASON', 'RESPONSE_FLAGS'])
  for (const name of CONNECTION_OPERATORS) {
    const text = compileFormat({ kind: 'text', template: `%${name}%` })(record)
    t.equal(text === '-', isFailure.has(name), `${name}: ${text}`)
  }
})

t.test('formats times by a pattern', async (t) => {
  const timeMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
  const table = {
    '%Y-%m-%dT%H:%M:%S.%3fZ': '2026-01-02T03:04:05.678Z',
    '%F %T %z %Z %e': '2026-01-02 03:04:05 +0000 UTC  2',
    '%s.%6f %f %%': '1767323045.678000 678000000 %',
  }
  for (const [pattern, text] of Object.entries(table)) t.equal(formatTime(timeMs, pattern), text)
})

t.test('writes the own log and those of the listener, each to its file', async (t) => {
  const { log, texts } = bench({ target: { kind: 'stdout' }, format: 'plain' })
  const envoy: AccessLog = {
    target: { kind: 'file', path: '/log' },
    format: { kind: 'text', template: '%CONNECTION_ID%\n' },
  }
  log.closed(closedConnectionRecord({ accessLogs: [envoy, { target: { kind: 'stderr' } }] }))
  log.closed(closedConnectionRecord({ id: 2, accessLogs: [envoy] }))
  const written = await texts()
  t.equal(written['/log'], '1\n2\n')
  t.equal(written['stdout']?.split('\n').length, 3)
  t.match(written['stderr'], /^2026-.*connection complete/)
})

t.test('does not write its own line twice to the same place', async (t) => {
  const { log, texts } = bench({ target: { kind: 'stdout' }, format: 'plain' })
  log.closed(closedConnectionRecord({ accessLogs: [{ target: { kind: 'stdout' } }] }))
  t.equal((await texts())['stdout']?.split('\n').length, 2)
})

t.test('writes what a listener asks for even when the own log is off', async (t) => {
  const { log, texts } = bench({ target: { kind: 'off' }, format: 'plain' })
  log.closed(closedConnectionRecord())
  log.closed(closedConnectionRecord({ accessLogs: [{ target: { kind: 'stdout' } }] }))
  t.strictSame(Object.keys(await texts()), ['stdout'])
  t.equal(log.droppedLines, 0)
})
