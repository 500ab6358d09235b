import t from 'tap'

import { DecodeReport, rootField } from '../../../src/xds-client/reading/message-reader.ts'
import { decodeAccessLogs } from '../../../src/xds-client/resources/access-log.ts'

function decode(inlineString: string) {
  const report = new DecodeReport()
  const log = {
    name: 'log',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog',
      log_format: { text_format_source: { inline_string: inlineString } },
    },
  }
  return { logs: decodeAccessLogs(rootField([log], report).list()), problems: report.problems }
}

t.test('takes a format whose command operators are known', async (t) => {
  const { logs, problems } = decode('%START_TIME% %UPSTREAM_HOST%\n')
  t.strictSame(problems, [])
  t.match(logs, [
    { target: { kind: 'stdout' }, format: { kind: 'text', template: '%START_TIME% %UPSTREAM_HOST%\n' } },
  ])
})

t.test('names the command operators that it does not know, at their place', async (t) => {
  t.match(decode('%START_TIME% %NO_SUCH_THING%\n').problems, [
    {
      severity: 'error',
      path: [0, 'typed_config', 'log_format', 'text_format_source', 'inline_string'],
      message: /%NO_SUCH_THING%.*remove them/,
    },
  ])
})
