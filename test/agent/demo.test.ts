/** `twinstack demo` as a shell sees it. Its ports are fixed: no other test file may use them. */
import t from 'tap'

import { DEMO_SERVICES } from '../../src/agent/demo/calls.ts'
import { skipUnlessDualStack } from '../fixtures/loopback.ts'
import { runProgram, startProgram } from '../fixtures/program.ts'
import { holdOpen, listenTcp } from '../fixtures/tcp-servers.ts'

const skip = await skipUnlessDualStack()

const TABLE = `\
client  service              answer            upstream  why
------  -------------------  ----------------  --------  -------------------------------------------------
ipv4    tcp-echo.dual-stack  hello dual-stack  ipv4      native
ipv6    tcp-echo.dual-stack  hello dual-stack  ipv6      native
ipv4    tcp-echo.ipv4        hello ipv4        ipv4      native
ipv6    tcp-echo.ipv4        hello ipv4        ipv4      only family of the service
ipv4    tcp-echo.ipv6        hello ipv6        ipv6      only family of the service
ipv6    tcp-echo.ipv6        hello ipv6        ipv6      native
ipv4    tcp-echo.binds-ipv4  hello binds-ipv4  ipv4      native
ipv6    tcp-echo.binds-ipv4  hello binds-ipv4  ipv4      fallback: the application does not listen on ipv6
ipv4    tcp-echo.binds-ipv6  hello binds-ipv6  ipv6      fallback: the application does not listen on ipv4
ipv6    tcp-echo.binds-ipv6  hello binds-ipv6  ipv6      native

`

t.test('rules 5 and 6: the demo makes every call over both families', { skip }, async (t) => {
  const { code, stdout, stderr } = await runProgram(t, ['demo', '--once'])
  t.equal(stdout, TABLE)
  t.equal(stderr, '')
  t.equal(code, 0)
})

t.test('what the shell has set for an agent does not change the demo', { skip }, async (t) => {
  const env = { TWINSTACK_FAMILY_POLICY: 'ipv6-first', ISTIO_DUAL_STACK: 'false', LOCAL_XDS_PATH: '/none' }
  const { code, stdout } = await runProgram(t, ['demo', '--once'], { env })
  t.equal(stdout, TABLE)
  t.equal(code, 0)
})

t.test('without --once the demo stays until it is stopped', { skip }, async (t) => {
  const program = startProgram(t, ['demo'])
  await program.printed('Ctrl-C ends the demo')
  t.ok(program.stdout.startsWith(TABLE))
  program.signal('SIGINT')
  t.strictSame(await program.exit, { code: 0, signal: null })
})

t.test('a taken port of an application is named, with the way to its owner', async (t) => {
  const [, service] = DEMO_SERVICES
  const port = service?.appPort ?? 0
  const occupier = await listenTcp('127.0.0.1', holdOpen, port)
  t.teardown(() => occupier.close())
  const { code, stdout, stderr } = await runProgram(t, ['demo', '--once'])
  t.equal(stdout, '')
  t.match(stderr, `port ${port} is taken`)
  t.match(stderr, `ss -ltnp 'sport = :${port}'`)
  t.equal(code, 1)
})

t.test('rule 2: a taken port of a listener is named and the other calls are made', { skip }, async (t) => {
  const [service] = DEMO_SERVICES
  const port = service?.listenPort ?? 0
  const occupier = await listenTcp('127.0.0.1', (socket) => socket.end('mine\n'), port)
  t.teardown(() => occupier.close())
  const { code, stdout } = await runProgram(t, ['demo', '--once'])
  const [header, rule, first, ...others] = stdout.split('\n')
  const expected = TABLE.split('\n')
  t.equal(header?.trimEnd().startsWith('client  service'), true)
  t.match(rule, /^-+ /)
  t.match(first, /^ipv4 +tcp-echo\.dual-stack +mine .* UNEXPECTED: the proxy has no record of it/)
  t.strictSame(
    others.slice(0, 9).map((line) => line.replace(/ {2,}/g, '  ')),
    expected.slice(3, 12).map((line) => line.replace(/ {2,}/g, '  ')),
  )
  t.match(
    stdout,
    `listener tcp-echo.dual-stack is not bound and tried again: cannot listen on 127.0.0.1:${port}: EADDRINUSE`,
  )
  t.equal(code, 1)
})
