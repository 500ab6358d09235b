/** Rules in the language of nft(8): one transaction that replaces what is there, or removes it. Tables are of both families. */
import { MARK_MASK, existsIn, hex, isPerFamily, redirects } from './rule.ts'

import type { Family } from '../../core/family.ts'
import type { Action, Hook, Match, Rule, RuleNames, RuleSet, RuleTable, TableType } from './rule.ts'

/** Chain types and priorities of istio-cni; that of nat is the rule set's. */
const CHAIN_TYPES: Readonly<Record<TableType, Readonly<Record<Hook, string>>>> = {
  nat: { prerouting: 'nat', output: 'nat' },
  // `route`: a packet whose mark has changed is routed again.
  mangle: { prerouting: 'filter', output: 'route' },
  raw: { prerouting: 'filter', output: 'filter' },
}
const PRIORITIES = { mangle: -150, raw: -300 } as const

const IP = { ipv4: 'ip', ipv6: 'ip6' } as const
const HOOKS: readonly Hook[] = ['prerouting', 'output']

/** The lines that make the rules. */
export function nftLines(rules: RuleSet): readonly string[] {
  return [
    // Also the tables that are not made again: the options may have been others the last time.
    ...nftRemovalLines(rules.names),
    ...rules.tables.flatMap((table) => tableLines(rules, table)),
  ]
}

/** The lines that remove the tables. A table is made before, because nft fails where there is none. */
export function nftRemovalLines({ tables, nftTablePrefix }: RuleNames): readonly string[] {
  return tables.flatMap((type) => [
    `add table inet ${nftTablePrefix}${type}`,
    `delete table inet ${nftTablePrefix}${type}`,
  ])
}

/** The lines that make nothing of a table redirect. It stays: the kernel translates what is open by the chain that is there. */
export function nftPauseLines({ tables, names }: RuleSet): readonly string[] {
  return tables.filter(redirects).flatMap(({ type, hooks }) => {
    const name = `inet ${names.nftTablePrefix}${type}`
    return [
      `add table ${name}`,
      ...hooks.flatMap((hook) => [
        `add chain ${name} ${names.nftChainPrefix}${hook}`,
        `flush chain ${name} ${names.nftChainPrefix}${hook}`,
      ]),
    ]
  })
}

function tableLines({ names, families, natPriority }: RuleSet, table: RuleTable): readonly string[] {
  const name = `inet ${names.nftTablePrefix}${table.type}`
  const priority = table.type === 'nat' ? natPriority : PRIORITIES[table.type]
  const hooks = HOOKS.filter((hook) => table.hooks.includes(hook))
  return [
    `add table ${name}`,
    ...hooks.map(
      (hook) =>
        `add chain ${name} ${hook} { type ${CHAIN_TYPES[table.type][hook]} hook ${hook} priority ${priority} ; }`,
    ),
    ...hooks.map((hook) => `add chain ${name} ${names.nftChainPrefix}${hook}`),
    ...table.hooks.map((hook) => `add rule ${name} ${hook} jump ${names.nftChainPrefix}${hook}`),
    ...table.rules.flatMap((rule) => [
      `# ${rule.comment}`,
      ...ruleTexts(rule, families).map(
        (text) => `add rule ${name} ${names.nftChainPrefix}${rule.hook} ${text}`,
      ),
    ]),
  ]
}

/** A rule that names no address is one for both families. */
function ruleTexts(rule: Rule, families: readonly Family[]): readonly string[] {
  const written = isPerFamily(rule)
    ? families.filter((family) => existsIn(rule, family))
    : families.slice(0, 1)
  return written.map((family) =>
    [
      ...rule.matches.map((match) => matchText(match, family)),
      'counter',
      actionText(rule.action, family),
    ].join(' '),
  )
}

function matchText(match: Match, family: Family): string {
  switch (match.kind) {
    case 'protocol':
      return `meta l4proto ${match.protocol}`
    case 'port': {
      const side = match.side === 'source' ? 'sport' : 'dport'
      return `${match.protocol} ${side} ${operator(match)}${setOf(match.ports)}`
    }
    case 'address': {
      const side = match.side === 'source' ? 'saddr' : 'daddr'
      return `${IP[family]} ${side} ${operator(match)}${setOf(match.prefixes[family])}`
    }
    case 'own-address':
      return `fib ${match.side === 'source' ? 'saddr' : 'daddr'} type ${operator(match)}local`
    case 'packet-mark':
      return markText('meta mark', match)
    case 'connection-mark':
      return markText('ct mark', match)
    case 'interface':
      return `${match.direction === 'in' ? 'iifname' : 'oifname'} ${operator(match)}${match.name}`
  }
}

function operator({ isNot = false }: { readonly isNot?: boolean }): string {
  return isNot ? '!= ' : ''
}

function markText(key: string, { mark, isNot }: { readonly mark: number; readonly isNot?: boolean }): string {
  return `${key} & ${hex(MARK_MASK)} ${isNot === true ? '!=' : '=='} ${hex(mark)}`
}

function setOf(values: readonly (string | number)[]): string {
  return values.length === 1 ? values.join() : `{ ${values.join(', ')} }`
}

function actionText(action: Action, family: Family): string {
  switch (action.kind) {
    case 'accept':
    case 'return':
      return action.kind
    case 'redirect': {
      const address = action.to?.[family]
      if (address === undefined) return `redirect to :${action.port}`
      return `dnat ${IP[family]} to ${family === 'ipv6' ? `[${address}]` : address}:${action.port}`
    }
    case 'restore-packet-mark':
      return 'meta mark set ct mark'
    case 'set-packet-mark':
      return `meta mark set ${withMark('meta mark', action.mark)}`
    case 'set-connection-mark':
      return `ct mark set ${withMark('ct mark', action.mark)}`
    case 'set-zone':
      return `ct zone set ${action.zone}`
  }
}

/** The bits outside of the mask stay. */
function withMark(key: string, mark: number): string {
  return `${key} & ${hex(0xffff_ffff - MARK_MASK)} | ${hex(mark)}`
}
