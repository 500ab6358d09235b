import t from 'tap'

import { AccessLogWriter } from '../../../src/agent/access-log/access-log.ts'
import { compileFormat } from '../../../src/agent/access-log/access-log-format.ts'
import { formatTime, IsoTimes } from '../../../src/agent/access-log/time-format.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { CONNECTION_OPERATORS } from '../../../src/mesh/access-log-operators.ts'
import { closedConnectionRecord, refusedConnectionRecord } from '../../fixtures/connection-records.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'

import type { AccessLogOptions } from '../../../src/agent/access-log/access-log-printer.ts'
import type { AccessLog } from '../../../src/mesh/listener.ts'

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
      '[fd00::2]:9000 outbound|80||echo 10.0.0.1:41000 10.0.0.2 - - - 1 "-" 0 [fd0 100%\n',
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
  const { attempts } = closedConnectionRecord()
  t.equal(format({ ...failed, attempts }), '[fd00::2]:9000 UF,URX 10.0.0.2:80_refused -')
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

t.test('formats times in ISO form, whatever time came before', async (t) => {
  const times = new IsoTimes()
  const table = [0, 7, 999, 1_000, 1_767_323_045_678, 1_767_323_045_000, 1_767_323_045_098, 59_999.9, -1]
  for (const timeMs of table) t.equal(times.format(timeMs), new Date(Math.floor(timeMs)).toISOString())
})

t.test('writes the keys of a JSON format as they are, in their order', async (t) => {
  const template = { 'a"b': '%CONNECTION_ID%', '': 'x"y', z: '%UPSTREAM_CLUSTER%' }
  const line = compileFormat({ kind: 'json', template })(closedConnectionRecord())
  t.equal(line, `${JSON.stringify({ 'a"b': 1, '': 'x"y', z: 'outbound|80||echo' })}\n`)
  t.equal(compileFormat({ kind: 'json', template: {} })(closedConnectionRecord()), '{}\n')
})

t.test('writes the lines of other threads, and counts those that they have dropped', async (t) => {
  const { log, texts } = bench({ target: { kind: 'stdout' }, format: 'plain' })
  const target = { kind: 'file', path: '/log' } as const
  log.writeLines({ target, text: '1\n2\n', lineCount: 2 })
  log.writeLines({ target, text: '3\n', lineCount: 1 })
  log.countDropped(4)
  t.strictSame(await texts(), { '/log': '1\n2\n3\n' })
  log.writeLines({ target, text: '5\n6\n', lineCount: 2 })
  t.equal(log.droppedLines, 6, 'lines after the close are dropped')
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
