import t from 'tap'

import {
  CONNECTION_OPERATORS,
  parseAccessLogTemplate,
  unknownOperators,
} from '../../src/mesh/access-log-operators.ts'

t.test('takes a template apart into text and operators', async (t) => {
  t.strictSame(parseAccessLogTemplate('[%START_TIME(%Y-%m)%] 100%% %UPSTREAM_HOST:5% %REQ(:METHOD)%\n'), [
    { kind: 'text', text: '[' },
    { kind: 'operator', name: 'START_TIME', argument: '%Y-%m' },
    { kind: 'text', text: '] 100% ' },
    { kind: 'operator', name: 'UPSTREAM_HOST', maxLength: 5 },
    { kind: 'text', text: ' ' },
    { kind: 'operator', name: undefined, argument: ':METHOD' },
    { kind: 'text', text: '\n' },
  ])
  t.strictSame(parseAccessLogTemplate(''), [])
})

t.test('knows every operator of the TCP access log that Istio sends', async (t) => {
  const istio =
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ' +
    '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ' +
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% ' +
    '%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ' +
    '%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n'
  t.strictSame(unknownOperators(istio), [])
  t.strictSame(
    CONNECTION_OPERATORS.flatMap((name) => unknownOperators(`%${name}%`)),
    [],
  )
})

const UNKNOWN = [
  { template: '%NO_SUCH% and %NO_SUCH%', unknown: ['%NO_SUCH%'] },
  { template: '%FILTER_STATE(x)%', unknown: ['%FILTER_STATE%'] },
  { template: '50% done', unknown: ['%'] },
  { template: '%DURATION', unknown: ['%'] },
  { template: '%DURATION(x)%', unknown: ['%DURATION(x)%'] },
  { template: '%REQ%', unknown: ['%REQ%'] },
  { template: '%START_TIME(%Q)%', unknown: ['%START_TIME(%Q)%'] },
  { template: '%START_TIME(%s.%3f)% %START_TIME(%%)%', unknown: [] },
]
for (const { template, unknown } of UNKNOWN) {
  t.test(`finds ${unknown.join() || 'nothing'} unknown in '${template}'`, async (t) => {
    t.strictSame(unknownOperators(template), unknown)
  })
}
