/** What takes time. */
import { setTimeout as sleep } from 'node:timers/promises'

import { answerOf, call, open, outcomeOf } from '../clients.ts'
import { text, time } from '../observation.ts'

import type { Seen, Target } from '../clients.ts'
import type { Observation } from '../observation.ts'
import type { Case, Details, Scenario } from '../scenario.ts'

/** twinstack looks at its limits once a second, and the machine is busy. */
const LIMIT_TOLERANCE_MS = 1_400
const CONNECT_TOLERANCE_MS = 150
/** A machine that stalls makes some tries of a case take longer, and none less long: the shortest counts. */
const TRIES = 3
/** From one try to the next: more than most stalls, and no whole number of twinstack's looks at its limits. */
const BETWEEN_TRIES_MS = 2_700

/** Runs the tries of a case, which may overlap. */
function tries<Result>(attempt: (index: number) => Promise<Result>): Promise<readonly Result[]> {
  return Promise.all(
    Array.from({ length: TRIES }, async (_, index) => {
      await sleep(index * BETWEEN_TRIES_MS)
      return attempt(index)
    }),
  )
}

/** What all tries saw, or each thing that some saw. */
function seenBy(outcomes: readonly string[]): Observation {
  return text([...new Set(outcomes)].join(' or '))
}

function shortest(seen: readonly Seen[], toleranceMs: number): Observation {
  return time(Math.min(...seen.map(({ tookMs }) => tookMs)), toleranceMs)
}

/** A connection on which the client does nothing but wait, and perhaps close its side. */
function waiting(target: Target, { isClosing = false } = {}): Case {
  return async () => {
    const seen = await tries(async () => {
      const connection = open(target)
      if (isClosing) connection.socket.end()
      const end = await connection.ended
      connection.socket.destroy()
      return end
    })
    return { outcome: seenBy(seen.map(outcomeOf)), after: shortest(seen, LIMIT_TOLERANCE_MS) }
  }
}

/** A connection that is used every now and then, in all for longer than its limit and the next look at it. */
async function used(): Promise<Details> {
  const connection = open({ host: '127.0.0.1', port: 13_005 })
  for (let word = 0; word < 14; word++) {
    connection.socket.write('x')
    await sleep(500)
  }
  const { received } = connection
  connection.socket.end()
  const { end } = await connection.ended
  return { 'after 7 s': text(`${received}, ${end.toUpperCase()}`) }
}

async function stillOpen(): Promise<Details> {
  const connection = open({ host: '127.0.0.1', port: 13_007 })
  const end = await Promise.race([connection.ended, sleep(2_500, 'open' as const)])
  connection.socket.destroy()
  return { 'after 2.5 s': text(end === 'open' ? end : outcomeOf(end)) }
}

/** Calls twice; the first call may be the one that finds out. Each try has a listener with an endpoint of its own. */
function twice(host: string, ports: readonly number[]): Case {
  return async () => {
    const calls = await tries(async (index) => {
      const target = { host, port: ports[index] ?? 0 }
      return { first: await call(target), second: await call(target) }
    })
    const first = calls.map((each) => each.first)
    return {
      answers: seenBy(first.map(answerOf)),
      after: shortest(first, CONNECT_TOLERANCE_MS),
      'the next one after': shortest(
        calls.map((each) => each.second),
        CONNECT_TOLERANCE_MS,
      ),
    }
  }
}

export const TIMEOUTS: Scenario = {
  file: 'timeouts',
  isParallel: true,
  cases: {
    'connect_timeout 1 s': waiting({ host: '127.0.0.1', port: 13_001 }),
    'connect_timeout 1 s of two silent addresses': waiting({ host: '127.0.0.1', port: 13_002 }),
    'the first address is silent, IPv4 client': twice('127.0.0.1', [13_003, 13_013, 13_023]),
    'idle_timeout 1 s': waiting({ host: '127.0.0.1', port: 13_004 }),
    'idle_timeout 4 s on a connection that is used': used,
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
