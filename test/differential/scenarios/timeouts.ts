/** What takes time. */
import { setTimeout as sleep } from 'node:timers/promises'

import { answerOf, call, open, outcomeOf } from '../clients.ts'
import { text, time } from '../observation.ts'

import type { Target } from '../clients.ts'
import type { Case, Details, Scenario } from '../scenario.ts'

/** twinstack looks at its limits once a second, and the machine is busy. */
const LIMIT_TOLERANCE_MS = 1_400
const CONNECT_TOLERANCE_MS = 150

/** A connection on which the client does nothing but wait, and perhaps close its side. */
function waiting(target: Target, { isClosing = false } = {}): Case {
  return async () => {
    const connection = open(target)
    if (isClosing) connection.socket.end()
    const seen = await connection.ended
    connection.socket.destroy()
    return { outcome: text(outcomeOf(seen)), after: time(seen.tookMs, LIMIT_TOLERANCE_MS) }
  }
}

/** A connection that is used every now and then. */
async function used(): Promise<Details> {
  const connection = open({ host: '127.0.0.1', port: 13_005 })
  for (let word = 0; word < 6; word++) {
    connection.socket.write('x')
    await sleep(400)
  }
  const { received } = connection
  connection.socket.end()
  const { end } = await connection.ended
  return { 'after 2.4 s': text(`${received}, ${end.toUpperCase()}`) }
}

async function stillOpen(): Promise<Details> {
  const connection = open({ host: '127.0.0.1', port: 13_007 })
  const end = await Promise.race([connection.ended, sleep(2_500, 'open' as const)])
  connection.socket.destroy()
  return { 'after 2.5 s': text(end === 'open' ? end : outcomeOf(end)) }
}

/** Calls twice; the first call may be the one that finds out. */
function twice(target: Target): Case {
  return async () => {
    const first = await call(target)
    const second = await call(target)
    return {
      answers: text(answerOf(first)),
      after: time(first.tookMs, CONNECT_TOLERANCE_MS),
      'the next one after': time(second.tookMs, CONNECT_TOLERANCE_MS),
    }
  }
}

export const TIMEOUTS: Scenario = {
  file: 'timeouts',
  isParallel: true,
  cases: {
    'connect_timeout 1 s': waiting({ host: '127.0.0.1', port: 13_001 }),
    'connect_timeout 1 s of two silent addresses': waiting({ host: '127.0.0.1', port: 13_002 }),
    'the first address is silent, IPv4 client': twice({ host: '127.0.0.1', port: 13_003 }),
    'idle_timeout 1 s': waiting({ host: '127.0.0.1', port: 13_004 }),
    'idle_timeout 1 s on a connection that is used': used,
    'idle_timeout 1 s on a half-closed connection': waiting(
      { host: '127.0.0.1', port: 13_006 },
      { isClosing: true },
    ),
    'idle_timeout 0 s': stillOpen,
    'max_downstream_connection_duration 1 s': waiting({ host: '127.0.0.1', port: 13_008 }),
    'idle_timeout 1 s while connecting': waiting({ host: '127.0.0.1', port: 13_009 }),
    'max_downstream_connection_duration 1 s while connecting': waiting({ host: '127.0.0.1', port: 13_010 }),
  },
}
