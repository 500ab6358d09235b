/**
 * Policy routing as commands of ip(8) for a POSIX shell: what has the connection mark is delivered on this host, whatever
 * its address is. It stands beside the rules, because neither nft nor iptables can say it.
 */
import { CONNECTION_MARK, MARK_MASK, ROUTE_RULE_PRIORITY, hex } from './rule.ts'

import type { Family } from '../../core/family.ts'
import type { PolicyRouting, RuleSet } from './rule.ts'

const IP = { ipv4: 'ip -4', ipv6: 'ip -6' } as const
const EVERYTHING = { ipv4: '0.0.0.0/0', ipv6: '::/0' } as const
const MARK = `${hex(CONNECTION_MARK)}/${hex(MARK_MASK)}`

/** Ends a line of a removal, so that what cannot be removed keeps nothing else, such as the other family. */
export const REMEMBER_FAILURE = '|| failed=1'

/** True while the kernel has the family at all; a family that it lacks has no packets either. */
const HAS_IPV6 = '[ -d /proc/sys/net/ipv6 ]'

type Routed = Pick<RuleSet, 'families' | 'routing'>

/** The commands, for people to read: `ip -4 rule add …`, `ip -4 route replace …`. */
export function routeCommands({ families, routing }: Routed): readonly string[] {
  return families.flatMap((family) => [
    `${IP[family]} rule add ${ruleText(routing)}`,
    `${IP[family]} route replace ${routeText(family, routing)}`,
  ])
}

/** Lines that make the routes where they are not there. */
export function routeLines({ families, routing }: Routed): readonly string[] {
  return families.flatMap((family) => {
    const ip = IP[family]
    const rule = `${hasRule(family, routing)} || ${ip} rule add ${ruleText(routing)}`
    const route = `${ip} route replace ${routeText(family, routing)}`
    return whereFamilyIs(family, [
      rule,
      // The loopback may have IPv6 off where the kernel has it on.
      family === 'ipv4' ? route : `[ "$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6)" = 1 ] || ${route}`,
    ])
  })
}

/** Lines that remove them; what is not there is no error. Within {@link removalScript}. */
export function routeRemovalLines({ families, routing }: Routed): readonly string[] {
  return families.flatMap((family) => {
    const ip = IP[family]
    return whereFamilyIs(family, [
      // Asked first, so that a removal that is not permitted fails instead of doing nothing.
      `while ${hasRule(family, routing)}; do ${ip} rule del ${ruleText(routing)} || { failed=1; break; }; done`,
      `${ip} route del ${routeText(family, routing)} 2>/dev/null || :`,
    ])
  })
}

/** The lines of a removal, and what makes them fail at the end when one of them has. */
export function removalScript(lines: readonly string[]): readonly string[] {
  return ['failed=', ...lines, '[ -z "$failed" ]']
}

/** The lines of a family that the machine may lack. */
export function whereFamilyIs(family: Family, lines: readonly string[]): readonly string[] {
  if (family === 'ipv4') return lines
  return [
    `if ${HAS_IPV6}; then`,
    ...lines,
    'else',
    "  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2",
    'fi',
  ]
}

/** Asks for the very rule: another one may have its priority and its mark, and lead elsewhere. */
function hasRule(family: Family, routing: PolicyRouting): string {
  return `[ -n "$(${IP[family]} rule show ${ruleText(routing)})" ]`
}

function ruleText({ routeTable }: PolicyRouting): string {
  return `fwmark ${MARK} pref ${ROUTE_RULE_PRIORITY} lookup ${routeTable}`
}

function routeText(family: Family, { routeTable }: PolicyRouting): string {
  return `local ${EVERYTHING[family]} dev lo table ${routeTable}`
}
