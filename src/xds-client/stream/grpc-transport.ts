/**
 * Streams over gRPC. Each has a connection of its own: when it ends, the next one resolves the name, reads root and token
 * and connects anew, at the pace of the client's backoff and not of a channel's.
 *
 * A name is connected to over both families: grpc-js resolves all its addresses, alternates families and starts the next
 * attempt 250 ms after the last one or as soon as that fails (its `pick_first` policy, gRFC A61; RFC 8305 section 5).
 */
import { checkServerIdentity } from 'node:tls'

import { Client, InterceptingCall, Metadata, credentials, status } from '@grpc/grpc-js'

import { AgentError } from '../../core/errors.ts'
import { probeConnection } from './connection-probe.ts'
import { readCredentials } from './credentials.ts'
import { assembleInPlace } from './message-assembly.ts'
import { streamError } from './stream-error.ts'

import type { ClientDuplexStream, ClientOptions, Interceptor, StatusObject } from '@grpc/grpc-js'
import type { AdsStream, AdsTransport, StreamEvents } from './ads-transport.ts'
import type { IdentityCheck } from './connection-probe.ts'
import type { CredentialSources } from './credentials.ts'
import type { XdsMode } from './discovery-messages.ts'

/** Where a control plane is. */
export interface XdsAddress {
  /** A name or an IP literal, IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly isTls: boolean
}

export interface GrpcTransportOptions extends CredentialSources {
  readonly address: XdsAddress
  /** A name that the certificate may have instead of the host's; empty: none. */
  readonly alternativeName?: string
  /** Silence on the connection before a ping. Default 30 s; at least 10 s, below which servers end the connection. */
  readonly keepaliveTimeMs?: number
  /** How long a ping may go unanswered. Default 10 s. */
  readonly keepaliveTimeoutMs?: number
}

const SERVICE = '/envoy.service.discovery.v3.AggregatedDiscoveryService'
const METHODS: Readonly<Record<XdsMode, string>> = {
  sotw: `${SERVICE}/StreamAggregatedResources`,
  delta: `${SERVICE}/DeltaAggregatedResources`,
}
/** Finds out why there is no connection. */
type ConnectionProbe = () => Promise<unknown>

/**
 * Bytes of one message that may be on their way. The default of 64 KiB would make 100 MB take 1,500 round trips; all that
 * has come is read in one turn of the event loop, which 4 MiB would hold for 50 ms on a busy machine.
 */
const FLOW_CONTROL_WINDOW_BYTES = 1024 * 1024

const NO_MESSAGE = Buffer.alloc(0)

export class GrpcTransport implements AdsTransport {
  readonly target: string
  readonly #options: GrpcTransportOptions

  constructor(options: GrpcTransportOptions) {
    this.#options = options
    const { address } = options
    assembleInPlace()
    this.target = `${address.isTls ? 'https' : 'http'}://${authority(address)}`
  }

