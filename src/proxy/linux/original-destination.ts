/**
 * Asks the Linux kernel where a redirected connection of the node engine was going (SO_ORIGINAL_DST), through the
 * descriptor of its net.Socket. Needs no privilege.
 *
 * iptables-extensions(8) REDIRECT; linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
 */
import { SO_ORIGINAL_DST, SOL_IP, SOL_IPV6 } from './constants.ts'
import { Sockaddr } from './sockaddr.ts'
import { loadSyscalls } from './syscalls.ts'

import type { Socket } from 'node:net'
import type { OriginalDestinationSupport } from '../node/node-transport.ts'

/** Gives the reader, or the reason why this machine has none: another platform, or no library that koffi can load. */
export async function loadOriginalDestination(): Promise<OriginalDestinationSupport> {
  const loaded = await loadSyscalls()
  if (!loaded.ok) return { isAvailable: false, reason: `SO_ORIGINAL_DST: ${loaded.reason}` }
  const { syscalls } = loaded
  const sockaddr = new Sockaddr({ syscalls })
  return {
    isAvailable: true,
    read: (socket, local) => {
      const fd = descriptorOf(socket)
      if (fd === undefined) return undefined
      const level = local.ip.family === 'ipv4' ? SOL_IP : SOL_IPV6
      const { address, lengthAddress } = sockaddr
      // ENOENT and ENOPROTOOPT: it was not redirected, or nothing on this machine redirects.
      return syscalls.getsockopt(fd, level, SO_ORIGINAL_DST, address, lengthAddress) === 0
        ? sockaddr.read()
        : undefined
    },
  }
}

/** The descriptor of a socket. node:net has no public way to ask for it (nodejs/node#49418). */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined
  return typeof fd === 'number' && fd >= 0 ? fd : undefined
}
