import os from 'node:os'

import t from 'tap'

import { parseSocketAddress } from '../../../src/core/address.ts'
import { DescriptorTable } from '../../../src/proxy/linux/descriptor-table.ts'
import { AF_INET, AF_INET6, SOCK_STREAM } from '../../../src/proxy/linux/constants.ts'
import { openInNamespace, yieldInNamespace } from '../../../src/proxy/linux/namespace-sockets.ts'
import { NamespaceVisitor } from '../../../src/proxy/linux/namespace-visitor.ts'
import { Sockaddr } from '../../../src/proxy/linux/sockaddr.ts'
import { SocketOptions } from '../../../src/proxy/linux/socket-options.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'
import { requireNamespaces } from '../../fixtures/namespaces.ts'
import { createPodNamespace } from '../../fixtures/pod-namespace.ts'

import type { Test } from 'tap'
import type { OpenedNamespace, WantedSocket, YieldingSocket } from '../../../src/proxy/pods/pod-sockets.ts'

const DUAL = ['10.244.0.2/24', 'fd00:10:244::2/64']

function wanted(reusePort: boolean, port = 15_001): readonly WantedSocket[] {
  return ['0.0.0.0', '[::]'].map((ip) => ({
    address: { address: parseSocketAddress(`${ip}:${port}`), socketOptions: [] },
    options: { backlog: 16, keepalive: {} },
    reusePort,
  }))
}

/** What is opened is closed with the test. */
async function start(t: Test) {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { syscalls } = loaded
  const memory = new ArrayBuffer(65_536)
  const descriptors = new DescriptorTable({ syscalls }, { memory, owner: 0 })
  const visitor = new NamespaceVisitor({ syscalls, descriptors })
  const options = new SocketOptions({ syscalls })
  t.teardown(() => {
    descriptors.closeOwnedBy(0)
  })
  const look = (fd: number, reusePort = true, interfaces = os.networkInterfaces) =>
    openInNamespace({ syscalls, descriptors, visitor, options, interfaces }, fd, wanted(reusePort))
  const open = (fd: number, reusePort = true): OpenedNamespace => {
    const opened = look(fd, reusePort)
    if (!opened.ok) throw new Error(opened.problem)
    return opened.value
  }
  /** So many listeners of each family on other ports. */
  const openMany = (fd: number, count: number): void => {
    const others = Array.from({ length: count }, () => wanted(false, 0)).flat()
    const opened = openInNamespace({ syscalls, descriptors, visitor, options }, fd, others)
    t.ok(opened.ok)
  }
  const yieldAll = (fd: number, sockets: readonly YieldingSocket[]): void => {
    yieldInNamespace({ syscalls, descriptors, visitor, options }, fd, sockets)
  }
  /** Connects so often over each family from within, and says how many each of the listeners has been given. */
  const connect = (
    fd: number,
    count: number,
    listeners: readonly (readonly YieldingSocket[])[],
  ): readonly number[] => {
    const sockaddr = new Sockaddr({ syscalls })
    for (const text of ['127.0.0.1:15001', '[::1]:15001']) {
      const to = parseSocketAddress(text)
      for (let made = 0; made < count; made++) {
        const client = visitor.socket({ fd }, to.ip.family === 'ipv4' ? AF_INET : AF_INET6, SOCK_STREAM)
        descriptors.opened(client)
        t.equal(syscalls.connect(client, sockaddr.address, sockaddr.write(to)), 0, text)
      }
    }
    return listeners.map((sockets) => {
      let accepted = 0
      for (const { fd: listening } of sockets) {
        for (;;) {
          const server = syscalls.accept4(listening, sockaddr.address, sockaddr.lengthAddress, 0)
          if (server < 0) break
          descriptors.opened(server)
          accepted++
        }
      }
      return accepted
    })
  }
  return { descriptors, look, open, openMany, yieldAll, connect }
}

function boundSockets({ sockets }: OpenedNamespace): readonly YieldingSocket[] {
  return sockets.flatMap((socket, at) => {
    const address = wanted(true)[at]?.address.address
    return socket.kind === 'bound' && address !== undefined ? [{ ...socket, address }] : []
  })
}

function kinds({ sockets }: OpenedNamespace): readonly string[] {
  return sockets.map((socket) => (socket.kind === 'failed' ? `failed ${socket.code}` : socket.kind))
}

function addresses(opened: OpenedNamespace): readonly string[] {
  return opened.addresses.map(({ text }) => text)
}

