/** Looks at the network namespace of a pod and opens the listening sockets that it can have there. */
import { readFileSync } from 'node:fs'
import os from 'node:os'

import { tryParseIp } from '../../core/address.ts'
import { errorMessage } from '../../core/errors.ts'
import { openListeningSocket } from './listening-socket.ts'
import { diagnosedListeners, inodesOn } from './listener-diag.ts'
import { errnoName } from './syscalls.ts'

import type { IpAddress } from '../../core/address.ts'
import type { OpenedNamespace, PodSocket, WantedSocket, YieldingSocket } from '../pods/pod-sockets.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { NamespaceVisitor } from './namespace-visitor.ts'
import type { SocketOptions } from './socket-options.ts'
import type { Syscalls } from './syscalls.ts'

export interface NamespaceSocketsDeps {
  readonly syscalls: Syscalls
  /** Notes who has opened the sockets. */
  readonly descriptors: DescriptorTable
  readonly visitor: NamespaceVisitor
  readonly options: SocketOptions
  /** As os.networkInterfaces: the interfaces that are up in the namespace of the thread. */
  readonly interfaces?: typeof os.networkInterfaces
}

/** Loopback, and the tunnels that the kernel makes in every namespace (net.core.fb_tunnels_only_for_init_net). */
const GIVEN_INTERFACES: readonly string[] = [
  'lo',
  'tunl0',
  'gre0',
  'gretap0',
  'erspan0',
  'ip_vti0',
  'ip6_vti0',
  'sit0',
  'ip6tnl0',
  'ip6gre0',
]

/** What was found, or why the thread could not go there. */
export type NamespaceSockets =
  { readonly ok: true; readonly value: OpenedNamespace } | { readonly ok: false; readonly problem: string }

/**
 * Opens each wanted socket whose family the namespace has an address of beside loopback's. A family without one is absent:
 * nothing that is captured can use it. The caller closes the sockets.
 */
export function openInNamespace(
  deps: NamespaceSocketsDeps,
  namespaceFd: number,
  wanted: readonly WantedSocket[],
): NamespaceSockets {
  const { visitor, syscalls, options, interfaces = os.networkInterfaces } = deps
  const found = visitor.visit({ fd: namespaceFd }, (): NamespaceSockets => {
    let addresses: readonly IpAddress[]
    let isEmpty: boolean
    try {
      addresses = addressesOf(interfaces())
      // Only what is up and has a carrier counts there, and the link of a living pod may be down for a while.
      isEmpty = addresses.length === 0 && !hasOwnInterface()
    } catch (error) {
      // Both take a descriptor, and none may be left.
      return { ok: false, problem: `its interfaces cannot be listed: ${reasonOf(error)}` }
    }
    const families = new Set(addresses.map(({ family }) => family))
    const others = diagnosedListeners(deps)
    const sockets = wanted.map((each): PodSocket => {
      const { address } = each.address
      if (!families.has(address.ip.family)) return { kind: 'absent' }
      const opened = openListeningSocket(deps, each.address, { ...each.options, reusePort: each.reusePort })
      if (opened.ok) {
        // What an agent that is gone has had the kernel choose outlives it, and would send everything to one of those that stay.
        if (each.reusePort) options.clearReusePortChoice(opened.fd)
        return { kind: 'bound', fd: opened.fd, listenedBefore: inodesOn(others, address) }
      }
      const isAbsent = opened.code === 'family_absent' || opened.code === 'address_unavailable'
      return isAbsent ? { kind: 'absent' } : { kind: 'failed', code: opened.code, message: opened.message }
    })
    return { ok: true, value: { addresses, sockets, isEmpty } }
  })
  if (found !== undefined) return found
  return {
    ok: false,
    problem: `its network namespace cannot be entered: setns ${errnoName(syscalls.errno())}`,
  }
}

/**
 * Lets new connections to the sockets go to others that listen on their ports, see PodSocketOpener. Sockets that share an
 * address are numbered in the order in which they began to listen: one that was there before and still is has number 0, and
 * one that came later 1; where there is no other, a number that nobody has leaves the choice to the kernel.
 */
export function yieldInNamespace(
  deps: Omit<NamespaceSocketsDeps, 'interfaces'>,
  namespaceFd: number,
  sockets: readonly YieldingSocket[],
): void {
  deps.visitor.visit({ fd: namespaceFd }, () => {
    const listening = diagnosedListeners(deps)
    for (const { fd, address, listenedBefore } of sockets) {
      const now = inodesOn(listening, address)
      const isLater = listenedBefore.some((inode) => now.includes(inode))
      deps.options.setReusePortChoice(fd, isLater ? 0 : 1)
    }
  })
}

/** True when the thread's namespace has an interface that somebody has made, up or down. proc_pid_net(5) */
function hasOwnInterface(): boolean {
  const [, , ...lines] = readFileSync('/proc/thread-self/net/dev', 'utf8').trimEnd().split('\n')
  return lines.some((line) => !GIVEN_INTERFACES.includes(line.slice(0, line.indexOf(':')).trim()))
}

/** The name of the errno. Node.js has none for that of os.networkInterfaces, which comes with the other sign. */
function reasonOf(error: unknown): string {
  return error instanceof Error && 'errno' in error && typeof error.errno === 'number'
    ? errnoName(Math.abs(error.errno))
    : errorMessage(error)
}

function addressesOf(interfaces: ReturnType<typeof os.networkInterfaces>): readonly IpAddress[] {
  return Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal }) => !internal)
    .flatMap(({ address }) => tryParseIp(address) ?? [])
}
