/** The bench of pods with small numbers, and what it leaves. */
import { execFileSync } from 'node:child_process'

import t from 'tap'

import { measurePods } from '../../bench/pods-bench.ts'
import { missingForLab } from '../../bench/requirements.ts'
import { whyNoLinuxEngine } from '../fixtures/linux-engine.ts'

const SIZE = { pods: 4, present: 2, added: 3, failing: 2, comings: 8, restarted: 3, seconds: 0.3 }

const missing = (await missingForLab()) ?? (await whyNoLinuxEngine())
const skip = missing ?? false
if (missing !== undefined && process.env['TWINSTACK_TEST_NO_SKIP'] === '1') t.fail(missing)

/** What runs of this process have made and not removed. */
function namespacesLeft(): readonly string[] {
  const text = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
  return text.split('\n').filter((line) => line.startsWith(`tsb-${process.pid}-`))
}

t.test('agents are measured while pods come, fail, go and are captured', { skip }, async (t) => {
  const { signal } = new AbortController()
  const figures = await measurePods({ note: () => undefined, rounds: 1, signal }, SIZE)
  const valueOf = (part: string): number =>
    figures.find(({ title }) => title.includes(part))?.rounds[0] ?? NaN
  for (const { title, rounds } of figures) t.ok(Number.isFinite(rounds[0]), `${title}: ${rounds.join()}`)
  t.equal(Math.floor(valueOf('descriptors for each')), 7, 'a namespace, and three listeners of two families')
  t.equal(valueOf('threads more'), 0)
  t.ok(valueOf('add to ACK, p99') > 0)
  t.ok(valueOf('descriptors left') <= 0)
  t.ok(valueOf('threads left') <= 0)
  t.ok(valueOf('after kill -9') > 0)
  t.ok(valueOf('in the pod ÷ on the node') > 0)
  t.strictSame(namespacesLeft(), [])
})

t.test('an operator who has had enough finds no namespace left', { skip }, async (t) => {
  const aborted = new AbortController()
  const running = measurePods(
    {
      note: (text) => {
        // When all of them are there, and an agent is about to start.
        if (text.includes('round 1')) aborted.abort()
      },
      rounds: 1,
      signal: aborted.signal,
    },
    SIZE,
  )
  await t.rejects(running, { message: 'stopped' })
  t.strictSame(namespacesLeft(), [])
})
