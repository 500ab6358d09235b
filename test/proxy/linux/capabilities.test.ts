import t from 'tap'

import { probeCapabilities } from '../../../src/proxy/linux/capabilities.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'

import type { Syscalls } from '../../../src/proxy/linux/syscalls.ts'

const skip = (await whyNoLinuxEngine()) ?? false
const EPERM = 1

t.test('a refused option is not available, with the privilege that it needs', { skip }, async (t) => {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  // Root is refused nothing, so the refusal is made here.
  const unprivileged: Syscalls = { ...loaded.syscalls, setsockopt: () => -1, errno: () => EPERM }
  t.strictSame(probeCapabilities(unprivileged).packetMark, {
    isAvailable: false,
    reason: 'SO_MARK: EPERM; it needs CAP_NET_ADMIN',
  })
  t.match(probeCapabilities(unprivileged).transparentSource, { isAvailable: false, reason: /CAP_NET_RAW/ })
})

t.test('one family is enough, and none is said', { skip }, async (t) => {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const withoutIpv4: Syscalls = {
    ...syscalls,
    socket: (family, type, protocol) => (family === 2 ? -1 : syscalls.socket(family, type, protocol)),
  }
  t.strictSame(probeCapabilities(withoutIpv4).userTimeout, { isAvailable: true })
  t.match(probeCapabilities({ ...syscalls, socket: () => -1 }).userTimeout, {
    isAvailable: false,
    reason: 'TCP_USER_TIMEOUT: this machine has neither family',
  })
})
