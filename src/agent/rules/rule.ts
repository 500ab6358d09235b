/**
 * Redirection rules as data, once for both families and both backends: what a rule matches and does. nft-text.ts and
 * iptables-text.ts write them down. Matches stand in the order of nft; iptables has an order of its own for some.
 */
import type { Family } from '../../core/family.ts'

/** Where the kernel asks: packets that come in, and packets that are made here. */
export type Hook = 'prerouting' | 'output'

/** The tables of iptables, which istio-cni has in nft under names of its own. */
export type TableType = 'nat' | 'mangle' | 'raw'

export type Protocol = 'tcp' | 'udp'

/** One text for each family: a rule that names an address is one rule here and two in the kernel. */
export type PerFamily<T> = Readonly<Record<Family, T>>

/** What a rule looks at; all of a rule's matches have to fit. */
export type Match =
  | { readonly kind: 'protocol'; readonly protocol: Protocol }
  | (Negatable & {
      readonly kind: 'port'
      readonly protocol: Protocol
      readonly side: Side
      /** Not empty; a negated match has one. */
      readonly ports: readonly number[]
    })
  | (Negatable & {
      readonly kind: 'address'
      readonly side: Side
      /** Addresses or prefixes; a rule is left out in a family that has none. A negated match has one in each. */
      readonly prefixes: PerFamily<readonly string[]>
    })
  /** Addresses of this host. */
  | (Negatable & { readonly kind: 'own-address'; readonly side: Side })
  | (Negatable & { readonly kind: 'packet-mark' | 'connection-mark'; readonly mark: number })
  | (Negatable & { readonly kind: 'interface'; readonly direction: 'in' | 'out'; readonly name: string })

type Side = 'source' | 'destination'

interface Negatable {
  readonly isNot?: boolean
}

/** What a rule does with what it matches. */
export type Action =
  | { readonly kind: 'accept' | 'return' | 'restore-packet-mark' }
  /** To a port of this host; `to` names the address, else it is one of the interface that the packet came in by. */
  | { readonly kind: 'redirect'; readonly port: number; readonly to?: PerFamily<string | undefined> }
  | { readonly kind: 'set-packet-mark' | 'set-connection-mark'; readonly mark: number }
  | { readonly kind: 'set-zone'; readonly zone: number }

export interface Rule {
  readonly hook: Hook
  readonly matches: readonly Match[]
  readonly action: Action
  /** Why it is there; printed above it. */
  readonly comment: string
}

export interface RuleTable {
  readonly type: TableType
  /** In the order in which their rules are asked for. */
  readonly hooks: readonly Hook[]
  readonly rules: readonly Rule[]
}

/** What everything is called, by which it is found again for its removal. */
export interface RuleNames {
  /** Every table that may be there, also one that the present options leave out. */
  readonly tables: readonly TableType[]
  readonly nftTablePrefix: string
  readonly nftChainPrefix: string
  readonly iptablesChains: Readonly<Record<Hook, string>>
}

/** Routes that bring packets of connections with a preserved source address to a local socket. */
export interface PolicyRouting {
  readonly routeTable: number
}

/** Everything that one mode programs. */
export interface RuleSet {
  readonly names: RuleNames
  readonly families: readonly Family[]
  readonly tables: readonly RuleTable[]
  readonly natPriority: number
  /** True: before every other rule of its hook, also those that come later; else after those that are there. */
  readonly comesFirst: boolean
  readonly routing: PolicyRouting
}

/** The bits of a mark that redirection uses; the others belong to whoever else marks packets. */
export const MARK_MASK = 0xfff

/** Of connections whose answers have to come to a local socket, whatever address they go to. */
export const CONNECTION_MARK = 0x111

/** Where the routes of such answers are looked up. */
export const ROUTE_RULE_PRIORITY = 32_764

/** A number as marks are written: `0x539`. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`
}

/** True when the rule is another one in each family. */
export function isPerFamily({ matches, action }: Rule): boolean {
  return matches.some(({ kind }) => kind === 'address') || (action.kind === 'redirect' && 'to' in action)
}

/** True for a table whose rules send connections elsewhere. */
export function redirects({ type }: RuleTable): boolean {
  return type === 'nat'
}

/** True when a rule has something to match in a family. */
export function existsIn({ matches }: Rule, family: Family): boolean {
  return matches.every((match) => match.kind !== 'address' || match.prefixes[family].length > 0)
}
