/**
 * The control plane's side of one agent: answers each first request, sends updates of addresses and waits until they are
 * acknowledged.
 */
import { TYPE_URLS } from '../../src/xds-client/discovery.ts'
import { encodeResponse } from '../../test/fixtures/discovery-codec.ts'

import type { SentResource, SeenRequest } from '../../test/fixtures/discovery-codec.ts'
import type { AdsServer, ServerStream } from '../../test/fixtures/ads-server.ts'

const ANSWERED_TYPES = 2

export class AgentStream {
  readonly #stream: ServerStream

  private constructor(stream: ServerStream) {
    this.#stream = stream
  }

  /** Takes the next stream and answers what it asks at its beginning: addresses with `addresses`, the rest with nothing. */
  static async accept(
    server: AdsServer,
    addresses: Uint8Array,
  ): Promise<{ readonly stream: AgentStream; readonly claimed: number }> {
    const stream = new AgentStream(await server.nextStream())
    let claimed = 0
    for (let type = 0; type < ANSWERED_TYPES; type++) {
      const { typeUrl, initialVersions } = await stream.#stream.nextRequest()
      claimed += Object.keys(initialVersions).length
      if (typeUrl === TYPE_URLS.address) await stream.#stream.sendMessage(addresses)
      else stream.#stream.respond({ typeUrl, nonce: 'nothing' })
    }
    for (let type = 0; type < ANSWERED_TYPES; type++) await stream.#acknowledged()
    return { stream, claimed }
  }

  /** Sends an encoded update; resolves when it is acknowledged, with the time at which it was sent, since 1970. */
  async send(message: Uint8Array): Promise<number> {
    const sentAtMs = performance.timeOrigin + performance.now()
    void this.#stream.sendMessage(message)
    await this.#acknowledged()
    return sentAtMs
  }

  /** Ends the stream, as a control plane does whose connections are limited in age. */
  end(): void {
    this.#stream.end()
  }

  async #acknowledged(): Promise<void> {
    const { error }: SeenRequest = await this.#stream.nextRequest()
    if (error !== undefined) throw new Error(`the agent has refused an update: ${error.message}`)
  }
}

/** An update of addresses. */
export function encodeAddresses(resources: readonly SentResource[]): Uint8Array {
  return encodeResponse('delta', { typeUrl: TYPE_URLS.address, nonce: 'update', resources })
}
