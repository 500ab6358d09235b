/** What an ADS client tells about itself: to /config_dump as a whole, to metrics event by event. */
import type { ErrorCode } from '../../core/errors.ts'
import type { XdsMode } from './discovery-messages.ts'
import type { Interest } from './subscription.ts'

/** Something that went wrong, with its time in milliseconds since 1970. */
export interface TimedText {
  readonly text: string
  readonly atMs: number
}

/** One type. */
export interface TypeStatus {
  readonly typeUrl: string
  readonly interest: Interest
  /** The last that was accepted as a whole; empty before. */
  readonly version: string
  readonly resourceCount: number
  /** Names that are asked for; empty for a wildcard. */
  readonly names: readonly string[]
  /** When the last update was applied, in whole or in part; absent before the first. */
  readonly updatedAtMs?: number
  /** The last NACK; stays after later updates are accepted. */
  readonly lastNack?: TimedText
}

export interface AdsStatus {
  readonly target: string
  readonly mode: XdsMode
  /** The control plane has answered on the stream that is open now. */
  readonly isConnected: boolean
  /** When `isConnected` became what it is. */
  readonly sinceMs: number
  /** What the control plane calls itself; empty when it does not say. */
  readonly controlPlane: string
  /** The last failure of a stream; stays after the next stream is up. */
  readonly lastError?: TimedText & { readonly code: ErrorCode }
  readonly types: readonly TypeStatus[]
}

/**
 * What became of a response: `accepted` and `rejected` were answered with ACK and NACK, `dropped` is of a type that nobody
 * asked for, `malformed` cannot be read.
 */
export type MessageResult = 'accepted' | 'rejected' | 'dropped' | 'malformed'

/** Why a stream is opened anew: `ended` by the control plane after it had served, or an error. */
export type ReconnectReason = 'ended' | ErrorCode

/** Told of events as they happen. Must not throw. */
export interface AdsObserver {
  connectedChanged(isConnected: boolean): void
  /** `typeUrl` is empty for a message that cannot be read. */
  message(typeUrl: string, result: MessageResult): void
  reconnecting(reason: ReconnectReason): void
}
