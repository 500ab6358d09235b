import t from 'tap'

import { readSettings } from '../../src/agent/settings/settings.ts'
import { startNotices } from '../../src/agent/start-notices.ts'

import type { Dialect } from '../../src/agent/source/mesh-file.ts'

/** The variables that a start in these settings warns of, or the first words where there is none. */
function warningsOf(env: Readonly<Record<string, string>>, dialect: Dialect = 'ambient'): readonly string[] {
  const read = readSettings({ env: { LOCAL_XDS: '{}', ...env } })
  if (!read.ok) throw new Error(read.problems.map(({ message }) => message).join('; '))
  return startNotices(read.value, dialect, [])
    .filter(({ level }) => level === 'warn')
    .map(({ text }) => /\b(?:[A-Z]+_)+[A-Z]+\b/.exec(text)?.[0] ?? text.slice(0, 13))
}

t.test(
  'rules 10, 15: whose policies are not asked, or by whom, where connections are captured on the node',
  (t) => {
    t.strictSame(warningsOf({}), ['NODE_NAME', 'ENABLE_ORIG_SRC'])
    t.strictSame(warningsOf({ NODE_NAME: 'node-a' }), ['ENABLE_ORIG_SRC'])
    t.strictSame(warningsOf({ NODE_NAME: 'node-a', ENABLE_ORIG_SRC: 'true' }), [])
    t.strictSame(warningsOf({ INPOD_ENABLED: 'true' }), ['DNS is not se'], 'not within pods')
    t.strictSame(warningsOf({}, 'envoy'), [], 'nor where a sidecar has the configuration')
    t.end()
  },
)

t.test('what is permitted and what has no effect is said', (t) => {
  t.ok(warningsOf({ TWINSTACK_ALLOW_PLAINTEXT: '*' }, 'envoy').includes('TWINSTACK_ALLOW_PLAINTEXT'))
  const read = readSettings({ env: { LOCAL_XDS: '{}' } })
  if (!read.ok) throw new Error('these are valid')
  t.strictSame(startNotices(read.value, 'envoy', ['http_filters', 'tls_context']), [
    { level: 'info', text: 'fields without effect on a TCP proxy: http_filters, tls_context' },
  ])
  t.end()
})
