/**
 * Rules as one POSIX shell script: here-documents for iptables-restore and ip6tables-restore, which replace the contents
 * of a chain in one step, then the jumps to the chains. Running it twice leaves what running it once does.
 */
import { MARK_MASK, existsIn, hex, redirects } from './rule.ts'
import { REMEMBER_FAILURE, whereFamilyIs } from './routes-text.ts'

import type { Family } from '../../core/family.ts'
import type { Action, Hook, Match, Protocol, Rule, RuleSet, RuleTable, TableType } from './rule.ts'

const PROGRAMS = { ipv4: '"$IPTABLES"', ipv6: '"$IP6TABLES"' } as const
const RESTORE = { ipv4: '"$IPTABLES-restore"', ipv6: '"$IP6TABLES-restore"' } as const
/** Seconds to wait for the lock of whoever else changes rules, kube-proxy for one. */
const WAIT = '-w 30'
const HOOKS: readonly Hook[] = ['prerouting', 'output']
const ADDRESS_FLAGS = { source: '-s', destination: '-d' } as const
const PORT_FLAGS = { source: '--sport', destination: '--dport' } as const
const ADDRESS_TYPE_FLAGS = { source: '--src-type', destination: '--dst-type' } as const

/** What a script starts with: which programs, and the functions that its other lines call. */
export const IPTABLES_PROLOGUE: readonly string[] = [
  'set -e',
  '# IPTABLES=iptables-legacy chooses the other variant, where a machine has both.',
  'IPTABLES=${IPTABLES:-iptables} IP6TABLES=${IP6TABLES:-ip6tables}',
  `has_jump() { "$1" ${WAIT} -t "$2" -C "$3" -j "$4" 2>/dev/null; }`,
  `last() { has_jump "$@" || "$1" ${WAIT} -t "$2" -A "$3" -j "$4"; }`,
  'first() {',
  `  [ "$("$1" ${WAIT} -t "$2" -S "$3" 1)" = "-A $3 -j $4" ] && return`,
  `  while has_jump "$@"; do "$1" ${WAIT} -t "$2" -D "$3" -j "$4"; done`,
  `  "$1" ${WAIT} -t "$2" -I "$3" 1 -j "$4"`,
  '}',
  'without() {',
  `  while has_jump "$@"; do "$1" ${WAIT} -t "$2" -D "$3" -j "$4" || return 1; done`,
  `  "$1" ${WAIT} -t "$2" -F "$4" 2>/dev/null || return 0`,
  `  "$1" ${WAIT} -t "$2" -X "$4"`,
  '}',
]

/** The lines that make the rules, after {@link IPTABLES_PROLOGUE}. */
export function iptablesLines(rules: RuleSet): readonly string[] {
  const { names, tables, comesFirst } = rules
  const jump = comesFirst ? 'first' : 'last'
  const leftOver = names.tables.filter((type) => tables.every((table) => table.type !== type))
  return rules.families.flatMap((family) => {
    const program = PROGRAMS[family]
    return whereFamilyIs(family, [
      ...leftOver.flatMap((type) => removalLines(rules, type, family)),
      `${RESTORE[family]} ${WAIT} --noflush <<'RULES'`,
      ...tables.flatMap((table) => tableLines(rules, table, family)),
      'RULES',
      ...tables.flatMap(({ type, hooks }) =>
        hooks.map((hook) => `${jump} ${program} ${type} ${hook.toUpperCase()} ${names.iptablesChains[hook]}`),
      ),
    ])
  })
}

/** The lines that make nothing redirect, after {@link IPTABLES_PROLOGUE}; the jumps to the chains stay. */
export function iptablesPauseLines(rules: RuleSet): readonly string[] {
  return rules.families.flatMap((family) =>
    whereFamilyIs(family, [
      `${RESTORE[family]} ${WAIT} --noflush <<'RULES'`,
      ...rules.tables
        .filter(redirects)
        .flatMap((table) => tableLines(rules, { ...table, rules: [] }, family)),
      'RULES',
    ]),
  )
}

/** The lines that remove them, after {@link IPTABLES_PROLOGUE}, within removalScript; what is not there is no error. */
export function iptablesRemovalLines(rules: RuleSet): readonly string[] {
  return rules.families.flatMap((family) =>
    whereFamilyIs(family, [
      // What follows takes a failure for "not there"; without the right or the program, this line fails.
      `${PROGRAMS[family]} ${WAIT} -t nat -S >/dev/null ${REMEMBER_FAILURE}`,
      ...rules.names.tables
        .flatMap((type) => removalLines(rules, type, family))
        .map((line) => `${line} ${REMEMBER_FAILURE}`),
    ]),
  )
}

