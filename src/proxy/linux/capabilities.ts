/**
 * Finds out what this kernel and these privileges allow by trying it once on sockets that are never used.
 *
 * capabilities(7): https://man7.org/linux/man-pages/man7/capabilities.7.html
 */
import {
  AF_INET,
  AF_INET6,
  SO_MARK,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
  TCP_USER_TIMEOUT,
} from './constants.ts'
import { DescriptorTable } from './descriptor-table.ts'
import { NamespaceVisitor } from './namespace-visitor.ts'
import { SocketOptions } from './socket-options.ts'
import { errnoName } from './syscalls.ts'

import type { Capability, TransportCapabilities } from '../transport.ts'
import type { Syscalls } from './syscalls.ts'

/** Any mark; the socket is closed without having sent anything. */
const SOME_MARK = 1
const SOME_TIMEOUT_MS = 1_000
const AVAILABLE: Capability = { isAvailable: true }

/** What the Linux engine can do here. A family that this machine has not says nothing about the others. */
export function probeCapabilities(syscalls: Syscalls): TransportCapabilities {
  const options = new SocketOptions({ syscalls })
  return {
    originalDestination: AVAILABLE,
    transparentSource: probe(syscalls, 'IP_TRANSPARENT', 'CAP_NET_ADMIN or CAP_NET_RAW', (fd, domain) =>
      options.setTransparent(fd, domain === AF_INET ? 'ipv4' : 'ipv6'),
    ),
    packetMark: probe(syscalls, 'SO_MARK', 'CAP_NET_ADMIN', (fd) =>
      options.setInt(fd, SOL_SOCKET, SO_MARK, SOME_MARK),
    ),
    socketOptions: AVAILABLE,
    userTimeout: probe(syscalls, 'TCP_USER_TIMEOUT', 'Linux 2.6.37', (fd) =>
      options.setInt(fd, SOL_TCP, TCP_USER_TIMEOUT, SOME_TIMEOUT_MS),
    ),
    splice: AVAILABLE,
    networkNamespaces: probeNamespaces(syscalls),
  }
}

/** Enters the network namespace that the thread is in already, which takes the same privilege as entering a pod's. */
function probeNamespaces(syscalls: Syscalls): Capability {
  const visitor = new NamespaceVisitor({ syscalls, descriptors: new DescriptorTable({ syscalls }, NOBODYS) })
  const reason = visitor.whyNot()
  visitor.close()
  return reason === undefined
    ? AVAILABLE
    : { isAvailable: false, reason: `setns: ${reason}; it needs CAP_SYS_ADMIN` }
}

/** Nobody looks for what is opened and closed within one call. */
const NOBODYS = { memory: new ArrayBuffer(0), owner: 0 } as const

function probe(
  syscalls: Syscalls,
  name: string,
  needs: string,
  attempt: (fd: number, domain: number) => boolean,
): Capability {
  let reason = `${name}: this machine has neither family`
  for (const domain of [AF_INET, AF_INET6]) {
    const fd = syscalls.socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0)
    if (fd < 0) continue
    const isAvailable = attempt(fd, domain)
    if (!isAvailable) reason = `${name}: ${errnoName(syscalls.errno())}; it needs ${needs}`
    syscalls.close(fd)
    if (isAvailable) return AVAILABLE
  }
  return { isAvailable: false, reason }
}
