/**
 * The seam between the client and the network: one stream of messages at a time, with nothing known of what they say.
 */
import type { AgentError } from '../../core/errors.ts'
import type { XdsMode } from './discovery-messages.ts'

/** What a stream tells. All of it comes after `open` has returned, and nothing after `ended`. */
export interface StreamEvents {
  /** One message. The next comes when `next` has been called, and until then it is not even read. */
  message(bytes: Uint8Array): void
  /** The stream is gone, exactly once. Without an error the control plane ended it in an orderly way, or we did. */
  ended(error: AgentError | undefined): void
}

/** One stream. */
export interface AdsStream {
  /** Sends one message, also before the connection stands; does nothing when the stream is gone. */
  send(bytes: Uint8Array): void
  /** The last message is done with. */
  next(): void
  /** Ends the stream; `ended` follows. Idempotent. */
  close(): void
}

/** Opens streams to one control plane. */
export interface AdsTransport {
  /** Who is connected to, for messages: `https://istiod.istio-system.svc:15012`. */
  readonly target: string
  /** Opens a stream over a new connection. */
  open(mode: XdsMode, events: StreamEvents): AdsStream
}
