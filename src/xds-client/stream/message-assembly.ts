/**
 * Puts messages of gRPC together as their bytes come. grpc-js (1.14) keeps all pieces of a message, copies them into one at
 * its end, and lets go of the pieces when the next message begins: of a mesh that comes in one response that would be a
 * stall of many milliseconds, and its size in memory for as long as nothing changes.
 */
import { StreamDecoder } from '@grpc/grpc-js/build/src/stream-decoder.js'

/** A byte that says whether the message is compressed, and four of its length. */
const HEAD_BYTES = 5

/** One stream's messages: each with its head, as grpc-js hands them on. */
export class MessageAssembly {
  readonly #head = Buffer.alloc(HEAD_BYTES)
  /** Absent while the head is incomplete. */
  #message: Buffer | undefined
  /** Of the head, then of the message with its head. */
  #filled = 0

  /** Takes the next bytes of the stream and gives the messages that they complete. Throws when one is too large to hold. */
  write(bytes: Buffer): Buffer[] {
    const complete: Buffer[] = []
    for (let at = 0; at < bytes.length;) {
      const target = this.#message ?? this.#head
      const copied = bytes.copy(target, this.#filled, at)
      at += copied
      this.#filled += copied
      if (this.#filled < target.length) break
      // Not filled with anything before: memory is taken as the bytes come, whatever length the head claims.
      this.#message ??= this.#begin()
      if (this.#filled < this.#message.length) continue
      complete.push(this.#message)
      this.#message = undefined
      this.#filled = 0
    }
    return complete
  }

  #begin(): Buffer {
    const message = Buffer.allocUnsafeSlow(HEAD_BYTES + this.#head.readUInt32BE(1))
    this.#head.copy(message)
    return message
  }
}

const assemblies = new WeakMap<StreamDecoder, MessageAssembly>()

/** Makes all streams of grpc-js in this thread put messages together in this way. Idempotent. */
export function assembleInPlace(): void {
  StreamDecoder.prototype.write = write
}

function write(this: StreamDecoder, bytes: Buffer): Buffer[] {
  let assembly = assemblies.get(this)
  if (assembly === undefined) {
    assembly = new MessageAssembly()
    assemblies.set(this, assembly)
  }
  return assembly.write(bytes)
}
