/**
 * Bytes that both ends of a transfer know without having exchanged them. The period is a prime longer than what all
 * buffers on the way hold together, so a byte that is lost, doubled or swapped shows as a difference; comparing costs
 * a tenth of hashing.
 */
import { createCipheriv } from 'node:crypto'

/** The smallest prime above 16 MiB. */
export const PATTERN_PERIOD_BYTES = 16_777_259

const WRITE_BYTES = 256 * 1_024

/** The two directions of a transfer carry different bytes, so that an echo does not pass for an answer. */
export type PatternName = 'request' | 'response'

/** A stream of bytes that repeats after {@link PATTERN_PERIOD_BYTES}. */
export class Pattern {
  readonly #bytes: Buffer

  constructor(name: PatternName) {
    const key = Buffer.alloc(16, name)
    this.#bytes = createCipheriv('aes-128-ctr', key, key).update(Buffer.alloc(PATTERN_PERIOD_BYTES))
  }

  /** The bytes from `offset` on, at most one write's worth and at most `maxBytes`. Not to be written to. */
  slice(offset: number, maxBytes: number): Buffer {
    const start = offset % PATTERN_PERIOD_BYTES
    return this.#bytes.subarray(start, start + Math.min(maxBytes, WRITE_BYTES))
  }

  /** Where `chunk`, which begins at `offset` of the stream, first differs; `undefined` when it does not. */
  firstDifference(offset: number, chunk: Buffer): number | undefined {
    for (let done = 0; done < chunk.length;) {
      const expected = this.slice(offset + done, chunk.length - done)
      const received = chunk.subarray(done, done + expected.length)
      if (expected.compare(received) !== 0) {
        return offset + done + received.findIndex((byte, index) => byte !== expected[index])
      }
      done += expected.length
    }
    return undefined
  }
}
