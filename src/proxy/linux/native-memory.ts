/** Memory at a fixed address, for the kernel to read and write. A number is the cheapest pointer to pass. */

export class NativeMemory {
  readonly bytes: Buffer
  readonly address: number

  /** @param addressOf gives the address of a buffer's first byte; it must not move, which Node's slow buffers do not */
  constructor(sizeBytes: number, addressOf: (buffer: Buffer) => number) {
    this.bytes = Buffer.allocUnsafeSlow(sizeBytes).fill(0)
    this.address = addressOf(this.bytes)
  }
}
