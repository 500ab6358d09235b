/** The servers of the lab: every instance, in both families, has one of each behaviour on a port of its own. */
import { FAMILIES } from '../../src/core/family.ts'
import { listenTcp } from '../fixtures/tcp-servers.ts'
import { instance } from './network.ts'

import type { Behaviour, TestServer } from '../fixtures/tcp-servers.ts'

/** What the instances do on which port. On the ports from 9080 on nobody listens. */
export const PORTS = {
  /** Says which address it has and who connected, and closes. */
  banner: 9000,
  echo: 9001,
  /** Reads, and closes after the other side. */
  hold: 9002,
  /** Resets on the first data. */
  reset: 9003,
  /** Sends `first`, FIN, and then waits for the other side's. */
  halfClose: 9004,
  /** Resets soon after it has accepted, whatever comes. */
  resetSoon: 9005,
  /** Answers the first data with `partial`, and resets a while later. */
  partial: 9006,
  /** Sends `late` a while after the other side's FIN, then its own. */
  late: 9007,
  /** Reads and never closes. */
  never: 9008,
  /** As banner, in IPv6 only. */
  ipv6Banner: 9009,
} as const

/** Long enough for what was sent before to have been read and passed on. */
const PAUSE_MS = 500
const SERVING = [1, 2, 3, 4, 5, 6] as const

const banner: Behaviour = (socket) => {
  socket.resume()
  socket.end(`${socket.localAddress ?? ''} from ${socket.remoteAddress ?? ''}`)
}

const BEHAVIOURS: Readonly<Record<keyof typeof PORTS, Behaviour>> = {
  banner,
  echo: (socket) => {
    socket.pipe(socket)
  },
  hold: (socket) => {
    socket.resume()
    socket.on('end', () => socket.end())
  },
  reset: (socket) => {
    socket.once('data', () => socket.resetAndDestroy())
  },
  halfClose: (socket) => {
    socket.end('first')
    socket.resume()
  },
  resetSoon: (socket) => {
    setTimeout(() => socket.resetAndDestroy(), PAUSE_MS)
  },
  partial: (socket) => {
    socket.once('data', () => {
      socket.write('partial', () => setTimeout(() => socket.resetAndDestroy(), PAUSE_MS))
    })
  },
  late: (socket) => {
    socket.resume()
    socket.on('end', () => setTimeout(() => socket.end('late'), PAUSE_MS))
  },
  never: (socket) => {
    socket.resume()
  },
  ipv6Banner: banner,
}

/** The running servers. */
export class Servers {
  readonly #servers = new Map<string, TestServer>()

  static async start(): Promise<Servers> {
    const servers = new Servers()
    for (const [name, behaviour] of Object.entries(BEHAVIOURS)) {
      for (const number of SERVING) {
        for (const family of name === 'ipv6Banner' ? (['ipv6'] as const) : FAMILIES) {
          const host = instance(number, family)
          const port = PORTS[name as keyof typeof BEHAVIOURS]
          servers.#servers.set(`${host} ${port}`, await listenTcp(host, behaviour, port))
        }
      }
    }
    return servers
  }

  /** Connections that an instance has open. */
  openAt(host: string, port: number): TestServer['sockets'] {
    const server = this.#servers.get(`${host} ${port}`)
    if (server === undefined) throw new TypeError(`nobody listens on ${host} port ${port}`)
    return server.sockets
  }
}
