/** The seam to the socket of istio-cni: packets with descriptors, which Node.js cannot receive by itself. unix(7) */

/** One packet. Its receiver owns the descriptors. */
export interface ZdsPacket {
  readonly bytes: Uint8Array
  readonly descriptors: readonly number[]
  /** True: it was longer than the largest packet that is taken, and its end is lost (MSG_TRUNC). */
  readonly isTruncated: boolean
  /** True: descriptors that came with it are lost, because the process may open no more (MSG_CTRUNC). */
  readonly hasLostDescriptors: boolean
}

/** A connection, or the attempt at one. */
export interface ZdsChannel {
  /** Sends one packet. Does nothing when the channel is closed. */
  send(bytes: Uint8Array): void
  /** Ends it; no event follows. Idempotent. */
  close(): void
}

/** None is called within `connect` itself. */
export interface ZdsChannelEvents {
  connected(): void
  received(packet: ZdsPacket): void
  /** It could not be made, or has ended; the last call. `reason` is for people: `ENOENT`, `the server closed it`. */
  closed(reason: string): void
}

export interface ZdsTransport {
  /** Connects to the SOCK_SEQPACKET socket at a path. */
  connect(path: string, events: ZdsChannelEvents): ZdsChannel
  /** Closes a descriptor that came with a packet and that nobody takes. */
  closeDescriptor(fd: number): void
}
