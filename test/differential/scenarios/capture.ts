/** Connections that were redirected, and where they go by the destination that they had. */
import { answerAndSourceOf, call, outcomeOf } from '../clients.ts'
import { ADDRESSES, instance } from '../network.ts'
import { text } from '../observation.ts'
import { PORTS } from '../servers.ts'

import type { Family } from '../../../src/core/family.ts'
import type { Case, Scenario } from '../scenario.ts'

/** Who answers the clients of each family that ask for an instance. */
function askedFor(number: number, port: number, client: 'captured' | 'inbound'): Case {
  return async () => {
    const seen = async (family: Family) =>
      call({ host: instance(number, family), port, from: ADDRESSES[client][family] })
    const [ipv4, ipv6] = [await seen('ipv4'), await seen('ipv6')]
    return {
      'IPv4 client': text(answerAndSourceOf(ipv4)),
      'IPv6 client': text(answerAndSourceOf(ipv6)),
    }
  }
}

export const CAPTURE: Scenario = {
  file: 'capture',
  cases: {
    'an address without a listener of its own': askedFor(2, PORTS.banner, 'captured'),
    'an address that is handed off, in IPv4': askedFor(3, PORTS.banner, 'captured'),
    'a port that is handed off, in IPv4': askedFor(4, 9100, 'captured'),
    'an instance that listens on IPv6 only': askedFor(2, PORTS.ipv6Banner, 'captured'),
    'an instance of this node that listens on IPv6 only': askedFor(1, PORTS.ipv6Banner, 'captured'),
    'a filter chain for the port': askedFor(1, 9100, 'inbound'),
    'a filter chain for the address, in IPv4': askedFor(3, PORTS.hold, 'inbound'),
    'a source address of each family': askedFor(4, PORTS.banner, 'inbound'),
    'the proxy itself': async () => ({
      client: text(outcomeOf(await call({ host: '127.0.0.1', port: 15_001 }))),
    }),
    'a listener that is not bound': async () => ({
      client: text(outcomeOf(await call({ host: '10.55.0.100', port: 9100 }))),
    }),
  },
}
