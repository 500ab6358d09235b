/** What the sockets and relays of one thread share: its system calls, its loop, and the memory that calls work on. */
import { NamespaceVisitor } from './namespace-visitor.ts'
import { PipePool } from './pipe-pool.ts'
import { Sockaddr } from './sockaddr.ts'
import { SocketOptions } from './socket-options.ts'

import type { ErrorCode } from '../../core/errors.ts'
import type { DescriptorTable } from './descriptor-table.ts'
import type { NativeMemory } from './native-memory.ts'
import type { SourcePorts } from './source-ports.ts'
import type { Reactor } from './reactor.ts'
import type { Syscalls } from './syscalls.ts'

/** How much one call of recv can bring. */
export const RECEIVE_BUFFER_BYTES = 65_536

export class LinuxIo {
  readonly syscalls: Syscalls
  readonly reactor: Reactor
  readonly descriptors: DescriptorTable
  readonly sockaddr: Sockaddr
  readonly options: SocketOptions
  readonly pipes: PipePool
  readonly namespaces: NamespaceVisitor
  readonly sourcePorts: SourcePorts
  /** What recv writes to. Holds nothing beyond the call of the handler that received it. */
  readonly receiveBuffer: NativeMemory

  constructor(deps: {
    readonly syscalls: Syscalls
    readonly reactor: Reactor
    readonly descriptors: DescriptorTable
    /** Told each time the kernel gives no pipe for splice. */
    readonly pipeFailed: (code: ErrorCode) => void
    readonly sourcePorts: SourcePorts
  }) {
    this.syscalls = deps.syscalls
    this.reactor = deps.reactor
    this.descriptors = deps.descriptors
    this.sockaddr = new Sockaddr(deps)
    this.options = new SocketOptions(deps)
    this.pipes = new PipePool({ ...deps, failed: deps.pipeFailed })
    this.sourcePorts = deps.sourcePorts
    this.namespaces = new NamespaceVisitor(deps)
    this.receiveBuffer = deps.syscalls.allocate(RECEIVE_BUFFER_BYTES)
  }
}
