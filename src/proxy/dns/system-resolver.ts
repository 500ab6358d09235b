/** Host names through the resolver of the machine, with its hosts file and search domains. */
import { lookup } from 'node:dns/promises'

import { parseIp } from '../../core/address.ts'

import type { HostResolver } from './host-refresher.ts'

/** The resolver of the machine (getaddrinfo). */
export const systemResolver: HostResolver = {
  async resolve(hostname) {
    const answers = await lookup(hostname, { all: true, verbatim: true })
    const byText = new Map(answers.map(({ address }) => parseIp(address)).map((ip) => [ip.text, ip]))
    return [...byText.values()]
  },
}
