/**
 * Keeps a connection to istio-cni and tells the sink of the pods of the node, one message after the other. Pods that are
 * served stay so while there is no connection; the snapshot of the next one says which of them are gone.
 */
import { Backoff } from '../core/backoff.ts'
import { SinkCalls, podFields } from './sink-calls.ts'
import { ZDS_VERSION, encodeHello } from './zds-messages.ts'
import { ZdsSession } from './zds-session.ts'
import { noMessages } from './zds-status.ts'

import type { Clock, Timer } from '../core/clock.ts'
import type { LogFields, LogLevel, Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { PodSink } from './pod-sink.ts'
import type { Settled } from './sink-calls.ts'
import type { Task } from './zds-session.ts'
import type { ZdsObserver, ZdsStatus } from './zds-status.ts'
import type { ZdsChannel, ZdsPacket, ZdsTransport } from './zds-transport.ts'

export interface ZdsClientDeps {
  readonly transport: ZdsTransport
  readonly sink: PodSink
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly observer?: ZdsObserver
}

export interface ZdsClientOptions {
  /** Of istio-cni's socket. */
  readonly path: string
}

/** As ztunnel's. It starts over when a snapshot is complete: a server that only accepts would be asked without a pause. */
export const RECONNECT_BACKOFF = { initialMs: 20, maxMs: 15_000 } as const

/** A connection, or the attempt at one. */
interface Connection {
  readonly channel: ZdsChannel
  readonly session: ZdsSession
  /** Those that have not been looked at. */
  readonly packets: ZdsPacket[]
  isUp: boolean
  hasReceived: boolean
}

export class ZdsClient {
  readonly #deps: ZdsClientDeps
  readonly #path: string
  readonly #backoff: Backoff
  readonly #calls: SinkCalls
  readonly #messages = noMessages()
  #connection: Connection | undefined
  #reconnectTimer: Timer | undefined
  #isSeeingToMessages = false
  #isStarted = false
  #isClosed = false
  #sinceMs: number
  #everHadSnapshot = false
  #connects = 0
  #lastError: ZdsStatus['lastError']
  /** What was logged last of a state without a connection; the same again is not. */
  #loggedLoss: string | undefined

  constructor(deps: ZdsClientDeps, options: ZdsClientOptions) {
    this.#deps = deps
    this.#path = options.path
    this.#backoff = new Backoff(deps, RECONNECT_BACKOFF)
    this.#calls = new SinkCalls(deps)
    this.#sinceMs = deps.clock.wallTimeMs()
  }

  /** Makes the first attempt to connect. */
  start(): void {
    if (this.#isStarted || this.#isClosed) throw new TypeError('the client was started or closed before')
    this.#isStarted = true
    this.#connect()
  }

  /**
   * Ends the connection for good and closes what came with messages that have not been looked at. The sink is not called
   * any more; what it is doing goes on, unanswered. Idempotent.
   */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#reconnectTimer?.cancel()
    this.#calls.abandon()
    const connection = this.#connection
    if (connection === undefined) return
    connection.channel.close()
    this.#leave(connection)
  }

  /** What the client is doing. */
  get status(): ZdsStatus {
    const { add, keep, delete: deleted, 'snapshot-sent': snapshotSent, unknown } = this.#messages
    return {
      path: this.#path,
      isConnected: this.#connection?.isUp === true,
      sinceMs: this.#sinceMs,
      hasSnapshot: this.#connection?.session.hasSnapshot === true,
      everHadSnapshot: this.#everHadSnapshot,
      messages: {
        add: { ...add },
        keep: { ...keep },
        delete: { ...deleted },
        'snapshot-sent': { ...snapshotSent },
        unknown: { ...unknown },
      },
      reconnects: Math.max(0, this.#connects - 1),
      ...(this.#lastError !== undefined && { lastError: this.#lastError }),
    }
  }

  #connect(): void {
    this.#reconnectTimer = undefined
    const connection: Connection = {
      session: new ZdsSession(),
      packets: [],
      isUp: false,
      hasReceived: false,
      channel: this.#deps.transport.connect(this.#path, {
        connected: () => {
          this.#connected(connection)
        },
        received: (packet) => {
          this.#received(connection, packet)
        },
        closed: (reason) => {
          this.#closed(connection, reason)
        },
      }),
    }
    this.#connection = connection
  }

  #connected(connection: Connection): void {
    const { clock, observer } = this.#deps
    connection.isUp = true
    this.#sinceMs = clock.wallTimeMs()
    this.#connects++
    observer?.connectedChanged(true)
    if (this.#connects > 1) observer?.reconnected()
    connection.channel.send(encodeHello())
  }

  #received(connection: Connection, packet: ZdsPacket): void {
    if (!connection.hasReceived) {
      connection.hasReceived = true
      // Not at connecting: that succeeds before anybody accepts, and says nothing of who is there.
      this.#log('info', `connected to istio-cni at ${this.#path}`)
      this.#loggedLoss = undefined
    }
    connection.packets.push(packet)
    if (!this.#isSeeingToMessages) void this.#seeToMessages(connection)
  }

  /** The sink never rejects; if it does, that is a defect, and ends the process as an unhandled rejection. */
  async #seeToMessages(connection: Connection): Promise<void> {
    this.#isSeeingToMessages = true
    let packet
    while ((packet = connection.packets.shift()) !== undefined) await this.#seeTo(connection, packet)
    this.#isSeeingToMessages = false
    // When the connection went meanwhile, what waited for this message may go on.
    if (this.#connection === undefined) this.#reconnect()
  }

  async #seeTo(connection: Connection, packet: ZdsPacket): Promise<void> {
    const { session, channel } = connection
    const { kind, task, surplus } = session.receive(packet)
    for (const fd of surplus) this.#deps.transport.closeDescriptor(fd)
    const settled = await this.#calls.carryOut(task)
    const answer = session.settle('problem' in settled ? settled.problem : undefined)
    this.#messages[kind][settled.result]++
    this.#deps.observer?.message(kind, settled.result)
    if (answer.problem !== undefined) this.#reportProblem(task, settled, answer.problem)
    if (this.#connection !== connection) return
    channel.send(answer.bytes)
    if (task.kind === 'reconcile') this.#snapshotCompleted(task.uids.size)
  }

  #snapshotCompleted(podCount: number): void {
    this.#backoff.reset()
    this.#everHadSnapshot = true
    this.#log('info', `istio-cni has named every pod of the node: ${podCount}`)
    this.#deps.observer?.snapshotChanged(true)
  }

  #closed(connection: Connection, reason: string): void {
    const { isUp, hasReceived, session } = connection
    const isExpected = session.hasSnapshot
    const text = this.#describeLoss(connection, reason)
    this.#lastError = { text, atMs: this.#deps.clock.wallTimeMs() }
    // Attempts come by the minute for as long as istio-cni is away.
    if (this.#loggedLoss !== text || (isUp && hasReceived))
      this.#log(isExpected ? 'info' : 'warn', `${text}; connecting again, pods that are served stay so`)
    this.#loggedLoss = text
    this.#leave(connection)
    if (!this.#isSeeingToMessages) this.#reconnect()
  }

  #describeLoss({ isUp, hasReceived, session }: Connection, reason: string): string {
    const server = `istio-cni at ${this.#path}`
    if (!isUp) return `cannot connect to ${server}: ${reason}`
    if (!hasReceived)
      return `${server} has answered the hello with nothing (${reason}): it may not know version ${ZDS_VERSION} of the protocol`
    return `the connection to ${server} is lost${session.hasSnapshot ? '' : ' in the middle of a snapshot'}: ${reason}`
  }

  /** What was still to be seen to is not: the next snapshot says all of it again. */
  #leave(connection: Connection): void {
    const { clock, observer, transport } = this.#deps
    this.#connection = undefined
    for (const { descriptors } of connection.packets.splice(0))
      for (const fd of descriptors) transport.closeDescriptor(fd)
    if (connection.session.hasSnapshot) observer?.snapshotChanged(false)
    if (!connection.isUp) return
    this.#sinceMs = clock.wallTimeMs()
    observer?.connectedChanged(false)
  }

  /** Connects after a pause, and not before the last message is done with: the next would wait too long for its answer. */
  #reconnect(): void {
    if (this.#isClosed) return
    this.#reconnectTimer = this.#deps.clock.setTimer(this.#backoff.nextDelayMs(), () => {
      this.#connect()
    })
  }

  #reportProblem(task: Task, { result }: Settled, problem: string): void {
    // istio-cni tells everybody of pods that are gone, whoever serves them.
    const level: LogLevel = task.kind === 'delete' && result === 'failed' ? 'debug' : 'warn'
    this.#log(level, `answered istio-cni with an error: ${problem}`, podFields(task))
  }

  #log(level: LogLevel, message: string, fields?: LogFields): void {
    this.#deps.logger.log(level, message, fields)
  }
}
