/** What goes over a connection, and how it ends. */
import { call, open, outcomeOf } from '../clients.ts'
import { instance } from '../network.ts'
import { text } from '../observation.ts'
import { PORTS } from '../servers.ts'
import { eventually } from '../../fixtures/eventually.ts'

import type net from 'node:net'
import type { Details, Lab, Scenario } from '../scenario.ts'

const IPV4 = '127.0.0.1'
const IPV6 = '::1'
const MANY_BYTES = 4 * 1024 * 1024

/** What a client sees that sends a word, or nothing, and FIN. */
async function outcomes(ports: Readonly<Record<string, number>>, word = 'hello'): Promise<Details> {
  const details: Record<string, Details[string]> = {}
  for (const [name, port] of Object.entries(ports))
    details[name] = text(outcomeOf(await call({ host: IPV4, port }, word)))
  return details
}

/** The connection that the first instance has on a port, once it is there. */
async function serverSide({ servers }: Lab, port: number): Promise<net.Socket> {
  const sockets = servers.openAt(instance(1, 'ipv4'), port)
  await eventually('the connection has reached its server', () => sockets.size > 0)
  const [socket] = sockets
  if (socket === undefined) throw new TypeError('there is a connection')
  return socket
}

function endOf(socket: net.Socket): Promise<'FIN' | 'RST'> {
  return new Promise((resolve) => {
    socket.once('end', () => {
      resolve('FIN')
    })
    socket.once('error', () => {
      resolve('RST')
    })
  })
}

async function manyBytes(): Promise<Details> {
  const details: Record<string, Details[string]> = {}
  const sent = 'x'.repeat(MANY_BYTES)
  for (const host of [IPV4, IPV6]) {
    const { received, end } = await call({ host, port: 12_001 }, sent)
    details[host] = text(
      `${received === sent ? 'all' : received.length} of ${sent.length}, ${end.toUpperCase()}`,
    )
  }
  return details
}

/** The server has closed its side; what the client sends after that still arrives. */
async function halfClosedByServer(lab: Lab): Promise<Details> {
  const client = open({ host: IPV4, port: 12_003 })
  const socket = await serverSide(lab, PORTS.halfClose)
  const atServer = endOf(socket)
  const seen = await client.ended
  client.socket.end('second')
  const end = await atServer
  return {
    client: text(outcomeOf(seen)),
    server: text(`${socket.bytesRead} bytes, ${end}`),
  }
}

/** What the server sees when the client goes in one way or another. */
async function gone(lab: Lab, leave: (socket: net.Socket) => void): Promise<Details> {
  const { socket } = open({ host: IPV4, port: 12_007 })
  const atServer = endOf(await serverSide(lab, PORTS.hold))
  leave(socket)
  const details = { 'the server sees': text(await atServer) }
  await eventually(
    'the server has none left',
    () => lab.servers.openAt(instance(1, 'ipv4'), PORTS.hold).size === 0,
  )
  return details
}

export const CONNECTIONS: Scenario = {
  file: 'connections',
  otherFiles: ['connections-eds'],
  cases: {
    'a word': () => outcomes({ echoed: 12_001, 'answered after the FIN of the client': 12_002 }),
    '4 MiB': manyBytes,
    'FIN of the server first': halfClosedByServer,
    'RST of the server': () =>
      outcomes({ 'on the first data': 12_004, 'soon after accept': 12_005, 'after an answer': 12_006 }),
    'FIN of the client': (lab) => gone(lab, (socket) => socket.end()),
    'RST of the client': (lab) => gone(lab, (socket) => socket.resetAndDestroy()),
    // Without a word: one that nobody has read turns the FIN of a closed socket into a RST, by chance.
    'no upstream': () => outcomes({ refused: 12_008, unreachable: 12_009, 'no endpoints': 12_010 }, ''),
  },
}
