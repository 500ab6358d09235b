/** Which address connections come from. */
import { answerAndSourceOf, call } from '../clients.ts'
import { text } from '../observation.ts'

import type { Case, Scenario } from '../scenario.ts'

/** From where the instance sees clients of each family come. */
function sourcesOf(port: number): Case {
  return async () => {
    const [ipv4, ipv6] = [await call({ host: '127.0.0.1', port }), await call({ host: '::1', port })]
    return {
      'of an IPv4 client': text(answerAndSourceOf(ipv4)),
      'of an IPv6 client': text(answerAndSourceOf(ipv6)),
    }
  }
}

export const SOURCES: Scenario = {
  file: 'sources',
  cases: {
    'a source of each family': sourcesOf(14_001),
    'a source of each family, to IPv6': sourcesOf(14_002),
    'a source of each family by the old name': sourcesOf(14_003),
    'the default of the file': sourcesOf(14_004),
    'the default of the file is of the other family': sourcesOf(14_005),
    'the cluster has its own': sourcesOf(14_006),
    'a source that the machine has not': sourcesOf(14_007),
    'a source of one family that the machine has not': sourcesOf(14_008),
  },
}
