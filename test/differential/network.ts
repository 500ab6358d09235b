/**
 * The network that both proxies get, each in a namespace of its own: addresses of both families on loopback, one that
 * is silent, and redirection of what comes from the captured client.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'

import type { Family } from '../../src/core/family.ts'

/** The address of instance `number` (1–9), which servers listen on. */
export function instance(number: number, family: Family): string {
  return family === 'ipv4' ? `10.55.0.${number}` : `fd55::${number}`
}

/** Addresses that clients connect to and from, beside the loopback addresses. */
export const ADDRESSES = {
  /** Of the node: reached through wildcard listeners only. */
  node: { ipv4: '10.55.0.100', ipv6: 'fd55::100' },
  /** Of a client that filter chains know. */
  known: { ipv4: '10.55.0.70', ipv6: 'fd55::70' },
  /** Of a client whose connections to instances are redirected to port 15001. */
  captured: { ipv4: '10.55.0.71', ipv6: 'fd55::71' },
  /** Of a client whose connections to instances are redirected to port 15006. */
  inbound: { ipv4: '10.55.0.72', ipv6: 'fd55::72' },
  /** Of a client whose connections to instances come to port 17004 with the address that they were sent to. */
  transparent: { ipv4: '10.55.0.73', ipv6: 'fd55::73' },
  /** Of connections that a proxy makes with a bind config. */
  source: { ipv4: '10.55.0.80', ipv6: 'fd55::80' },
  otherSource: { ipv4: '10.55.0.81', ipv6: 'fd55::81' },
} as const

const INSTANCES = [1, 2, 3, 4, 5, 6, 7, 8, 9]

/** Names in the hosts file of the namespace. */
const HOSTS = `127.0.0.1 localhost
::1 localhost
10.55.0.1 both.test
fd55::1 both.test
10.55.0.2 both-more.test
10.55.0.3 both-more.test
fd55::2 both-more.test
10.55.0.4 ipv4.test
fd55::5 ipv6.test
`

/** Instance 9 is silent: no packet gets to it. */
const RULES = `table inet lab {
  chain silent {
    type filter hook output priority 0; policy accept;
    ip daddr 10.55.0.9 drop
    ip6 daddr fd55::9 drop
  }
  chain capture {
    type nat hook output priority -100; policy accept;
    ip saddr 10.55.0.71 tcp dport 9000-9999 redirect to :15001
    ip6 saddr fd55::71 tcp dport 9000-9999 redirect to :15001
    ip saddr 10.55.0.72 tcp dport 9000-9999 redirect to :15006
    ip6 saddr fd55::72 tcp dport 9000-9999 redirect to :15006
  }
  chain transparent {
    type filter hook prerouting priority -150; policy accept;
    ip saddr 10.55.0.73 tcp dport 9000-9999 tproxy ip to :17004
    ip6 saddr fd55::73 tcp dport 9000-9999 tproxy ip6 to :17004
  }
}
`

/** Makes the network in the namespaces of this process. `folder` is for files that go away with the process. */
export function makeNetwork(folder: string): void {
  const addresses = [
    ...INSTANCES.map((number) => ({ ipv4: instance(number, 'ipv4'), ipv6: instance(number, 'ipv6') })),
    ...Object.values(ADDRESSES),
  ]
  const lines = addresses.flatMap(({ ipv4, ipv6 }) => [
    `addr add ${ipv4}/32 dev lo`,
    `addr add ${ipv6}/128 dev lo nodad`,
  ])
  execFileSync('ip', ['-batch', '-'], { input: ['link set lo up', ...lines].join('\n') })
  execFileSync('nft', ['-f', '-'], { input: RULES })
  const hosts = path.join(folder, 'hosts')
  writeFileSync(hosts, HOSTS)
  execFileSync('mount', ['--bind', hosts, '/etc/hosts'])
  const resolver = path.join(folder, 'resolv.conf')
  writeFileSync(resolver, 'nameserver 127.0.0.1\noptions attempts:1 timeout:1\n')
  execFileSync('mount', ['--bind', resolver, '/etc/resolv.conf'])
}

/** The sockets of the namespace as `ss` prints them, one to a line. */
export function listSockets(...args: readonly string[]): string[] {
  return execFileSync('ss', ['-H', '-O', '-n', '-t', ...args], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
}
