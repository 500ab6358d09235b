/**
 * Gathers what a thread has to tell about its connections and sends it in batches: a moment after the first event,
 * sooner when it has grown, and at once on request. How much may be under way is bounded, whatever the receiver does.
 */
import type { Clock, Timer } from '../../core/clock.ts'
import type {
  ClosedConnectionRecord,
  ConnectionObserver,
  ConnectionRecord,
} from '../../proxy/connection-record.ts'
import type { LogLines, RecordMessage, RecordRequest } from '../../proxy/record-batch.ts'
import type { AccessLogPrinter } from './access-log-printer.ts'
import type { TrafficCounter } from '../metrics/traffic-counter.ts'

export interface RecordBatcherDeps {
  readonly clock: Clock
  readonly traffic: TrafficCounter
  /** Absent: the lines of the access log are written by somebody else. */
  readonly printer?: AccessLogPrinter
  /** Brings the shared counters up to date with the bytes of live connections. */
  readonly foldStats: () => void
  readonly send: (message: RecordMessage) => void
}

export interface RecordBatcherOptions {
  /** How long an event waits for others; default 250. */
  readonly delayMs?: number
  /** Characters of lines after which a batch is sent without a delay; default 65,536. */
  readonly batchChars?: number
  /** Characters of lines that may be gathered or under way; lines beyond are dropped and counted. Default 1,048,576. */
  readonly maxChars?: number
}

interface GatheredLines extends LogLines {
  text: string
  lineCount: number
}

const DEFAULT_DELAY_MS = 250
const DEFAULT_BATCH_CHARS = 65_536
/** Characters of lines that a thread may have gathered or under way. */
export const DEFAULT_MAX_CHARS = 1_048_576
/** Batches that may be under way; then events are gathered until the receiver has taken one, or asks. */
const MAX_BATCHES = 8

/** The batches of one thread. */
export class RecordBatcher implements ConnectionObserver {
  readonly #deps: RecordBatcherDeps
  readonly #delayMs: number
  readonly #batchChars: number
  readonly #maxChars: number
  readonly #lines = new Map<string, GatheredLines>()
  /** Characters of each batch that the receiver has not taken. */
  readonly #underWay: number[] = []
  #charsUnderWay = 0
  #chars = 0
  #droppedLines = 0
  #timer: Timer | undefined
  #isClosed = false

  constructor(deps: RecordBatcherDeps, options: RecordBatcherOptions = {}) {
    this.#deps = deps
    this.#delayMs = options.delayMs ?? DEFAULT_DELAY_MS
    this.#batchChars = options.batchChars ?? DEFAULT_BATCH_CHARS
    this.#maxChars = options.maxChars ?? DEFAULT_MAX_CHARS
  }

  connected(record: ConnectionRecord): void {
    this.#deps.traffic.connected(record)
    this.#arm()
  }

  closed(record: ClosedConnectionRecord): void {
    this.#deps.traffic.closed(record)
    this.#deps.printer?.print(record, this)
    if (this.#chars >= this.#batchChars) this.#sendUnlessBusy()
    this.#arm()
  }

  /** Takes a line from the printer. */
  write(target: LogLines['target'], name: string, line: string): void {
    if (this.#charsUnderWay + this.#chars + line.length > this.#maxChars) {
      this.#droppedLines++
      return
    }
    this.#chars += line.length
    const gathered = this.#lines.get(name)
    if (gathered === undefined) this.#lines.set(name, { target, text: line, lineCount: 1 })
    else {
      gathered.text += line
      gathered.lineCount++
    }
  }

  /** Takes a message of the main thread. */
  receive(request: RecordRequest): void {
    switch (request.kind) {
      case 'records-taken':
        this.#charsUnderWay -= this.#underWay.shift() ?? 0
        break
      case 'flush-records':
        this.#deps.foldStats()
        this.#send()
        this.#deps.send({ kind: 'records-flushed', request: request.request })
        break
    }
  }

  /** Sends what is left and stops. Idempotent. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#timer?.cancel()
    this.#deps.foldStats()
    this.#send()
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = this.#deps.clock.setTimer(this.#delayMs, () => {
      this.#timer = undefined
      // Nothing is lost when the receiver is busy: the next event or request sends it.
      if (!this.#sendUnlessBusy()) this.#arm()
    })
  }

  #sendUnlessBusy(): boolean {
    const isFree = this.#underWay.length < MAX_BATCHES
    if (isFree) this.#send()
    return isFree
  }

  #send(): void {
    const traffic = this.#deps.traffic.takeBatch()
    if (traffic === undefined && this.#lines.size === 0 && this.#droppedLines === 0) return
    const lines = [...this.#lines.values()]
    const droppedLines = this.#droppedLines
    this.#underWay.push(this.#chars)
    this.#charsUnderWay += this.#chars
    this.#lines.clear()
    this.#chars = 0
    this.#droppedLines = 0
    this.#deps.send({ kind: 'records', ...(traffic !== undefined && { traffic }), lines, droppedLines })
  }
}
