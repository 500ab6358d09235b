/** The command line as a shell sees it: output, error output and exit code of each command. */
import t from 'tap'

import { readFileSync } from 'node:fs'
import path from 'node:path'

import { DEMO_CONFIG_PATH } from '../../src/agent/demo/demo.ts'
import { renderSettingsHelp } from '../../src/agent/settings/settings-table.ts'
import { PACKAGE_ROOT } from '../../src/agent/version.ts'
import { bootstrapText, clusterOf, listenerOn, writeFile } from '../fixtures/envoy-files.ts'
import { runProgram } from '../fixtures/program.ts'

import type { ProgramOptions } from '../fixtures/program.ts'

/** What a command line has to come to; a pattern where the whole text is another test's. */
interface Expected {
  readonly code: number
  readonly stdout: string | RegExp
  readonly stderr: string | RegExp
}

const HELP =
  /^usage: twinstack COMMAND\n\n {2}agent .*\n {2}demo .*\n {2}validate .*\n {2}rules .*\n {2}version .*\n {2}help /
const SOURCES = 'set XDS_ADDRESS, LOCAL_XDS_PATH or LOCAL_XDS, or start with -c FILE'

const COMMANDS: readonly (readonly [args: string, expected: Expected, options?: ProgramOptions])[] = [
  ['', { code: 0, stdout: HELP, stderr: '' }],
  ['help', { code: 0, stdout: HELP, stderr: '' }],
  ['--help', { code: 0, stdout: HELP, stderr: '' }],
  ['-h', { code: 0, stdout: HELP, stderr: '' }],
  ['help settings', { code: 0, stdout: renderSettingsHelp(), stderr: '' }],
  ['version', { code: 0, stdout: /^twinstack \d+\.\d+\.\d+\n$/, stderr: '' }],
  ['--version', { code: 0, stdout: /^twinstack \d+\.\d+\.\d+\n$/, stderr: '' }],
  [
    'agent --help',
    {
      code: 0,
      stdout:
        /^usage: twinstack agent \[-c FILE\]\n.*-c.*LOCAL_XDS_PATH.*XDS_ADDRESS.*INPOD_ENABLED.*\n[^]* {2}-c, --config VALUE\n/,
      stderr: '',
    },
  ],
  ['demo --help', { code: 0, stdout: /^usage: twinstack demo \[--once\]\n[^]* {2}--once\n$/, stderr: '' }],
  ['validate -h', { code: 0, stdout: /^usage: twinstack validate -c FILE\n/, stderr: '' }],
  [
    'rules --help',
    {
      code: 0,
      stdout:
        /^usage: twinstack rules \[--mode inpod\|node\]\n[^]*\nflags:\n {2}--mode inpod\|node {2,}inpod /,
      stderr: '',
    },
  ],
  [
    'rules --backend nft',
    { code: 0, stdout: /^# backend nft: asked for\n[^]*\nadd rule inet istio-ambient-nat /, stderr: '' },
  ],
  ['rules --routes', { code: 0, stdout: /^# Policy routing[^]*\nset -e\n.* ip -4 rule add /, stderr: '' }],
  [
    'rules --mode node --dns --exclude-ports x',
    {
      code: 1,
      stdout: '',
      stderr:
        /^flag --dns is of --mode inpod [^]*\n--mode node needs --pod-cidrs [^]*\ninvalid flag --exclude-ports=x [^]*\ntwinstack rules: nothing printed, problems: 3\n$/,
    },
  ],
  ['proxy', { code: 1, stdout: '', stderr: "there is no command 'proxy'; `twinstack help` lists them\n" }],
  [
    // A name that every object has is no command.
    'constructor',
    { code: 1, stdout: '', stderr: "there is no command 'constructor'; `twinstack help` lists them\n" },
  ],
  [
    'agent --configg x',
    {
      code: 1,
      stdout: '',
      stderr: /^twinstack agent: Unknown option '--configg'.*\nusage: twinstack agent \[-c FILE\]\n$/,
    },
  ],
  ['version --loud', { code: 1, stdout: '', stderr: /^twinstack version: Unknown option '--loud'/ }],
  ['demo twice', { code: 1, stdout: '', stderr: /^twinstack demo: Unexpected argument 'twice'/ }],
  [
    'validate',
    {
      code: 1,
      stdout: '',
      stderr: 'twinstack validate: which file? write `twinstack validate -c FILE`\n',
    },
  ],
  [
    'agent',
    {
      code: 1,
      stdout: '',
      stderr: `nothing says where the configuration comes from (${SOURCES})\ntwinstack agent: not started, problems: 1\n`,
    },
  ],
  [
    'agent --attempt-delay-ms 5',
    {
      code: 1,
      stdout: '',
      stderr:
        /^nothing says where[^]*--attempt-delay-ms=5 [^]*TWINSTACK_IDLE_TIMEOUT=soon [^]*problems: 3\n$/,
    },
    { env: { TWINSTACK_IDLE_TIMEOUT: 'soon' } },
  ],
]

for (const [line, expected, options] of COMMANDS) {
  const env = Object.entries(options?.env ?? {}).map(([name, value]) => `${name}=${value} `)
  t.test(`\`${env.join('')}twinstack ${line}\` ends with ${expected.code}`, async (t) => {
    const result = await runProgram(t, line.split(' ').filter(Boolean), options)
    t.equal(result.code, expected.code)
    for (const stream of ['stdout', 'stderr'] as const) {
      const text = expected[stream]
      if (typeof text === 'string') t.equal(result[stream], text)
      else t.match(result[stream], text)
    }
  })
}

t.test('the version is that of the package', async (t) => {
  const manifest = readFileSync(path.join(PACKAGE_ROOT, 'package.json'), 'utf8')
  const { stdout } = await runProgram(t, ['version'])
  t.ok(manifest.includes(`"version": "${stdout.trim().replace('twinstack ', '')}"`))
})

t.test('validate says in one line that a file is fine, and what is in it', async (t) => {
  const { code, stdout, stderr } = await runProgram(t, ['validate', '-c', DEMO_CONFIG_PATH])
  t.equal(stderr, '')
  t.equal(stdout, `${DEMO_CONFIG_PATH}: fine: envoy, 6 listeners, 6 clusters\n`)
  t.equal(code, 0)
})

t.test('validate names every problem of a file and counts them', async (t) => {
  const text = bootstrapText(
    [listenerOn('web', [['127.0.0.1', 8080]], 'absent')],
    [clusterOf('web', [['fe80::1', 80]]), clusterOf('web', [['10.0.0.1', 80]])],
  )
  const file = writeFile(t.testdir(), 'bad.json', text)
  const { code, stdout, stderr } = await runProgram(t, ['validate', '--config', file])
  t.equal(stdout, '')
  const lines = stderr.trimEnd().split('\n')
  t.equal(lines.pop(), `${file}: refused: 3 errors`)
  for (const line of lines) t.match(line, /^\/.*bad\.json:\d+:\d+: error: static_resources\./)
  t.match(stderr, /there is no cluster 'absent'/)
  t.match(stderr, /fe80::1 is link-local/)
  t.match(stderr, /there is a cluster 'web' already/)
  t.equal(code, 1)
})

t.test('validate prints warnings of a file that is fine', async (t) => {
  const text = bootstrapText(
    [listenerOn('web', [['127.0.0.1', 8080]], 'web')],
    [clusterOf('web', [['::ffff:10.0.0.1', 80]])],
  )
  const file = writeFile(t.testdir(), 'warned.json', text)
  const { code, stdout, stderr } = await runProgram(t, ['validate', '-c', file])
  t.match(
    stderr,
    /^.*warned\.json:\d+:\d+: warning: .*'::ffff:10\.0\.0\.1' is IPv4 and is used as 10\.0\.0\.1/,
  )
  t.equal(stdout, `${file}: fine: envoy, 1 listener, 1 cluster\n`)
  t.equal(code, 0)
})

t.test('an agent reports what is wrong with its settings and with its file together', async (t) => {
  const text = bootstrapText(
    [listenerOn('web', [['127.0.0.1', 8080]], 'absent')],
    [clusterOf('web', [['fe80::1', 80]])],
  )
  const file = writeFile(t.testdir(), 'bad.json', text)
  const env = { TWINSTACK_FAMILY_POLICY: 'both', TWINSTACK_ATTEMPT_DELAY_MS: '9' }
  const { code, stderr } = await runProgram(t, ['agent', '-c', file], { env })
  t.match(stderr, 'TWINSTACK_FAMILY_POLICY')
  t.match(stderr, 'TWINSTACK_ATTEMPT_DELAY_MS')
  t.match(stderr, "there is no cluster 'absent'")
  t.match(stderr, 'fe80::1 is link-local')
  t.match(stderr, /not started, problems: 4\n$/)
  t.equal(code, 1)
})

t.test('an agent whose file is not there does not start', async (t) => {
  const missing = path.join(t.testdir(), 'missing.yaml')
  for (const [args, env] of [
    [['-c', missing], {}],
    [[], { LOCAL_XDS_PATH: missing }],
  ] as const) {
    const { code, stderr } = await runProgram(t, ['agent', ...args], { env })
    t.equal(
      stderr,
      `${missing}: error: cannot be read: there is no such file; check the path\ntwinstack agent: not started, problems: 1\n`,
    )
    t.equal(code, 1)
  }
})
