/** What is set on the sockets of listeners. */
import { answerAndSourceOf, answerOf, call } from '../clients.ts'
import { ADDRESSES, instance, listSockets } from '../network.ts'
import { text } from '../observation.ts'

import type { Details, Scenario } from '../scenario.ts'

/** One thing of each listening socket on a port, by address. */
function listening(port: number, what: RegExp): Details {
  const details: Record<string, Details[string]> = {}
  for (const line of listSockets('-l', '-e', '-m', `sport = :${port}`)) {
    const address = line.trim().split(/\s+/)[3] ?? ''
    details[address] = text(what.exec(line)?.[1] ?? 'none')
  }
  return details
}

export const SOCKETS: Scenario = {
  file: 'sockets',
  cases: {
    'freebind, sockets of another machine': () => Promise.resolve(listening(17_001, /^(LISTEN)/)),
    SO_MARK: () => Promise.resolve(listening(17_002, /fwmark:(\S+)/)),
    'SO_RCVBUF for IPv4': () => Promise.resolve(listening(17_002, /,rb(\d+)/)),
    tcp_fast_open_queue_length: async () => ({
      client: text(answerOf(await call({ host: '127.0.0.1', port: 17_003 }))),
    }),
    'transparent, through TPROXY': async () => {
      const seen = (family: 'ipv4' | 'ipv6') =>
        call({ host: instance(2, family), port: 9000, from: ADDRESSES.transparent[family] })
      return {
        'IPv4 client': text(answerAndSourceOf(await seen('ipv4'))),
        'IPv6 client': text(answerAndSourceOf(await seen('ipv6'))),
      }
    },
  },
}
