/** The applications behind the proxy, in a process of their own: each service listens on one port and does one thing. */
import { once } from 'node:events'
import net from 'node:net'

import { sampleProcess } from '../lib/process-sample.ts'
import { serveRole } from '../lib/role-calls.ts'
import { runTransferEnd } from '../lib/transfer-end.ts'

import type { ProcessSample } from '../lib/process-sample.ts'
import type { TransferVerdict } from '../lib/transfer-end.ts'

/**
 * - `sink` reads and counts
 * - `source` sends without end
 * - `echo` sends back what comes
 * - `transfer` is one end of a byte-exact transfer
 */
export type ServiceBehaviour = 'sink' | 'source' | 'echo' | 'transfer'

/** One address to listen on. */
export interface ServicePlan {
  readonly behaviour: ServiceBehaviour
  readonly host: string
  readonly port: number
}

/** What the applications have seen since they were started. */
export interface ServerSample extends ProcessSample {
  readonly receivedBytes: number
  readonly connections: number
  readonly openConnections: number
}

/** What the server's process answers. */
export interface ServerMethods {
  readonly listen: { readonly params: readonly ServicePlan[]; readonly result: null }
  readonly sample: { readonly params: { readonly collect: boolean }; readonly result: ServerSample }
  /** How many bytes the next transfer has, each way. */
  readonly expectTransfer: { readonly params: { readonly bytes: number }; readonly result: null }
  /** Waits for that transfer to end. */
  readonly transferVerdict: { readonly params: null; readonly result: TransferVerdict }
}

const BACKLOG = 4_096
const SOURCE_CHUNK = Buffer.alloc(256 * 1_024, 'twinstack')

let receivedBytes = 0
let connections = 0
let openConnections = 0
let transferBytes = 0
let verdict = newVerdict()

interface Verdict {
  readonly promise: Promise<TransferVerdict>
  readonly resolve: (verdict: TransferVerdict) => void
}

function newVerdict(): Verdict {
  let resolve: Verdict['resolve'] = () => undefined
  const promise = new Promise<TransferVerdict>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

const BEHAVIOURS: Readonly<Record<ServiceBehaviour, (socket: net.Socket) => void>> = {
  sink: (socket) => {
    socket.on('data', (chunk) => (receivedBytes += chunk.length))
    socket.on('end', () => socket.end())
  },
  source: (socket) => {
    const fill = (): void => {
      while (!socket.destroyed && socket.write(SOURCE_CHUNK));
    }
    socket.on('drain', fill)
    socket.resume()
    fill()
  },
  echo: (socket) => {
    socket.on('data', (chunk) => {
      receivedBytes += chunk.length
      socket.write(chunk)
    })
    socket.on('end', () => socket.end())
  },
  transfer: (socket) => {
    const plan = { bytes: transferBytes, sends: 'response', expects: 'request' } as const
    const { resolve } = verdict
    void runTransferEnd(socket, plan).then(resolve)
  },
}

async function listen({ behaviour, host, port }: ServicePlan): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    connections++
    openConnections++
    socket.on('close', () => openConnections--)
    // Clients reset when they have what they wanted; there is nobody to tell.
    socket.on('error', () => undefined)
    BEHAVIOURS[behaviour](socket)
  })
  server.listen({ host, port, ipv6Only: true, backlog: BACKLOG })
  await once(server, 'listening')
}

serveRole<ServerMethods>(
  {
    listen: async (plans) => {
      await Promise.all(plans.map(listen))
      return null
    },
    sample: (options) => ({ ...sampleProcess(options), receivedBytes, connections, openConnections }),
    expectTransfer: ({ bytes }) => {
      transferBytes = bytes
      verdict = newVerdict()
      return null
    },
    transferVerdict: () => verdict.promise,
  },
  { isRole: true },
)
