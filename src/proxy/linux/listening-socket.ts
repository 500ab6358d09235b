/** Opens a listening socket with everything that is set before bind. Its descriptor can be served by any thread. */
import { formatSocketAddress } from '../../core/address.ts'
import {
  AF_INET,
  AF_INET6,
  IPV6_V6ONLY,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IPV6,
  SOL_SOCKET,
} from './constants.ts'
import { Sockaddr } from './sockaddr.ts'
import { SocketOptions } from './socket-options.ts'
import { errnoName, errorCodeOfErrno } from './syscalls.ts'

import type { SocketAddress } from '../../core/address.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { ListenerAddress } from '../../mesh/listener.ts'
import type { ListenOptions } from '../transport.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { Syscalls } from './syscalls.ts'

export interface ListeningSocketOptions extends ListenOptions {
  /** Lets several sockets share the address; the kernel spreads connections over them. */
  readonly reusePort: boolean
}

/** A socket that listens, or why there is none. */
export type OpenedListeningSocket =
  | {
      readonly ok: true
      readonly fd: number
      /** With the port that the kernel chose where 0 was asked for. */
      readonly address: SocketAddress
    }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

/** Opens and binds; IPv6 always with V6ONLY. The caller closes the descriptor through the table. */
export function openListeningSocket(
  deps: { readonly syscalls: Syscalls; readonly descriptors: DescriptorTable },
  { address, socketOptions }: ListenerAddress,
  options: ListeningSocketOptions,
): OpenedListeningSocket {
  const { syscalls, descriptors } = deps
  const sockaddr = new Sockaddr(deps)
  const socketOption = new SocketOptions(deps)
  const { family } = address.ip
  const failed = (call: string): OpenedListeningSocket => {
    const errno = syscalls.errno()
    return {
      ok: false,
      code: errorCodeOfErrno(errno),
      message: `cannot listen on ${formatSocketAddress(address)}: ${call} ${errnoName(errno)}`,
    }
  }
  const domain = family === 'ipv4' ? AF_INET : AF_INET6
  const fd = descriptors.opened(syscalls.socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
  if (fd < 0) return failed('socket')
  const configure = (): string | undefined => {
    if (!socketOption.setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return 'SO_REUSEADDR'
    if (options.reusePort && !socketOption.setInt(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return 'SO_REUSEPORT'
    if (family === 'ipv6' && !socketOption.setInt(fd, SOL_IPV6, IPV6_V6ONLY, 1)) return 'IPV6_V6ONLY'
    if (options.isTransparent === true && !socketOption.setTransparent(fd, family)) return 'IP_TRANSPARENT'
    socketOption.setTcp(fd, options.keepalive)
    socketOption.setKeepalive(fd, options.keepalive)
    const refused = socketOptions.find((option) => !socketOption.setRaw(fd, option))
    if (refused !== undefined) return `socket option ${refused.level}/${refused.name}`
    if (syscalls.bind(fd, sockaddr.address, sockaddr.write(address)) !== 0) return 'bind'
    if (syscalls.listen(fd, options.backlog) !== 0) return 'listen'
    return undefined
  }
  const failedCall = configure()
  if (failedCall !== undefined) {
    const failure = failed(failedCall)
    descriptors.close(fd)
    return failure
  }
  const { address: memory, lengthAddress } = sockaddr
  const { port } =
    syscalls.getsockname(fd, memory, lengthAddress) === 0 ? sockaddr.read() : { port: address.port }
  return { ok: true, fd, address: { ip: address.ip, port } }
}
