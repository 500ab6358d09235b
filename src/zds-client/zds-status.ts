/** What the ZDS client tells about itself: to readiness and /config_dump as a whole, to metrics event by event. */
import type { ZdsMessageKind } from './zds-messages.ts'

/**
 * What became of a message: `accepted` had its effect; `failed` was tried and had not, as the answer says; `timeout` was
 * not done in time, and may be later; `refused` is against the protocol and was not tried.
 */
export type ZdsMessageResult = 'accepted' | 'failed' | 'timeout' | 'refused'

/** Messages by kind and result. */
export type ZdsMessageCounts = Readonly<Record<ZdsMessageKind, Readonly<Record<ZdsMessageResult, number>>>>

export interface ZdsStatus {
  /** Of the socket. */
  readonly path: string
  /** The socket is connected. */
  readonly isConnected: boolean
  /** When `isConnected` became what it is, in milliseconds since 1970. */
  readonly sinceMs: number
  /** Every pod of the node has been named on the connection that is open now. */
  readonly hasSnapshot: boolean
  /** The same of any connection: the pods that are served are those of the node, but for what came since it was lost. */
  readonly everHadSnapshot: boolean
  /** Those that have been answered or, of a connection that was lost meanwhile, are done with. */
  readonly messages: ZdsMessageCounts
  /** Number of connections after the first. */
  readonly reconnects: number
  /** Why the last connection could not be made or was lost; stays after the next one is up. */
  readonly lastError?: { readonly text: string; readonly atMs: number }
}

/** Told of events as they happen. Must not throw. */
export interface ZdsObserver {
  connectedChanged(isConnected: boolean): void
  /** What `hasSnapshot` of the status is now. */
  snapshotChanged(hasSnapshot: boolean): void
  message(kind: ZdsMessageKind, result: ZdsMessageResult): void
  /** Connected again. */
  reconnected(): void
}

/** No message yet. */
export function noMessages(): Record<ZdsMessageKind, Record<ZdsMessageResult, number>> {
  return {
    add: noResults(),
    keep: noResults(),
    delete: noResults(),
    'snapshot-sent': noResults(),
    unknown: noResults(),
  }
}

function noResults(): Record<ZdsMessageResult, number> {
  return { accepted: 0, failed: 0, timeout: 0, refused: 0 }
}
