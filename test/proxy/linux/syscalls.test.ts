import t from 'tap'

import { errnoName, errorCodeOfErrno, loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'

const skip = (await whyNoLinuxEngine()) ?? false

t.test('says why another machine cannot run the engine', async (t) => {
  t.strictSame(await loadSyscalls({ platform: 'darwin', architecture: 'arm64' }), {
    ok: false,
    reason: 'not on darwin',
  })
  t.strictSame(await loadSyscalls({ platform: 'linux', architecture: 's390x' }), {
    ok: false,
    reason: 'not on s390x',
  })
})

t.test('a failed call leaves its number, which has a name and a code', { skip }, async (t) => {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const result = syscalls.listen(-1, 1)
  const errno = syscalls.errno()
  t.equal(result, -1)
  t.equal(errnoName(errno), 'EBADF')
  t.equal(errorCodeOfErrno(111), 'refused')
  t.equal(errnoName(99_999), 'errno 99999')
  t.equal(errorCodeOfErrno(99_999), 'internal')
})
