/** The capabilities of the DaemonSet are enough for all that the engine needs, and each of them is needed. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'

import t from 'tap'

import { requireNamespaces } from '../fixtures/namespaces.ts'
import { BASE, capabilitiesIn } from './manifests.ts'

/** The modules that the test was built with. */
const LINUX_ENGINE = path.resolve(import.meta.dirname, '../../src/proxy/linux')
const PROBE = `
  import { loadSyscalls } from '${LINUX_ENGINE}/syscalls.js'
  import { probeCapabilities } from '${LINUX_ENGINE}/capabilities.js'
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const found = Object.entries(probeCapabilities(loaded.syscalls))
  console.log(found.filter(([, { isAvailable }]) => !isAvailable).map(([name]) => name).join(' '))
`

/** What a process of root cannot do with some capabilities alone. */
function missingWith(capabilities: readonly string[]): readonly string[] {
  const set = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(',')
  const program = [process.execPath, '--input-type=module', '--eval', PROBE]
  const args = [`--bounding-set=${set}`, `--inh-caps=${set}`, '--reset-env', ...program]
  const missing = execFileSync('setpriv', args, { encoding: 'utf8' }).trim()
  return missing === '' ? [] : missing.split(' ').sort()
}

if (requireNamespaces(t)) {
  const given = capabilitiesIn(BASE, 'daemonset.yaml').map(({ name }) => name)

  t.test('nothing is missing with the capabilities of the DaemonSet', async (t) => {
    t.strictSame(missingWith(given), [])
  })

  t.test('something is missing without any one of them', async (t) => {
    const lost = { NET_ADMIN: ['packetMark', 'transparentSource'], SYS_ADMIN: ['networkNamespaces'] }
    t.strictSame(Object.keys(lost), given)
    for (const [name, missing] of Object.entries(lost)) {
      t.strictSame(missingWith(given.filter((each) => each !== name)), missing, name)
    }
  })
}
