/**
 * Which proxy the client's connections meet on the node, and the kernel's count of what went where: the proof that a
 * measure was of that proxy does not rest on what the proxy says.
 */
import { FAMILIES } from '../../src/core/family.ts'
import { CLIENT_SIDE_INTERFACE } from './namespaces.ts'
import { SERVICE_NAMES, SERVICE_PORTS } from './services.ts'

import type { Family } from '../../src/core/family.ts'
import type { Namespaces } from './namespaces.ts'
import type { ServiceName } from './services.ts'

/** The port of the node that takes the connections to each service. */
export type CapturePorts = Readonly<Record<ServiceName, number>>

/** The ports of a proxy that asks the kernel where a connection was going: one is enough. */
export function captureAllAt(port: number): CapturePorts {
  return { echo: port, sink: port, source: port, transfer: port }
}

/** Bytes of packets, headers included, between the client and the node's own sockets or past them. */
export interface WayBytes {
  readonly toProxy: number
  readonly fromProxy: number
  readonly pastProxy: number
}

const TABLE = 'inet twinstack_bench'
const WAYS = ['to_proxy', 'from_proxy', 'past_proxy'] as const

/** Sends what the client opens from now on to these ports; `undefined`: to nobody, the node only routes. */
export async function redirect(namespaces: Namespaces, ports: CapturePorts | undefined): Promise<void> {
  await namespaces.run('node', 'nft', ['-f', '-'], renderRules(ports))
}

/** What was counted since the last {@link redirect}. */
export async function readWays(namespaces: Namespaces): Promise<Readonly<Record<Family, WayBytes>>> {
  const text = await namespaces.run('node', 'nft', ['list', 'table', ...TABLE.split(' ')])
  const waysOf = (family: Family): WayBytes => ({
    toProxy: counterBytes(text, `to_proxy_${family}`),
    fromProxy: counterBytes(text, `from_proxy_${family}`),
    pastProxy: counterBytes(text, `past_proxy_${family}`),
  })
  return { ipv4: waysOf('ipv4'), ipv6: waysOf('ipv6') }
}

function counterBytes(text: string, name: string): number {
  const bytes = new RegExp(`counter ${name} \\{\\s*packets \\d+ bytes (\\d+)`).exec(text)?.[1]
  if (bytes === undefined) throw new Error(`nft lists no counter ${name}`)
  return Number(bytes)
}

function renderRules(ports: CapturePorts | undefined): string {
  const counters = WAYS.flatMap((way) => FAMILIES.map((family) => `counter ${way}_${family} { }`))
  const count = (way: (typeof WAYS)[number], match: string): readonly string[] =>
    FAMILIES.map((family) => `meta nfproto ${family} ${match} counter name ${way}_${family}`)
  const own = ports === undefined ? undefined : `{ ${[...new Set(Object.values(ports))].join()} }`
  return [
    // The first line makes the second one work when there is no table yet.
    `table ${TABLE} { }`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    ...counters,
    ...(ports === undefined ? [] : chain('prerouting', 'nat', redirects(ports))),
    ...(own === undefined
      ? []
      : [
          ...chain('input', 'filter', count('to_proxy', `iifname ${CLIENT_SIDE_INTERFACE} tcp dport ${own}`)),
          ...chain(
            'output',
            'filter',
            count('from_proxy', `oifname ${CLIENT_SIDE_INTERFACE} tcp sport ${own}`),
          ),
        ]),
    ...chain('forward', 'filter', count('past_proxy', 'meta l4proto tcp')),
    '}',
    '',
  ].join('\n')
}

function redirects(ports: CapturePorts): readonly string[] {
  return SERVICE_NAMES.map(
    (service) =>
      `iifname ${CLIENT_SIDE_INTERFACE} tcp dport ${SERVICE_PORTS[service]} redirect to :${ports[service]}`,
  )
}

/** A chain named after its hook. */
function chain(hook: string, type: 'nat' | 'filter', rules: readonly string[]): readonly string[] {
  const priority = type === 'nat' ? 'dstnat' : 'filter'
  return [`chain ${hook} {`, `type ${type} hook ${hook} priority ${priority};`, ...rules, '}']
}
