/** Which engine carries connections, and what the operator is told when it is not the best one. */
import t from 'tap'

import { chooseEngine, logEngine } from '../../../src/agent/engine/engine-choice.ts'
import { FakeClock } from '../../fixtures/fake-clock.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { runProgram } from '../../fixtures/program.ts'

import type { EngineResult } from '../../../src/agent/engine/engine-choice.ts'
import type { EngineChoice } from '../../../src/agent/settings/settings-schema.ts'

const skip = (await whyNoLinuxEngine()) ?? false

const cannotLoad = () =>
  Promise.resolve({ ok: false, reason: 'koffi cannot be loaded: no such file' } as const)

function choose(choice: EngineChoice, loadLinux?: typeof cannotLoad): Promise<EngineResult> {
  return chooseEngine({ clock: new FakeClock() }, choice, loadLinux)
}

t.test('auto is the Linux engine where it loads, without a warning', { skip }, async (t) => {
  const chosen = await choose('auto')
  t.match(chosen, { ok: true, engine: { engine: 'linux' } })
  t.notOk('warning' in chosen)
})

t.test(
  'auto is the node engine where the other one does not load, with one warning that says why',
  async (t) => {
    t.match(await choose('auto', cannotLoad), {
      ok: true,
      engine: { engine: 'node' },
      warning: /the Linux engine is not possible \(koffi cannot be loaded: no such file\)/,
    })
  },
)

t.test('linux where it cannot be is refused', async (t) => {
  t.strictSame(await choose('linux', cannotLoad), {
    ok: false,
    reason: 'TWINSTACK_ENGINE=linux is not possible: koffi cannot be loaded: no such file',
  })
})

t.test('node is the node engine, whatever loads, and says what it cannot do', async (t) => {
  const chosen = await choose('node')
  if (!chosen.ok) throw new Error(chosen.reason)
  const lines: string[] = []
  logEngine({ isEnabled: () => true, log: (_, message) => lines.push(message) }, chosen.engine)
  t.equal(lines[0], 'connections are carried by the node engine')
  t.match(lines.join('\n'), /not available: transparentSource \(IP_TRANSPARENT: node:net has no access/)
})

t.test('a user timeout is refused where the engine cannot set it', async (t) => {
  const { code, stderr } = await runProgram(t, ['agent'], {
    env: {
      LOCAL_XDS: '{}',
      TWINSTACK_ENGINE: 'node',
      USER_TIMEOUT_ENABLED: 'true',
    },
  })
  t.equal(code, 1)
  t.match(stderr, /invalid env var USER_TIMEOUT_ENABLED=true \(TCP_USER_TIMEOUT: node:net has no access/)
})
