/** What access logs say. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

import { call, open } from '../clients.ts'
import { parseJson } from '../../fixtures/json.ts'
import { text, time } from '../observation.ts'
import { eventually } from '../../fixtures/eventually.ts'

import type net from 'node:net'
import type { Observation } from '../observation.ts'
import type { Case, Details, Lab, Scenario } from '../scenario.ts'

/** Ports from here on are chosen by the kernel. */
const FIRST_EPHEMERAL_PORT = 32_768
const DURATION_TOLERANCE_MS = 300

/** The first line of a file that fits, once it is there. */
async function firstLine({ proxy }: Lab, name: string, pattern = /^.+$/m): Promise<string> {
  const file = path.join(proxy.folder, name)
  const line = (): string | undefined =>
    existsSync(file) ? pattern.exec(readFileSync(file, 'utf8'))?.[0] : undefined
  await eventually(`${name} has the line`, () => line() !== undefined)
  return line() ?? ''
}

/** What a line says, with what differs from run to run left out. */
async function lineOf(lab: Lab, name: string): Promise<Details> {
  const line = await firstLine(lab, `${name}.json`)
  return Object.fromEntries(
    Object.entries(parseJson(line)).map(([key, value]) => [key, observationOf(key, value)]),
  )
}

function observationOf(key: string, value: unknown): Observation {
  if (key === 'DURATION') return time(Number(value), DURATION_TOLERANCE_MS)
  if (key === 'CONNECTION_ID') return text(typeof value)
  if (key === 'START_TIME') return text(String(value).replace(/\d/g, '9'))
  return text(JSON.stringify(value).replace(/\d{5}(?=")|^\d{5}$/, withoutEphemeralPort))
}

function withoutEphemeralPort(port: string): string {
  return Number(port) >= FIRST_EPHEMERAL_PORT ? 'PORT' : port
}

/** The line of a client that sends a word and FIN, or does something else. */
function lineAfter(name: string, port: number, act?: (socket: net.Socket) => void): Case {
  return async (lab) => {
    if (act === undefined) {
      await call({ host: '127.0.0.1', port }, 'hello')
    } else {
      const { socket, ended } = open({ host: '127.0.0.1', port })
      act(socket)
      await Promise.race([ended, new Promise((resolve) => socket.once('close', resolve))])
      socket.destroy()
    }
    return lineOf(lab, name)
  }
}

/** Resets once the echo has come back. */
function resetAfterEcho(socket: net.Socket): void {
  socket.write('hello')
  socket.once('data', () => socket.resetAndDestroy())
}

/** A line without the date, and with the keys of JSON, whose order means nothing, in one order. */
function withoutOrder(line: string): string {
  if (!line.startsWith('{')) return line.replace(/\d{4}-\d\d-\d\d/, 'DATE')
  return JSON.stringify(
    Object.fromEntries(Object.entries(parseJson(line)).sort(([a], [b]) => (a < b ? -1 : 1))),
  )
}

async function formats(lab: Lab): Promise<Details> {
  await call({ host: '127.0.0.1', port: 16_012 }, 'hello')
  const details: Record<string, Observation> = {}
  for (const name of ['format', 'json-format', 'typed-json-format', 'text-format', 'listener'])
    details[name] = text(withoutOrder(await firstLine(lab, `${name}.txt`)))
  for (const name of ['stdout', 'stderr']) details[name] = text(await firstLine(lab, name, /^to std.*$/m))
  return details
}

export const LOGS: Scenario = {
  file: 'logs',
  otherFiles: ['connections-eds'],
  isParallel: true,
  cases: {
    'an echo': lineAfter('echo', 16_001),
    refused: lineAfter('refused', 16_002, (socket) => socket.end()),
    unreachable: lineAfter('unreachable', 16_003, (socket) => socket.end()),
    'no endpoints': lineAfter('empty', 16_004, (socket) => socket.end()),
    'max_connections 0': lineAfter('overflow', 16_005, (socket) => socket.end()),
    'RST of the server': lineAfter('reset', 16_006),
    'RST of the client': lineAfter('gone', 16_007, resetAfterEcho),
    max_downstream_connection_duration: lineAfter('duration', 16_008, (socket) => socket.write('hello')),
    idle_timeout: lineAfter('idle', 16_009, (socket) => socket.write('hello')),
    'the first address refuses': lineAfter('second-address', 16_010),
    connect_timeout: lineAfter('timeout', 16_011, (socket) => socket.end()),
    formats,
    'no filter chain matches': lineAfter('no-chain', 16_013, (socket) => socket.end()),
  },
}
