/**
 * The seam between the story of a connection and the sockets that carry it. Two engines implement it: proxy/node on
 * node:net, and one on epoll and splice. One conformance suite (test/proxy/transport-conformance.ts) runs on each.
 */
import type { ErrorCode } from '../core/errors.ts'
import type { SocketAddress } from '../core/address.ts'
import type { ListenerAddress, TrafficDirection } from '../mesh/listener.ts'
import type { Keepalive } from '../mesh/upstream.ts'

/** Something that an engine may or may not be able to do; where it is not, the reason for the operator. */
export type Capability =
  { readonly isAvailable: true } | { readonly isAvailable: false; readonly reason: string }

/** What an engine can do, on this machine and with these privileges, beyond listening, connecting and relaying. */
export interface TransportCapabilities {
  /** Asks the kernel where a redirected connection was going (SO_ORIGINAL_DST). */
  readonly originalDestination: Capability
  /** Connects from an address that is not local (IP_TRANSPARENT). */
  readonly transparentSource: Capability
  /** Marks the packets of upstream sockets (SO_MARK). */
  readonly packetMark: Capability
  /** Sets the raw socket options of a listener address. */
  readonly socketOptions: Capability
  /** Gives up a connection whose data stays unacknowledged (TCP_USER_TIMEOUT). */
  readonly userTimeout: Capability
  /** Moves payload within the kernel (splice). */
  readonly splice: Capability
  /** Opens sockets in the network namespaces of pods (setns). */
  readonly networkNamespaces: Capability
}

/** How an attempt to listen on one address ended. */
export type ListenResult =
  | { readonly ok: true; readonly socket: ListeningSocket }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

/** One bound socket of one family. */
export interface ListeningSocket {
  /** The bound address, with the port that the kernel chose where 0 was asked for. */
  readonly address: SocketAddress
  /** Stops accepting and frees the address. Accepted connections go on. Idempotent. */
  close(): Promise<void>
}

export interface ListenOptions {
  readonly backlog: number
  readonly keepalive: Keepalive
  /** Takes connections to addresses that are not local (TPROXY); needs the capability `transparentSource`. */
  readonly isTransparent?: boolean
}

export interface ListenEvents {
  /** A connection was accepted. Its receiver owns the socket. */
  accepted(socket: TransportSocket): void
  /**
   * A connection could not be taken from the kernel's queue, for want of descriptors mostly. The node engine has lost
   * it; the Linux engine leaves it there, tries again and says so once.
   */
  acceptFailed(code: ErrorCode): void
}

/** One connected socket that no relay owns yet. Its owner ends it with `reset`, `finish` or by handing it to `relay`. */
export interface TransportSocket {
  /** The canonical address of the other end. */
  readonly remote: SocketAddress
  /** The canonical address of this end. */
  readonly local: SocketAddress
  /** Where a redirected connection was going; `undefined` when it was not redirected or the engine cannot tell. */
  originalDestination(): SocketAddress | undefined
  /** Calls `callback` at most once when the other end resets or the socket fails while no relay owns it. */
  onGone(callback: (code: ErrorCode) => void): void
  /** Ends the connection with RST. Idempotent. */
  reset(): void
}

/** A network namespace that is not the agent's own. */
export interface NetworkNamespace {
  /** 1 or more; of no other namespace in the life of the process. */
  readonly id: number
  /** Open as long as anybody may connect from it. */
  readonly fd: number
}

export interface ConnectOptions {
  readonly to: SocketAddress
  /** Where the socket is made; absent: in the agent's own. Needs the capability `networkNamespaces`. */
  readonly namespace?: NetworkNamespace | undefined
  /** The local address to connect from; absent: the kernel's choice. Port 0 unless fixed. */
  readonly from?: SocketAddress | undefined
  /** `from` need not be an address of this host; needs the capability `transparentSource`. */
  readonly isTransparent?: boolean | undefined
  /** Of the listener that the connection is made for: ports of a client's address are kept apart by it. */
  readonly direction?: TrafficDirection | undefined
  /** Marks the packets (SO_MARK); needs the capability `packetMark`. */
  readonly mark?: number | undefined
  readonly keepalive: Keepalive
}

/** One of the last two is called exactly once per attempt, never within `connect` itself, and none after `abort`. */
export interface ConnectEvents {
  /**
   * The kernel has chosen the address that the attempt connects from. Called before anything that the attempt leads to
   * can be accepted by this process, also within `connect` itself; not called when the attempt failed before that.
   */
  started?(local: SocketAddress): void
  connected(socket: TransportSocket): void
  failed(code: ErrorCode, message: string): void
}

/** A connect that is under way. */
export interface ConnectAttempt {
  /** Gives the attempt up and closes its socket. Idempotent; does nothing after an event. */
  abort(): void
}

/** How a relay ended. */
export type RelayEnd =
  /** Both sides sent FIN and everything was delivered. */
  | { readonly kind: 'finished' }
  /** One side reset or failed; the other has been reset. */
  | { readonly kind: 'reset'; readonly side: 'downstream' | 'upstream'; readonly code: ErrorCode }
  /** Ended by {@link Relay.close}. */
  | { readonly kind: 'closed' }

/** Bytes of a connection so far, seen from the proxy. Written by the relay as they move, read by anybody. */
export interface RelayBytes {
  downstreamReceived: number
  downstreamSent: number
  upstreamReceived: number
  upstreamSent: number
}

/** The bytes of a relay that has not begun. */
export function noRelayBytes(): RelayBytes {
  return { downstreamReceived: 0, downstreamSent: 0, upstreamReceived: 0, upstreamSent: 0 }
}

/** How long a relay that is closed with `fin` waits for the peers to take what is left and answer, before it cuts. */
export const RELAY_LINGER_MS = 1_000

/** Two sockets joined: bytes pass both ways, FIN passes as FIN and RST as RST. */
export interface Relay {
  readonly bytes: Readonly<RelayBytes>
  /** When a byte or a FIN last moved, on the clock of the engine's `nowMs`. */
  readonly lastActivityMs: number
  /** True while exactly one side has sent FIN. */
  readonly isHalfClosed: boolean
  /**
   * Ends both sides: `fin` delivers what has been received first and then sends FIN, `reset` drops it and sends RST.
   * Idempotent; a `reset` after a `fin` takes effect. `onEnd` is called when the sockets are gone.
   */
  close(how: 'fin' | 'reset'): void
}

export interface Transport {
  readonly engine: 'node' | 'linux'
  readonly capabilities: TransportCapabilities
  /**
   * Binds one address, IPv6 always with V6ONLY, and reports each connection until closed. A failure to bind is a
   * result, not a throw.
   */
  listen(address: ListenerAddress, options: ListenOptions, events: ListenEvents): Promise<ListenResult>
  /** Starts one connect. There is no deadline in it: the race decides when to abort. */
  connect(options: ConnectOptions, events: ConnectEvents): ConnectAttempt
  /** Joins two sockets and owns both from now on. `onEnd` is called once, when both are gone. */
  relay(downstream: TransportSocket, upstream: TransportSocket, onEnd: (end: RelayEnd) => void): Relay
}