  open(mode: XdsMode, events: StreamEvents): AdsStream {
    return new GrpcStream(this.target, this.#options, METHODS[mode], events)
  }
}

function authority({ host, port }: XdsAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

class GrpcStream implements AdsStream {
  readonly #target: string
  readonly #options: GrpcTransportOptions
  readonly #events: StreamEvents
  /** Sent before the credentials were read. */
  readonly #early: Uint8Array[] = []
  #client: Client | undefined
  #call: ClientDuplexStream<Uint8Array, Buffer> | undefined
  #releaseMessage: (() => void) | undefined
  /** The control plane has answered. */
  #isEstablished = false
  #isProbing = false
  #isClosed = false
  #hasEnded = false

  constructor(target: string, options: GrpcTransportOptions, method: string, events: StreamEvents) {
    this.#target = target
    this.#options = options
    this.#events = events
    void this.#start(method)
  }

  send(bytes: Uint8Array): void {
    if (this.#isClosed) return
    if (this.#call === undefined) this.#early.push(bytes)
    else this.#call.write(bytes)
  }

  next(): void {
    const release = this.#releaseMessage
    this.#releaseMessage = undefined
    release?.()
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#call?.cancel()
    // A status that waits behind a message which nobody takes any more.
    this.next()
    // Nobody wants to know any more why there is no connection.
    if (this.#isProbing) this.#end(undefined)
  }

  async #start(method: string): Promise<void> {
    const { address } = this.#options
    let read
    try {
      const { root, headers } = await readCredentials(this.#options, address.isTls)
      read = { root, metadata: metadataOf(headers) }
    } catch (reason) {
      if (!(reason instanceof AgentError)) throw reason
      this.#end(reason)
      return
    }
    if (this.#isClosed) {
      this.#end(undefined)
      return
    }
    const verify = this.#identityCheck()
    const channelCredentials = address.isTls
      ? credentials.createSsl(read.root ?? null, null, null, { checkServerIdentity: verify })
      : credentials.createInsecure()
    this.#client = new Client(`dns:///${authority(address)}`, channelCredentials, this.#clientOptions())
    const call = this.#client.makeBidiStreamRequest(method, asBuffer, asIs, read.metadata)
    this.#call = call
    call.on('error', () => {
      // The status below says the same.
    })
    call.on('metadata', () => {
      this.#isEstablished = true
    })
    call.on('status', (received: StatusObject) => {
      void this.#finish(received, () =>
        probeConnection(address, address.isTls ? { root: read.root, verify } : undefined),
      )
    })
    // Messages go past the stream, see #interceptor; it must flow for its end to be seen.
    call.resume()
    for (const bytes of this.#early.splice(0)) call.write(bytes)
  }

  /** Accepts a certificate for the host, or for the alternative name where there is one. */
  #identityCheck(): IdentityCheck {
    const { alternativeName = '' } = this.#options
    return (host, certificate) => {
      const error = checkServerIdentity(host, certificate)
      if (error === undefined || alternativeName === '') return error
      return checkServerIdentity(alternativeName, certificate)
    }
  }

  #clientOptions(): ClientOptions {
    const { keepaliveTimeMs = 30_000, keepaliveTimeoutMs = 10_000 } = this.#options
    return {
      // A whole cluster comes in one message; the default is 4 MiB.
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.keepalive_time_ms': keepaliveTimeMs,
      'grpc.keepalive_timeout_ms': keepaliveTimeoutMs,
      'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
      // Other streams' connections carry other credentials, and may be backing off.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      // A node talks to its control plane directly, whatever proxy the environment names.
      'grpc.enable_http_proxy': 0,
      interceptors: [this.#interceptor()],
    }
  }

  /**
   * Hands each message out and holds the call until it is done with: grpc-js reads the next one only then. Its stream
   * would read up to 16 ahead, each as large as the mesh.
   */
  #interceptor(): Interceptor {
    return (options, nextCall) =>
      new InterceptingCall(nextCall(options), {
        start: (metadata, _listener, next) => {
          next(metadata, {
            onReceiveMessage: (message: Uint8Array, nextMessage) => {
              this.#releaseMessage = () => {
                // Not the message itself, which has been used: the stream would keep it.
                nextMessage(NO_MESSAGE)
              }
              if (this.#isClosed) this.next()
              else this.#events.message(message)
            },
          })
        },
      })
  }

  async #finish(received: StatusObject, probe: ConnectionProbe): Promise<void> {
    if (this.#isClosed || received.code === status.OK) {
      this.#end(undefined)
      return
    }
    const target = this.#target
    const isEstablished = this.#isEstablished
    this.#isProbing = !isEstablished && received.code === status.UNAVAILABLE
    const cause = this.#isProbing ? await probe() : undefined
    this.#end(streamError({ target, status: received, isEstablished, cause }))
  }

  #end(error: AgentError | undefined): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#isClosed = true
    this.#client?.close()
    this.#events.ended(error)
  }
}

function metadataOf(headers: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(headers))
    try {
      metadata.set(name, value)
    } catch (cause) {
      // Without the value, which may be a secret.
      const message = `the header ${name} cannot be sent; check XDS_HEADER_${name} and AUTH_TOKEN for characters that headers cannot hold`
      throw new AgentError({ code: 'config_invalid', source: 'config', message, cause })
    }
  return metadata
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function asIs(bytes: Buffer): Buffer {
  return bytes
}
