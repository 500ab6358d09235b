/**
 * Runs in a process of its own: applications in bare pods and clients beside them, from outside of their namespaces.
 * Argument: what names of the namespaces begin with. A line tells what to do, see the table at the end.
 */
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import { parseIp } from '../../src/core/address.ts'
import { FAMILIES } from '../../src/core/family.ts'
import { AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_STREAM } from '../../src/proxy/linux/constants.ts'
import { DescriptorTable } from '../../src/proxy/linux/descriptor-table.ts'
import { NamespaceVisitor } from '../../src/proxy/linux/namespace-visitor.ts'
import { Sockaddr } from '../../src/proxy/linux/sockaddr.ts'
import { errnoName, loadSyscalls } from '../../src/proxy/linux/syscalls.ts'
import { answerLines } from '../lab/answer-lines.ts'
import { inLanes } from './lanes.ts'
import { POD_APPLICATION, POD_APPLICATION_PORT } from './pod-application.ts'

import type { Family } from '../../src/core/family.ts'

const [prefix = ''] = process.argv.slice(2)

/** Clients that ask at the same time. */
const LANES = 8
const RETRY_MS = 10
const SERVED_LIMIT_MS = 60_000
const BACKLOG = 128
const OUTBOUND_PORT = 15_001
const MAX_DESCRIPTORS = 2 ** 16

const loaded = await loadSyscalls()
if (!loaded.ok) throw new Error(loaded.reason)
const { syscalls } = loaded
const descriptors = new DescriptorTable({ syscalls }, { memory: new ArrayBuffer(MAX_DESCRIPTORS), owner: 0 })
const visitor = new NamespaceVisitor({ syscalls, descriptors })
const sockaddr = new Sockaddr({ syscalls })

/** A socket in a pod; it blocks. */
function socketIn(pod: number, family: Family): number {
  const namespaceFd = openSync(`/run/netns/${prefix}${pod}`, 'r')
  try {
    const domain = family === 'ipv4' ? AF_INET : AF_INET6
    const fd = visitor.socket({ fd: namespaceFd }, domain, SOCK_STREAM | SOCK_CLOEXEC)
    if (fd < 0) throw new Error(`a socket in pod ${pod}: ${errnoName(syscalls.errno())}`)
    return fd
  } finally {
    closeSync(namespaceFd)
  }
}

function listenIn(pod: number, family: Family, host: string, port: number): number {
  const fd = socketIn(pod, family)
  const length = sockaddr.write({ ip: parseIp(host), port })
  if (syscalls.bind(fd, sockaddr.address, length) !== 0 || syscalls.listen(fd, BACKLOG) !== 0)
    throw new Error(`${host} ${port} in pod ${pod}: ${errnoName(syscalls.errno())}`)
  return fd
}

async function serve(pod: number): Promise<void> {
  for (const family of FAMILIES) {
    const server = net.createServer((socket) => {
      socket.on('data', (data) => socket.write(data))
      socket.on('error', () => {
        // The client has its answer and resets the connection.
      })
    })
    server.listen({ fd: listenIn(pod, family, POD_APPLICATION[family], POD_APPLICATION_PORT) })
    await once(server, 'listening')
  }
}

/** Connects, asks and reads the answer; false when nobody captures there, or nobody answers. */
async function exchange(pod: number, family: Family): Promise<boolean> {
  const fd = socketIn(pod, family)
  // Whoever captures it is on this machine: the handshake is over when the call is.
  const length = sockaddr.write({ ip: parseIp(POD_APPLICATION[family]), port: POD_APPLICATION_PORT })
  if (syscalls.connect(fd, sockaddr.address, length) !== 0) {
    syscalls.close(fd)
    return false
  }
  const socket = new net.Socket({ fd, readable: true, writable: true })
  try {
    return await new Promise((resolve) => {
      socket.once('data', () => resolve(true))
      socket.once('error', () => resolve(false))
      socket.once('close', () => resolve(false))
      socket.write('x')
    })
  } finally {
    socket.resetAndDestroy()
  }
}

/** Asks until each family has been answered. */
async function untilServed(pod: number): Promise<void> {
  const deadlineMs = performance.now() + SERVED_LIMIT_MS
  for (const family of FAMILIES) {
    while (!(await exchange(pod, family))) {
      if (performance.now() > deadlineMs) throw new Error(`pod ${pod} is not served over ${family}`)
      await sleep(RETRY_MS)
    }
  }
}

function now(): { readonly atMs: number } {
  return { atMs: performance.timeOrigin + performance.now() }
}

await answerLines(
  {},
  {
    /** The applications of `count` pods. */
    serve: async ([count = 0]) => {
      for (let pod = 0; pod < count; pod++) await serve(pod)
      return now()
    },
    /** Takes the port of captures in `count` pods from `from` on, so that nobody can serve these. */
    occupy: ([from = 0, count = 0]) => {
      for (let pod = from; pod < from + count; pod++) listenIn(pod, 'ipv6', '::', OUTBOUND_PORT)
      return now()
    },
    /** A connection of each family in one pod, at the first try. */
    exchange: async ([pod = 0]) => {
      for (const family of FAMILIES)
        if (!(await exchange(pod, family))) throw new Error(`pod ${pod} is not served over ${family}`)
      return now()
    },
    /** Until each of `count` pods is served; with the time since 1970 at which the last one was. */
    untilServed: async ([count = 0]) => {
      await inLanes(LANES, count, untilServed)
      return now()
    },
  },
)
