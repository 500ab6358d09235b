/** The image of the DaemonSet without an engine that builds it: its stages are run, and the program in what comes out. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

import t from 'tap'

import { VERSION } from '../../src/agent/version.ts'
import { arrayOf } from '../fixtures/json.ts'
import { skipUnlessDualStack } from '../fixtures/loopback.ts'
import { buildStages, keptPaths, lastOf, parseStages } from './dockerfile.ts'
import { BASE, DOCKERFILE, NODE_CAPTURE, agentOf, objectIn, podOf, textAt } from './manifests.ts'

import type { Stage } from './dockerfile.ts'

const BUILD_TIMEOUT_MS = 300_000
t.setTimeout(BUILD_TIMEOUT_MS)

/** Without what the npm that runs the tests says of this package. */
const NPM_ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')))
const STAGES = parseStages(textAt(DOCKERFILE))

function stage(name: string): Stage {
  const found = STAGES.find((each) => each.name === name)
  if (found === undefined) throw new Error(`there is no stage ${name}`)
  return found
}

t.test(
  'the image starts the agent where it finds its token, and has the version of the program',
  async (t) => {
    const agent = stage('agent')
    t.equal(lastOf(agent, 'WORKDIR'), '/')
    t.equal(lastOf(agent, 'ENTRYPOINT'), '["/opt/twinstack/bin/twinstack"]')
    t.equal(lastOf(agent, 'CMD'), '["agent"]')
    t.ok(agent.instructions.some(({ name, text }) => name === 'ARG' && text === `VERSION=${VERSION}`))
    t.match(lastOf(agent, 'LABEL'), /org\.opencontainers\.image\.version="\$\{VERSION\}"/)
    t.strictSame(agentOf(objectIn(BASE, 'daemonset.yaml'))['args'], ['agent'])
  },
)

t.test('the image of the overlay has the programs that its script calls', async (t) => {
  const overlay = stage('node-capture')
  t.equal(overlay.base, 'agent')
  const packages = { nft: 'nftables', ip: 'iproute2' }
  for (const [program, name] of Object.entries(packages))
    t.match(lastOf(overlay, 'RUN'), new RegExp(` ${name}\\b`), program)
  const [capture] = arrayOf(podOf(objectIn(NODE_CAPTURE, 'daemonset.yaml')), 'initContainers')
  t.strictSame(capture?.['command'], ['/bin/sh', '/etc/twinstack/capture.sh', 'install'])
  execFileSync('/bin/sh', ['-n', `${NODE_CAPTURE}/capture.sh`])
})

t.test(
  'the stages make a tree in which the program runs by itself',
  { timeout: BUILD_TIMEOUT_MS },
  async (t) => {
    const asked = spawnSync('npm', ['view', '--fetch-retries=0', 'ipaddr.js', 'version'], { env: NPM_ENV })
    if (asked.status !== 0 && process.env['TWINSTACK_TEST_NO_SKIP'] !== '1') {
      t.plan(0, 'npm reaches no registry here')
      return
    }
    // Not below this folder, where a package that was forgotten would be found.
    const target = mkdtempSync(path.join(tmpdir(), 'twinstack-image-'))
    t.teardown(() => {
      rmSync(target, { recursive: true, force: true })
    })
    const root = buildStages(
      STAGES.filter(({ name }) => name !== 'node-capture'),
      {
        context: process.cwd(),
        kept: keptPaths(textAt('.dockerignore')),
        target,
        env: { ...NPM_ENV, npm_config_prefer_offline: 'true' },
      },
    )
    const program = path.join(root, 'opt/twinstack/bin/twinstack')
    // Nothing of the folder that the test runs in.
    const run = (...args: readonly string[]): string =>
      execFileSync(program, args, { cwd: root, env: { PATH: process.env['PATH'] }, encoding: 'utf8' })
    t.equal(run('version'), `twinstack ${VERSION}\n`)
    t.match(run('validate', '-c', 'opt/twinstack/examples/demo/twinstack.yaml'), /: fine: /)
    if ((await skipUnlessDualStack()) === false) t.match(run('demo', '--once'), /tcp-echo/)
    const modules = readdirSync(path.join(root, 'opt/twinstack/node_modules'))
    t.ok(modules.includes('koffi'))
    t.strictSame(
      modules.filter((name) => ['tap', 'typescript', 'eslint'].includes(name)),
      [],
      'what only a developer needs is left out',
    )
  },
)
