import { closeSync, fstatSync, openSync, readlinkSync } from 'node:fs'

import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import {
  AF_INET,
  AF_INET6,
  CLONE_NEWNET,
  SOCK_CLOEXEC,
  SOCK_STREAM,
} from '../../../src/proxy/linux/constants.ts'
import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { NamespaceVisitor } from '../../../src/proxy/linux/namespace-visitor.ts'
import { Sockaddr } from '../../../src/proxy/linux/sockaddr.ts'
import { errnoName, loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { requireNamespaces } from '../../fixtures/namespaces.ts'
import { createPodNamespace } from '../../fixtures/pod-namespace.ts'

import type { Test } from 'tap'
import type { Syscalls } from '../../../src/proxy/linux/syscalls.ts'

const STREAM = SOCK_STREAM | SOCK_CLOEXEC
const ADDRESSES = ['10.244.0.2:0', '[fd00:10:244::2]:0'].map(parseSocketAddress)

/** The network namespace of this thread. */
function here(): string {
  return readlinkSync('/proc/thread-self/ns/net')
}

async function start(t: Test, wrap: (syscalls: Syscalls) => Syscalls = (syscalls) => syscalls) {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const syscalls = wrap(loaded.syscalls)
  const descriptors = new DescriptorTable({ syscalls }, { memory: new ArrayBuffer(65_536), owner: 0 })
  const visitor = new NamespaceVisitor({ syscalls, descriptors })
  const pod = createPodNamespace(t, 'pod', ['10.244.0.2/24', 'fd00:10:244::2/64'])
  t.teardown(() => {
    visitor.close()
    visitor.close()
    if (descriptors.count > 0) throw new Error(`${descriptors.count} descriptors are left`)
  })
  return { syscalls, descriptors, visitor, pod }
}

const reason = await whyNoLinuxEngine()
if (reason !== undefined) t.plan(0, reason)
else if (requireNamespaces(t)) {
  t.test('a socket that is made in a namespace is there, and the thread is back', async (t) => {
    const { syscalls, descriptors, visitor, pod } = await start(t)
    const home = here()
    t.equal(visitor.whyNot(), undefined)
    const sockaddr = new Sockaddr({ syscalls })
    for (const address of ADDRESSES) {
      const domain = address.ip.family === 'ipv4' ? AF_INET : AF_INET6
      const there = descriptors.opened(visitor.socket(pod, domain, STREAM))
      t.equal(here(), home)
      t.equal(
        syscalls.bind(there, sockaddr.address, sockaddr.write(address)),
        0,
        'it has the addresses there',
      )
      const local = descriptors.opened(syscalls.socket(domain, STREAM, 0))
      t.equal(syscalls.bind(local, sockaddr.address, sockaddr.write(address)), -1)
      t.equal(errnoName(syscalls.errno()), 'EADDRNOTAVAIL', 'and the next one of the thread is at home')
      descriptors.close(there)
      descriptors.close(local)
    }
  })

  t.test('work runs there, and what it throws comes out at home', async (t) => {
    const { visitor, pod } = await start(t)
    const home = here()
    const there = visitor.visit(pod, here)
    t.not(there, home)
    t.equal(there, `net:[${fstatSync(pod.fd).ino}]`)
    t.throws(
      () =>
        visitor.visit(pod, () => {
          throw new TypeError('a defect')
        }),
      TypeError,
    )
    t.equal(here(), home)
  })

  t.test('a bad descriptor fails with its errno, and the thread has not moved', async (t) => {
    const { syscalls, visitor } = await start(t)
    const home = here()
    const file = openSync('/dev/null', 'r')
    for (const [fd, errno] of [
      [file, 'EINVAL'],
      [60_000, 'EBADF'],
      [-1, 'EBADF'],
    ] as const) {
      t.equal(visitor.socket({ fd }, AF_INET, STREAM), -1)
      t.equal(errnoName(syscalls.errno()), errno)
      let hasRun = false
      t.equal(
        visitor.visit({ fd }, () => {
          hasRun = true
        }),
        undefined,
      )
      t.notOk(hasRun)
      t.equal(here(), home)
    }
    closeSync(file)
  })

  t.test('a socket that cannot be made fails with its errno, and the thread is back', async (t) => {
    const { syscalls, visitor, pod } = await start(t)
    const home = here()
    t.equal(visitor.socket(pod, 9_999, STREAM), -1)
    t.equal(errnoName(syscalls.errno()), 'EAFNOSUPPORT', 'the way home does not hide it')
    t.equal(here(), home)
  })

  t.test('a thread that is lost in a pod says so and does nothing more', async (t) => {
    const home = openSync('/proc/thread-self/ns/net', 'r')
    let calls = 0
    const { syscalls, visitor, pod } = await start(t, (real) => ({
      ...real,
      setns: (fd, type) => (++calls === 2 ? real.setns(-1, type) : real.setns(fd, type)),
    }))
    try {
      t.throws(() => visitor.visit(pod, () => 1), /cannot leave a pod's network namespace: EBADF/)
    } finally {
      syscalls.setns(home, CLONE_NEWNET)
      closeSync(home)
    }
  })
}