const reason = await whyNoLinuxEngine()
if (reason !== undefined) t.plan(0, reason)
else if (requireNamespaces(t)) {
  t.test('opens a socket of each family there, and says which addresses the namespace has', async (t) => {
    const { open } = await start(t)
    const pod = createPodNamespace(t, 'dual', DUAL)
    const opened = open(pod.fd)
    t.strictSame(kinds(opened), ['bound', 'bound'])
    t.strictSame([...addresses(opened)].sort(), ['10.244.0.2', 'fd00:10:244::2'])
    const listening = pod.run('ss', '-Hltn')
    t.match(listening, '0.0.0.0:15001')
    t.match(listening, '[::]:15001', 'of its own, and not mapped')
  })

  t.test('rule 2: a family that the namespace has no address of is absent', async (t) => {
    const { open } = await start(t)
    for (const [address, expected] of [
      ['10.244.0.2/24', ['bound', 'absent']],
      ['fd00:10:244::2/64', ['absent', 'bound']],
    ] as const) {
      const opened = open(createPodNamespace(t, 'single', [address]).fd)
      t.strictSame(kinds(opened), expected)
      t.strictSame(addresses(opened), [address.split('/')[0]])
    }
  })

  t.test('a namespace with nothing but loopback, or with its link down, has no family', async (t) => {
    const { open, descriptors } = await start(t)
    const bare = createPodNamespace(t, 'bare', [])
    const down = createPodNamespace(t, 'down', DUAL)
    down.ip('link set eth0 down')
    const cut = createPodNamespace(t, 'cut', DUAL)
    cut.ip('link set other down')
    const gone = createPodNamespace(t, 'gone', DUAL)
    gone.ip('link del eth0', 'link add tunl0 type veth peer name gre0')
    const before = descriptors.count
    for (const { fd, isEmpty } of [bare, down, cut]
      .map(({ fd }) => ({ fd, isEmpty: false }))
      .concat({ fd: gone.fd, isEmpty: true })) {
      const opened = open(fd)
      t.equal(opened.isEmpty, isEmpty)
      t.strictSame(kinds(opened), ['absent', 'absent'])
      t.strictSame(addresses(opened), [])
    }
    t.ok(descriptors.count <= before + 1, 'nothing is open but the way home')
  })

  t.test(
    'a port that is taken fails for its family only, and two agents share it if both let it be',
    async (t) => {
      const { open, descriptors } = await start(t)
      const pod = createPodNamespace(t, 'dual', DUAL)
      const alone = open(pod.fd, false)
      const { count } = descriptors
      t.strictSame(kinds(open(pod.fd, false)), ['failed address_in_use', 'failed address_in_use'])
      t.strictSame(kinds(open(pod.fd, true)), ['failed address_in_use', 'failed address_in_use'])
      t.equal(descriptors.count, count, 'what failed is closed')
      const [first] = alone.sockets
      if (first?.kind === 'bound') descriptors.close(first.fd)
      const second = open(pod.fd, true)
      t.strictSame(kinds(second), ['bound', 'failed address_in_use'])
      t.match(second.sockets[1], { message: 'cannot listen on [::]:15001: bind EADDRINUSE' })
      t.strictSame(kinds(open(pod.fd, true)), ['bound', 'failed address_in_use'], 'beside the second')
    },
  )

  t.test('rule 13: whichever of two agents ends, the one that stays gets new connections', async (t) => {
    const { open, connect, yieldAll } = await start(t)
    const pod = createPodNamespace(t, 'dual', DUAL)
    const sockets = [open(pod.fd), open(pod.fd)].map(boundSockets)
    const [older, newer] = sockets
    if (older === undefined || newer === undefined) throw new TypeError('there are two')
    yieldAll(pod.fd, newer)
    t.strictSame(
      connect(pod.fd, 12, [older, newer]),
      [24, 0],
      'the newer one ends: an update that is taken back',
    )
    yieldAll(pod.fd, older)
    t.strictSame(connect(pod.fd, 12, [older, newer]), [0, 24])
  })

  t.test('rule 13: an agent that took over hands over itself', async (t) => {
    const { open, connect, yieldAll, descriptors } = await start(t)
    const pod = createPodNamespace(t, 'dual', DUAL)
    const first = boundSockets(open(pod.fd))
    const second = boundSockets(open(pod.fd))
    for (const { fd } of first) descriptors.close(fd)
    yieldAll(pod.fd, second)
    t.strictSame(connect(pod.fd, 4, [second]), [8], 'alone it goes on as before')
    const third = boundSockets(open(pod.fd))
    yieldAll(pod.fd, second)
    t.strictSame(connect(pod.fd, 12, [second, third]), [0, 24])
  })

  t.test(
    'rule 13: the other agent is found among more sockets than one answer of the kernel has',
    async (t) => {
      const { open, openMany, connect, yieldAll } = await start(t)
      const pod = createPodNamespace(t, 'crowded', DUAL)
      openMany(pod.fd, 200)
      const [older, newer] = [boundSockets(open(pod.fd)), boundSockets(open(pod.fd))]
      openMany(pod.fd, 200)
      yieldAll(pod.fd, newer)
      t.strictSame(connect(pod.fd, 6, [older, newer]), [12, 0])
      t.equal(pod.run('ss', '-Hltn').trim().split('\n').length, 804)
    },
  )

  t.test('a choice that outlived who made it ends with the next agent that listens', async (t) => {
    const { open, connect, yieldAll, descriptors } = await start(t)
    const pod = createPodNamespace(t, 'dual', DUAL)
    const first = boundSockets(open(pod.fd))
    const second = boundSockets(open(pod.fd))
    yieldAll(pod.fd, first)
    for (const { fd } of first) descriptors.close(fd)
    const third = boundSockets(open(pod.fd))
    const counts = connect(pod.fd, 12, [second, third])
    t.ok(
      counts.every((count) => count > 0),
      `either has some: ${counts.join()}`,
    )
    yieldAll(pod.fd, second)
    t.strictSame(connect(pod.fd, 12, [second, third]), [0, 24])
  })

  t.test('interfaces that cannot be listed fail the look alone, and the thread is back', async (t) => {
    const { look, open } = await start(t)
    const pod = createPodNamespace(t, 'dual', DUAL)
    const failed = look(pod.fd, true, () => {
      throw Object.assign(new Error('uv_interface_addresses returned Unknown system error 24'), {
        errno: os.constants.errno.EMFILE,
      })
    })
    t.strictSame(failed, {
      ok: false,
      problem: 'its interfaces cannot be listed: EMFILE',
    })
    t.strictSame(kinds(open(pod.fd)), ['bound', 'bound'])
  })

  t.test('a namespace that cannot be entered is said, with the errno', async (t) => {
    const { look, descriptors } = await start(t)
    t.strictSame(look(60_000), {
      ok: false,
      problem: 'its network namespace cannot be entered: setns EBADF',
    })
    t.ok(descriptors.count <= 1)
  })
}
