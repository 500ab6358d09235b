/**
 * The kinds of load. Every connection ends with RST: a FIN would leave the client's port in TIME_WAIT, and a few
 * seconds of new connections would use the ports of the machine up.
 */
import net from 'node:net'

export interface Target {
  readonly host: string
  readonly port: number
}

/**
 * - `send`, `receive`: as many bytes as the other side takes or gives
 * - `request-response`: a request after each answer, on connections that stay
 * - `connect-request-close`: a new connection for each request
 * - `hold`: connections that are answered once and then left alone
 */
export type LoadKind = 'send' | 'receive' | 'request-response' | 'connect-request-close' | 'hold'

export interface LoadPlan {
  readonly kind: LoadKind
  readonly target: Target
  /** How many are open at a time. */
  readonly connections: number
}

/** What a run counts; `latenciesMs` may be emptied at any time. */
export interface LoadCounts {
  receivedBytes: number
  /** Answers. */
  completed: number
  errors: number
  firstError: string | undefined
  readonly latenciesMs: number[]
}

export interface LoadRun {
  readonly counts: LoadCounts
  readonly ready: Promise<void>
  stop(): void
}

const REQUEST = Buffer.alloc(64, 'r')
const SEND_CHUNK = Buffer.alloc(256 * 1_024, 'twinstack')
const RECEIVE_BUFFER_BYTES = 256 * 1_024
/** Connects of `hold` that are under way at a time: fewer than any backlog. */
const HOLD_AT_ONCE = 64

/** Starts connecting; half-open is allowed. The caller attaches an error handler in the same tick. */
export function connect(target: Target, onread?: net.OnReadOpts): net.Socket {
  return net.connect({
    ...target,
    noDelay: true,
    allowHalfOpen: true,
    autoSelectFamily: false,
    ...(onread !== undefined && { onread }),
  })
}

/** Starts a run. */
export function startLoad(plan: LoadPlan): LoadRun {
  const run = new SocketRun()
  switch (plan.kind) {
    case 'send':
      run.ready = run.openAll(plan, (open) => {
        startSending(run, open(connect(plan.target)))
      })
      break
    case 'receive':
      run.ready = run.openAll(plan, (open) => {
        open(connect(plan.target, countingReader(run)))
      })
      break
    case 'request-response':
      run.ready = run.openAll(plan, (open) => {
        startAsking(run, open(connect(plan.target)))
      })
      break
    case 'connect-request-close':
      for (let index = 0; index < plan.connections; index++) askAndClose(run, plan.target)
      break
    case 'hold':
      run.ready = holdAll(run, plan)
      break
  }
  return run
}

/** One connection: milliseconds from connect to the answer. */
export async function timeConnection(target: Target): Promise<number> {
  const run = new SocketRun()
  await new Promise<void>((resolve) => {
    askOnce(run, target, () => {
      resolve()
    })
  })
  run.stop()
  if (run.counts.firstError !== undefined) throw new Error(run.counts.firstError)
  return run.counts.latenciesMs[0] ?? NaN
}

/** The sockets of a run and what they have done. */
class SocketRun implements LoadRun {
  readonly counts: LoadCounts = {
    receivedBytes: 0,
    completed: 0,
    errors: 0,
    firstError: undefined,
    latenciesMs: [],
  }
  ready: Promise<void> = Promise.resolve()
  isStopped = false
  readonly #sockets = new Set<net.Socket>()

  add(socket: net.Socket): net.Socket {
    this.#sockets.add(socket)
    socket.on('error', (error) => {
      this.fail(error.message)
    })
    socket.on('end', () => {
      this.fail('the other side sent FIN')
    })
    socket.on('close', () => this.#sockets.delete(socket))
    return socket
  }

  fail(message: string): void {
    if (this.isStopped) return
    this.counts.errors++
    this.counts.firstError ??= message
  }

  answered(startedAtMs: number): void {
    this.counts.completed++
    this.counts.latenciesMs.push(performance.now() - startedAtMs)
  }

  /** Opens the connections of a plan; resolves when all are connected or one has failed. */
  async openAll(plan: LoadPlan, openOne: (open: (socket: net.Socket) => net.Socket) => void): Promise<void> {
    const connected: Promise<void>[] = []
    for (let index = 0; index < plan.connections; index++) {
      openOne((socket) => {
        connected.push(
          new Promise((resolve) => {
            socket.once('connect', resolve)
            socket.once('close', () => {
              resolve()
            })
          }),
        )
        return this.add(socket)
      })
    }
    await Promise.all(connected)
  }

  stop(): void {
    this.isStopped = true
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }
}

function startSending(run: SocketRun, socket: net.Socket): void {
  const fill = (): void => {
    while (!run.isStopped && !socket.destroyed && socket.write(SEND_CHUNK));
  }
  socket.on('connect', fill)
  socket.on('drain', fill)
  socket.resume()
}

/** Reads into one buffer again and again, so that the client is not what the measure waits for. */
function countingReader(run: SocketRun): net.OnReadOpts {
  return {
    buffer: Buffer.alloc(RECEIVE_BUFFER_BYTES),
    callback: (bytes) => {
      run.counts.receivedBytes += bytes
      return true
    },
  }
}

function startAsking(run: SocketRun, socket: net.Socket): void {
  let startedAtMs = performance.now()
  let missingBytes = REQUEST.length
  socket.on('data', (chunk) => {
    run.counts.receivedBytes += chunk.length
    missingBytes -= chunk.length
    if (missingBytes > 0 || run.isStopped) return
    run.answered(startedAtMs)
    startedAtMs = performance.now()
    missingBytes = REQUEST.length
    socket.write(REQUEST)
  })
  socket.write(REQUEST)
}

function askAndClose(run: SocketRun, target: Target): void {
  askOnce(run, target, (socket) => {
    socket.resetAndDestroy()
    if (!run.isStopped && run.counts.firstError === undefined) askAndClose(run, target)
  })
}

/** Connects and asks; `done` is called once, after the answer or a failure. */
function askOnce(run: SocketRun, target: Target, done: (socket: net.Socket) => void): void {
  const startedAtMs = performance.now()
  let missingBytes = REQUEST.length
  const socket = run.add(connect(target))
  socket.on('data', (chunk) => {
    run.counts.receivedBytes += chunk.length
    missingBytes -= chunk.length
    if (missingBytes !== 0) return
    run.answered(startedAtMs)
    done(socket)
  })
  socket.once('close', () => {
    if (missingBytes > 0) done(socket)
  })
  socket.write(REQUEST)
}

async function holdAll(run: SocketRun, { target, connections }: LoadPlan): Promise<void> {
  let opened = 0
  const openInTurn = async (): Promise<void> => {
    while (opened < connections && run.counts.firstError === undefined) {
      opened++
      await new Promise<void>((resolve) => {
        askOnce(run, target, () => {
          resolve()
        })
      })
    }
  }
  await Promise.all(Array.from({ length: HOLD_AT_ONCE }, openInTurn))
}
