/** The seam to whoever opens listening sockets in the network namespaces of pods. */
import type { IpAddress, SocketAddress } from '../../core/address.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { ListenerAddress } from '../../mesh/listener.ts'
import type { ListenOptions } from '../transport.ts'

/** One socket that a pod is to have. */
export interface WantedSocket {
  readonly address: ListenerAddress
  readonly options: ListenOptions
  /** Lets the agent that takes this one's place listen beside it (SO_REUSEPORT). */
  readonly reusePort: boolean
}

/** What became of a wanted socket; `absent`: the namespace has no address of its family. Whoever asked closes it. */
export type PodSocket =
  | {
      readonly kind: 'bound'
      readonly fd: number
      /** The sockets that listened on the port before, by their inodes: those of another agent. */
      readonly listenedBefore: readonly number[]
    }
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string }

/** A socket that shares its address with that of another agent perhaps. */
export interface YieldingSocket {
  readonly fd: number
  readonly address: SocketAddress
  readonly listenedBefore: readonly number[]
}

/** A namespace as it was found. */
export interface OpenedNamespace {
  /** True: it has no interface but those that every namespace has. Its pod is gone, or has not been set up yet. */
  readonly isEmpty: boolean
  /** Of its interfaces that are up, without loopback's. */
  readonly addresses: readonly IpAddress[]
  /** In the order in which they were asked for. */
  readonly sockets: readonly PodSocket[]
}

/** What a descriptor is open on. */
export type DescriptorKind =
  /** `identity` is the same for all descriptors of one network namespace. */
  | { readonly isNamespace: true; readonly identity: string }
  | { readonly isNamespace: false; readonly what: string }

export interface PodSocketOpener {
  identify(fd: number): DescriptorKind
  /** Resolves with what was found, or with what kept it from looking. Never rejects. */
  open(
    namespaceFd: number,
    wanted: readonly WantedSocket[],
  ): Promise<
    { readonly ok: true; readonly value: OpenedNamespace } | { readonly ok: false; readonly problem: string }
  >
  /**
   * Lets new connections go to the sockets that another agent has opened beside these, earlier or later, where there are any.
   * Resolves when that is so. Never rejects. Holds until yet another one opens its sockets.
   */
  yieldTo(namespaceFd: number, sockets: readonly YieldingSocket[]): Promise<void>
  /** Ends the listening of a socket that cannot be closed yet: what it has queued is reset, what comes is refused. */
  stopListening(fd: number): void
  close(fd: number): void
}
