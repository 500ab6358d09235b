/**
 * Runs in a process of its own: sends bytes to whoever connects, and reads them itself through a proxy. Says how long the
 * receiver was ever left without a byte. Commands: `start PORT`, `finish MIB`.
 */
import { once } from 'node:events'
import net from 'node:net'

import { answerLines } from '../lab/answer-lines.ts'

import type { AddressInfo } from 'node:net'
import type { TransferRun } from './stream-figures.ts'

const PIECE = Buffer.alloc(64 * 1024, 'x')
const MIB = 1024 * 1024

class Transfer {
  readonly #socket: net.Socket
  readonly #began: Promise<void>
  #bytes = 0
  #wantedBytes = Infinity
  #lastMs = 0
  #pauseMs = 0
  #finish: ((run: TransferRun) => void) | undefined

  constructor(port: number) {
    let began = (): void => undefined
    this.#began = new Promise((resolve) => {
      began = resolve
    })
    // One buffer for all, so that no garbage collection comes between two reads.
    const buffer = Buffer.alloc(4 * PIECE.length)
    this.#socket = net.connect({
      host: '127.0.0.1',
      port,
      onread: {
        buffer,
        callback: (count) => {
          began()
          this.#read(count)
          return true
        },
      },
    })
    this.#socket.on('error', (error) => {
      throw error
    })
  }

  async begin(): Promise<void> {
    await this.#began
  }

  /** Resolves when so many bytes have passed, at once if they have. */
  end(wantedBytes: number): Promise<TransferRun> {
    this.#wantedBytes = wantedBytes
    return new Promise((resolve) => {
      this.#finish = resolve
    })
  }

  #read(count: number): void {
    const nowMs = performance.now()
    if (this.#bytes > 0) this.#pauseMs = Math.max(this.#pauseMs, nowMs - this.#lastMs)
    this.#lastMs = nowMs
    this.#bytes += count
    if (this.#bytes < this.#wantedBytes || this.#finish === undefined) return
    this.#socket.destroy()
    this.#finish({ bytes: this.#bytes, pauseMs: this.#pauseMs })
    this.#finish = undefined
  }
}

const source = net.createServer((socket) => {
  const send = (): void => {
    while (!socket.destroyed && socket.write(PIECE));
  }
  socket.on('drain', send)
  socket.on('error', () => {
    // The receiver has had enough.
  })
  send()
})
source.listen(0, '127.0.0.1')
await once(source, 'listening')

let transfer: Transfer | undefined

await answerLines(
  { port: (source.address() as AddressInfo).port },
  {
    start: async ([port = 0]) => {
      transfer = new Transfer(port)
      await transfer.begin()
      return {}
    },
    finish: async ([mib = 0]) => {
      const run = await transfer?.end(mib * MIB)
      return run
    },
  },
)