function removalLines({ names }: RuleSet, type: TableType, family: Family): readonly string[] {
  return HOOKS.map(
    (hook) => `without ${PROGRAMS[family]} ${type} ${hook.toUpperCase()} ${names.iptablesChains[hook]}`,
  )
}

/** `:CHAIN - [0:0]` makes a chain, or empties the one that is there. */
function tableLines({ names }: RuleSet, table: RuleTable, family: Family): readonly string[] {
  const hooks = HOOKS.filter((hook) => table.hooks.includes(hook))
  return [
    `*${table.type}`,
    ...hooks.map((hook) => `:${names.iptablesChains[hook]} - [0:0]`),
    ...table.rules
      .filter((rule) => existsIn(rule, family))
      .flatMap((rule) => [
        `# ${rule.comment}`,
        ...ruleTexts(rule, family).map((text) => `-A ${names.iptablesChains[rule.hook]} ${text}`),
      ]),
    'COMMIT',
  ]
}

/** One line for each prefix and port: a rule of iptables has one of each. */
function ruleTexts({ matches, action }: Rule, family: Family): readonly string[] {
  // Options of the packet itself stand before those of modules; `-p` is what a match on ports implies.
  const head = [
    matches.flatMap((match) => (match.kind === 'address' ? [addressTexts(match, family)] : [])),
    matches.flatMap((match) => (match.kind === 'interface' ? [[interfaceText(match)]] : [])),
    protocolsOf(matches).map((protocol) => [`-p ${protocol}`]),
  ].flat()
  const parts = [...head, ...matches.map(moduleTexts), [actionText(action, family)]]
  return parts
    .filter((texts) => texts.length > 0)
    .reduce<readonly string[]>(
      (lines, texts) =>
        lines.flatMap((line) => texts.map((text) => (line === '' ? text : `${line} ${text}`))),
      [''],
    )
}

function addressTexts(match: Extract<Match, { kind: 'address' }>, family: Family): readonly string[] {
  return match.prefixes[family].map((prefix) => `${not(match)}${ADDRESS_FLAGS[match.side]} ${prefix}`)
}

function interfaceText(match: Extract<Match, { kind: 'interface' }>): string {
  return `${not(match)}${match.direction === 'in' ? '-i' : '-o'} ${match.name}`
}

function protocolsOf(matches: readonly Match[]): readonly Protocol[] {
  const found = matches.flatMap((match) => ('protocol' in match ? [match.protocol] : []))
  return [...new Set(found)]
}

function moduleTexts(match: Match): readonly string[] {
  switch (match.kind) {
    case 'port':
      return match.ports.map((port) => `-m ${match.protocol} ${not(match)}${PORT_FLAGS[match.side]} ${port}`)
    case 'own-address':
      return [`-m addrtype ${not(match)}${ADDRESS_TYPE_FLAGS[match.side]} LOCAL`]
    case 'packet-mark':
      return [`-m mark ${not(match)}--mark ${masked(match.mark)}`]
    case 'connection-mark':
      return [`-m connmark ${not(match)}--mark ${masked(match.mark)}`]
    case 'protocol':
    case 'address':
    case 'interface':
      return []
  }
}

function not({ isNot = false }: { readonly isNot?: boolean }): string {
  return isNot ? '! ' : ''
}

function masked(mark: number): string {
  return `${hex(mark)}/${hex(MARK_MASK)}`
}

function actionText(action: Action, family: Family): string {
  switch (action.kind) {
    case 'accept':
    case 'return':
      return `-j ${action.kind.toUpperCase()}`
    case 'redirect': {
      const address = action.to?.[family]
      if (address === undefined) return `-j REDIRECT --to-ports ${action.port}`
      const host = family === 'ipv4' ? address : `[${address}]`
      return `-j DNAT --to-destination ${host}:${action.port}`
    }
    case 'restore-packet-mark':
      return '-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff'
    case 'set-packet-mark':
      return `-j MARK --set-xmark ${masked(action.mark)}`
    case 'set-connection-mark':
      return `-j CONNMARK --set-xmark ${masked(action.mark)}`
    case 'set-zone':
      return `-j CT --zone ${action.zone}`
  }
}
