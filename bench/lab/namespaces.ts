/**
 * Three network namespaces in a row, client - node - server, joined by veth pairs with both families. The node routes:
 * what no rule redirects goes from the client to the server without a proxy. Needs root on Linux, and `ip`.
 */
import { existsSync } from 'node:fs'

import { runCommand } from './command.ts'

import type { Family } from '../../src/core/family.ts'

export const PLACES = ['client', 'node', 'server'] as const

/** One of the three hosts. */
export type Place = (typeof PLACES)[number]

/** Where the server is, seen from the client. */
export const SERVER_ADDRESS: Readonly<Record<Family, string>> = {
  ipv4: '10.244.2.2',
  ipv6: 'fd00:10:244:2::2',
}

/** Where the node is, seen from the client. */
export const NODE_ADDRESS: Readonly<Record<Family, string>> = { ipv4: '10.244.1.1', ipv6: 'fd00:10:244:1::1' }

/** The node's interface towards the client. */
export const CLIENT_SIDE_INTERFACE = 'p0'

const SETUP: Readonly<Record<Place, readonly string[]>> = {
  client: [
    'addr add 10.244.1.2/24 dev c0',
    'addr add fd00:10:244:1::2/64 dev c0 nodad',
    'link set lo up',
    'link set c0 up',
    'route add default via 10.244.1.1',
    'route add ::/0 via fd00:10:244:1::1',
  ],
  node: [
    `addr add 10.244.1.1/24 dev ${CLIENT_SIDE_INTERFACE}`,
    `addr add fd00:10:244:1::1/64 dev ${CLIENT_SIDE_INTERFACE} nodad`,
    'addr add 10.244.2.1/24 dev p1',
    'addr add fd00:10:244:2::1/64 dev p1 nodad',
    'link set lo up',
    `link set ${CLIENT_SIDE_INTERFACE} up`,
    'link set p1 up',
  ],
  server: [
    'addr add 10.244.2.2/24 dev s0',
    'addr add fd00:10:244:2::2/64 dev s0 nodad',
    'link set lo up',
    'link set s0 up',
    'route add default via 10.244.2.1',
    'route add ::/0 via fd00:10:244:2::1',
  ],
}

/** Without the first three, a few seconds of new connections leave no port; then a connect waits for 75 ms. */
const SYSCTLS = [
  'net.ipv4.tcp_max_tw_buckets=1000',
  'net.ipv4.tcp_tw_reuse=1',
  'net.ipv4.ip_local_port_range=20000 64999',
  'net.core.somaxconn=4096',
  'net.ipv4.ip_forward=1',
  'net.ipv6.conf.all.forwarding=1',
]

export class Namespaces {
  readonly #prefix: string

  private constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** Makes the three. Their names hold the process id, so that several runs do not meet. */
  static async create(): Promise<Namespaces> {
    const namespaces = new Namespaces(`tsb-${process.pid}`)
    try {
      await namespaces.#build()
    } catch (reason) {
      await namespaces.close()
      throw reason
    }
    return namespaces
  }

  /** The command line that runs a program in one of them, as the same process. */
  within(place: Place, command: string, args: readonly string[]): readonly [string, ...string[]] {
    return ['ip', 'netns', 'exec', this.#nameOf(place), command, ...args]
  }

  /** A file of one of them, as istio-cni opens it. */
  fileOf(place: Place): string {
    return `/run/netns/${this.#nameOf(place)}`
  }

  /** Runs a program there to its end. */
  async run(place: Place, command: string, args: readonly string[], input = ''): Promise<string> {
    const [first, ...rest] = this.within(place, command, args)
    return await runCommand(first, rest, { input })
  }

  /** Removes them. Idempotent; the processes inside are the caller's. */
  async close(): Promise<void> {
    for (const place of PLACES) {
      // It may never have been made, or be gone already.
      await runCommand('ip', ['netns', 'del', this.#nameOf(place)]).catch(() => undefined)
    }
  }

  async #build(): Promise<void> {
    await removeStale()
    const [client, node, server] = [this.#nameOf('client'), this.#nameOf('node'), this.#nameOf('server')]
    await ipBatch(
      [],
      [
        ...[client, node, server].map((name) => `netns add ${name}`),
        `link add c0 netns ${client} type veth peer name ${CLIENT_SIDE_INTERFACE} netns ${node}`,
        `link add s0 netns ${server} type veth peer name p1 netns ${node}`,
      ],
    )
    for (const place of PLACES) {
      await ipBatch(['-n', this.#nameOf(place)], SETUP[place])
      await this.run(place, 'sysctl', ['-qw', ...SYSCTLS])
    }
  }

  #nameOf(place: Place): string {
    return `${this.#prefix}-${place}`
  }
}

/** Removes what a run has left that was killed. */
export async function removeStale(): Promise<void> {
  const names = (await runCommand('ip', ['netns', 'list']))
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
  for (const name of names) {
    const pid = /^tsb-(\d+)-/.exec(name)?.[1]
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue
    // Another run may do the same at this moment.
    await runCommand('ip', ['netns', 'del', name]).catch(() => undefined)
  }
}

/** Runs commands of ip(8), one in each line. */
export async function ipBatch(options: readonly string[], lines: readonly string[]): Promise<void> {
  await runCommand('ip', [...options, '-batch', '-'], { input: `${lines.join('\n')}\n` })
}
