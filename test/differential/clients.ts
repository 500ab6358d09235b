/** The clients of the lab: what each sees of a connection through a proxy. */
import net from 'node:net'

/** Where a client connects to, and from which address. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly from?: string
}

/** How the other end closed. `fin` in order, `rst` by reset, `refused` before there was a connection. */
export type End = 'fin' | 'rst' | 'refused'

/** What a client saw from connect to close. */
export interface Seen {
  readonly received: string
  readonly end: End
  readonly tookMs: number
}

/** A client's connection that stays open until the test or the proxy closes it. */
export interface OpenConnection {
  readonly socket: net.Socket
  /** What has come so far. */
  readonly received: string
  /** Resolves when the other end has closed, in one way or the other. */
  readonly ended: Promise<Seen>
}

const AT_ONCE = 8
const LONGEST_MS = 15_000

/** Connects and leaves the connection open. The outcome of the connect itself is part of `ended`. */
export function open({ host, port, from }: Target): OpenConnection {
  const startedAt = performance.now()
  let received = ''
  const socket = net.connect({
    host,
    port,
    allowHalfOpen: true,
    autoSelectFamily: false,
    ...(from !== undefined && { localAddress: from }),
  })
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    received += chunk
  })
  const ended = new Promise<Seen>((resolve) => {
    const finish = (end: End): void => {
      clearTimeout(limit)
      resolve({ received, end, tookMs: performance.now() - startedAt })
    }
    const limit = setTimeout(() => {
      socket.destroy(
        new Error(`the connection to ${host} port ${port} has not ended within ${LONGEST_MS} ms`),
      )
    }, LONGEST_MS)
    socket.once('end', () => {
      finish('fin')
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === undefined) throw error
      finish(error.code === 'ECONNREFUSED' ? 'refused' : 'rst')
    })
  })
  return {
    socket,
    ended,
    get received() {
      return received
    },
  }
}

/** Connects, sends text and FIN, and reads until the other end closes. */
export async function call(target: Target, text = ''): Promise<Seen> {
  const { socket, ended } = open(target)
  socket.end(text)
  const seen = await ended
  socket.destroy()
  return seen
}

/** Calls so often, several at once; what each saw, in no particular order. */
export async function callTimes(count: number, target: Target): Promise<readonly Seen[]> {
  const seen: Seen[] = []
  let started = 0
  const worker = async (): Promise<void> => {
    while (started < count) {
      started++
      seen.push(await call(target))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return seen
}

/** Calls so often, one after the other. */
export async function callInTurn(count: number, target: Target): Promise<readonly Seen[]> {
  const seen: Seen[] = []
  for (let index = 0; index < count; index++) seen.push(await call(target))
  return seen
}

/** The address of the instance that answered, or `nobody`. */
export function answerOf({ received, end }: Seen): string {
  const [address = ''] = received.split(' ')
  if (end === 'refused') return 'refused'
  return address === '' ? 'nobody' : address
}

/** The same with the address that the instance saw the connection come from. */
export function answerAndSourceOf(seen: Seen): string {
  return seen.received === '' ? answerOf(seen) : seen.received
}

/** What a client saw as `TEXT, END`. */
export function outcomeOf({ received, end }: Seen): string {
  return `${received === '' ? 'nothing' : received}, ${end.toUpperCase()}`
}
