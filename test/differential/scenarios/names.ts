/** Endpoints by name; the names are in the hosts file. */
import { answerOf, call, callTimes } from '../clients.ts'
import { shares, text } from '../observation.ts'

import type { Case, Details, Scenario } from '../scenario.ts'

const SAMPLE = 300

function byFamily(port: number): Case {
  return async () => ({
    'IPv4 client': text(answerOf(await call({ host: '127.0.0.1', port }))),
    'IPv6 client': text(answerOf(await call({ host: '::1', port }))),
  })
}

async function sharesOf(port: number): Promise<Details> {
  const [ipv4, ipv6] = [
    await callTimes(SAMPLE, { host: '127.0.0.1', port }),
    await callTimes(SAMPLE, { host: '::1', port }),
  ]
  return { 'IPv4 client': shares(ipv4.map(answerOf)), 'IPv6 client': shares(ipv6.map(answerOf)) }
}

export const NAMES: Scenario = {
  file: 'names',
  cases: {
    'STRICT_DNS AUTO': byFamily(15_101),
    'STRICT_DNS V4_ONLY': byFamily(15_102),
    'STRICT_DNS V6_ONLY': byFamily(15_103),
    'STRICT_DNS V4_PREFERRED': byFamily(15_104),
    'STRICT_DNS ALL': () => sharesOf(15_105),
    'LOGICAL_DNS AUTO': byFamily(15_106),
    'LOGICAL_DNS V4_ONLY': byFamily(15_107),
    'LOGICAL_DNS V6_ONLY': byFamily(15_108),
    'LOGICAL_DNS V4_PREFERRED': byFamily(15_109),
    'LOGICAL_DNS ALL': byFamily(15_110),
    'STRICT_DNS ALL of many addresses': () => sharesOf(15_111),
    'LOGICAL_DNS ALL of many addresses': () => sharesOf(15_112),
    'STRICT_DNS of an IPv4 name': byFamily(15_113),
    'STRICT_DNS of an IPv6 name': byFamily(15_114),
    'STRICT_DNS of a name that nobody knows': byFamily(15_115),
    'STRICT_DNS of an address': byFamily(15_116),
  },
}
