/** Where connections are accepted, and which filter chain takes them. */
import { setTimeout } from 'node:timers/promises'

import { dumpedKinds, dumpedListeners } from '../admin.ts'
import { ADDRESSES, listSockets } from '../network.ts'
import { shares, text, texts } from '../observation.ts'
import { answerOf, call, callTimes, open, outcomeOf } from '../clients.ts'
import { eventually } from '../../fixtures/eventually.ts'

import type { Target } from '../clients.ts'
import type { Details, Scenario } from '../scenario.ts'

/** Who answers each of several calls. */
async function answers(targets: Readonly<Record<string, Target>>): Promise<Details> {
  const details: Record<string, Details[string]> = {}
  for (const [name, target] of Object.entries(targets)) details[name] = text(answerOf(await call(target)))
  return details
}

/** How long a proxy may take to set keepalive on a connection that it has just joined. */
const KEEPALIVE_IS_SET_MS = 6_000

/** The keepalive timer that runs on a socket, in minutes; `none` where there is none. */
async function keepaliveOf(filter: string): Promise<string> {
  let line: string | undefined
  await eventually('the connection is there', () => {
    ;[line] = listSockets('-o', 'state', 'established', filter)
    return line !== undefined
  })
  const timerOf = (text = ''): RegExpExecArray | null => /timer:\(keepalive,(\d+)min(\d+)?/.exec(text)
  const untilMs = performance.now() + KEEPALIVE_IS_SET_MS
  while (timerOf(line) === null && performance.now() < untilMs) {
    await setTimeout(50)
    ;[line] = listSockets('-o', 'state', 'established', filter)
  }
  const match = timerOf(line)
  if (match === null) return 'none'
  // The timer runs down from a whole minute.
  return `${Number(match[1]) + Math.ceil(Number(match[2] ?? 0) / 60)} min`
}

export const LISTENERS: Scenario = {
  file: 'listeners',
  cases: {
    'kinds in /config_dump': async ({ proxy }) => {
      const kinds = await dumpedKinds(proxy)
      return Object.fromEntries(kinds.map((kind) => [kind, text('there')]))
    },

    'listeners in /config_dump': async ({ proxy }) => texts(await dumpedListeners(proxy)),

    'a listener with several addresses': () =>
      answers({
        'IPv4 client': { host: '127.0.0.1', port: 10_001 },
        'IPv6 client': { host: '::1', port: 10_001 },
        'client of the third address': { host: ADDRESSES.node.ipv4, port: 10_001 },
        'client of an address that it has not': { host: ADDRESSES.node.ipv6, port: 10_001 },
      }),

    ipv4_compat: () =>
      answers({
        'IPv4 client': { host: '127.0.0.1', port: 10_002 },
        'IPv6 client': { host: '::1', port: 10_002 },
        'IPv4 client of a mapped address': { host: '127.0.0.1', port: 10_003 },
        'IPv4 client without it': { host: '127.0.0.1', port: 10_004 },
        'IPv6 client without it': { host: '::1', port: 10_004 },
      }),

    'filter chain match': () =>
      answers({
        'destination and client': { host: ADDRESSES.node.ipv4, port: 10_005, from: ADDRESSES.known.ipv4 },
        'destination, not the client': { host: ADDRESSES.node.ipv4, port: 10_005, from: '10.55.0.71' },
        'client, not the destination': { host: '127.0.0.5', port: 10_005, from: ADDRESSES.known.ipv4 },
        'IPv6 destination': { host: ADDRESSES.node.ipv6, port: 10_005 },
        'shorter IPv6 prefix': { host: '::1', port: 10_005 },
        'shorter IPv4 prefix': { host: '127.0.0.1', port: 10_005 },
        'the longer prefix wants another client': { host: '127.0.0.2', port: 10_005 },
        'nothing but the default': { host: '127.0.0.5', port: 10_005 },
      }),

    'no filter chain matches': async () => ({
      client: text(outcomeOf(await call({ host: '127.0.0.1', port: 10_007 }))),
    }),

    'weighted clusters': async () => ({
      shares: shares((await callTimes(600, { host: '127.0.0.1', port: 10_008 })).map(answerOf)),
    }),

    'listening sockets': () => {
      const lines = listSockets('-l', '-e', 'sport = :10009').sort()
      return Promise.resolve({
        addresses: text(lines.map((line) => line.trim().split(/\s+/)[3]).join(', ')),
        'queue lengths': text(lines.map((line) => line.trim().split(/\s+/)[2]).join(', ')),
        'only IPv6': text(lines.map((line) => /v6only:(\d)/.exec(line)?.[1] ?? 'IPv4').join(', ')),
      })
    },

    keepalive: async () => {
      const tuned = open({ host: '127.0.0.1', port: 10_009 })
      const untuned = open({ host: '127.0.0.1', port: 10_010 })
      const filters = {
        'of the client, 5 min': 'sport = :10009',
        'of the upstream, 7 min': '( dst 10.55.0.1 and dport = :9002 )',
        'of the client, not set': 'sport = :10010',
        'of the upstream, not set': '( dst 10.55.0.2 and dport = :9002 )',
      }
      const details = await Promise.all(
        Object.entries(filters).map(async ([name, filter]) => [name, await keepaliveOf(filter)] as const),
      )
      for (const { socket } of [tuned, untuned]) socket.destroy()
      return texts(Object.fromEntries(details))
    },
  },
}
