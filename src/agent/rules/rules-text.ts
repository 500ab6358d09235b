/** The whole text that `twinstack rules` prints: comments that say what it is, then the rules, the routes or their removal. */
import { FAMILIES } from '../../core/family.ts'
import { inpodRules } from './inpod-rules.ts'
import {
  IPTABLES_PROLOGUE,
  iptablesLines,
  iptablesPauseLines,
  iptablesRemovalLines,
} from './iptables-text.ts'
import { nftLines, nftPauseLines, nftRemovalLines } from './nft-text.ts'
import { nodeRules } from './node-rules.ts'
import { removalScript, routeCommands, routeLines, routeRemovalLines } from './routes-text.ts'

import type { RuleSet } from './rule.ts'
import type { Backend, RulesAction, RulesOptions, RulesRequest } from './rules-options.ts'

/** A backend, and why it is that one: the first line says it. */
export interface BackendChoice {
  readonly backend: Backend
  readonly reason: string
}

/** The rules, their pause or their removal, in the language of the backend. */
export function rulesText(
  { options, action }: Pick<RulesRequest, 'options' | 'action'>,
  { backend, reason }: BackendChoice,
): string {
  const rules = ruleSetOf(options)
  const title = `# backend ${backend}: ${reason}`
  return textOf([
    title,
    ...(backend === 'nft' ? nftText(options, rules, action) : iptablesText(options, rules, action)),
  ])
}

/** The policy routing or its removal, as a shell script. */
export function routesText({ options, action }: Pick<RulesRequest, 'options' | 'action'>): string {
  const rules = ruleSetOf(options)
  return textOf(
    action === 'remove'
      ? [...comments('Removes the policy routing.'), ...removalScript(routeRemovalLines(rules))]
      : [...comments(purposeOfRoutes(options)), 'set -e', ...routeLines(rules)],
  )
}

function ruleSetOf(options: RulesOptions): RuleSet {
  return options.mode === 'inpod' ? inpodRules(options) : nodeRules(options)
}

function nftText(options: RulesOptions, rules: RuleSet, action: RulesAction): readonly string[] {
  const command = `twinstack rules${flagsOfRoutes(options)}`
  if (action === 'pause') return [...comments(PAUSES, 'To be read by nft -f -.'), ...nftPauseLines(rules)]
  if (action === 'remove') {
    return [
      ...comments('Removes the rules; to be read by nft -f -. The policy routing is removed by:'),
      `#   ${command} --routes --remove | sh`,
      ...nftRemovalLines(rules.names),
    ]
  }
  return [
    ...about(options),
    ...comments('To be read by nft -f -, which replaces them as a whole.'),
    ...comments(purposeOfRoutes(options), 'nft has no words for it:'),
    `#   ${command} --routes | sh`,
    ...comments('which does, where it is not done yet:'),
    ...routeCommands(rules).map((line) => `#   ${line}`),
    ...nftLines(rules),
  ]
}

function iptablesText(options: RulesOptions, rules: RuleSet, action: RulesAction): readonly string[] {
  if (action === 'pause')
    return [...comments(PAUSES, 'To be read by sh.'), ...IPTABLES_PROLOGUE, ...iptablesPauseLines(rules)]
  if (action === 'remove') {
    return [
      ...comments('Removes the rules and the policy routing; to be read by sh.'),
      ...IPTABLES_PROLOGUE,
      ...removalScript([...iptablesRemovalLines(rules), ...routeRemovalLines(rules)]),
    ]
  }
  return [
    ...about(options),
    ...comments('To be read by sh; it may be run again.'),
    ...IPTABLES_PROLOGUE,
    ...comments(purposeOfRoutes(options)),
    ...routeLines(rules),
    ...comments('The rules.'),
    ...iptablesLines(rules),
  ]
}

/** What decides about the routes, as it was given. */
function flagsOfRoutes({ mode, families }: RulesOptions): string {
  const modeFlag = mode === 'inpod' ? '' : ` --mode ${mode}`
  return families.length === FAMILIES.length ? modeFlag : `${modeFlag} --families ${families.join()}`
}

function purposeOfRoutes({ mode }: RulesOptions): string {
  return mode === 'inpod'
    ? 'Policy routing: answers to the addresses of clients come to the proxy, which connected to the application from them.'
    : 'Policy routing, for ENABLE_ORIG_SRC=true: answers to the addresses of clients come to the agent, which connected from them.'
}

function about(options: RulesOptions): readonly string[] {
  return options.mode === 'inpod' ? ABOUT_INPOD : ABOUT_NODE
}

const PAUSES =
  'From here on no new connection is redirected. What is open goes on: marks and policy routing stay, for answers on it.'

const ABOUT_INPOD = comments(
  "For the network namespace of a pod: what istio-cni programs there, with Istio's names and in its order.",
  'localhost is never captured, nor what has the mark of the proxy.',
)

const ABOUT_NODE = comments(
  "For the network namespace of the host, where there is no istio-cni; the agent runs in the host's network.",
  'TCP from pods of this node goes to the outbound port, TCP to them from elsewhere to the inbound port.',
  'Between two pods of this node a connection passes the agent once, at the outbound port.',
  'Only PREROUTING redirects. So never captured, and without a rule:',
  '- what this node itself sends: probes of the kubelet, pods in the network of the host, the agent;',
  '- what a pod sends to its own localhost: it does not leave the pod;',
  '- answers, and connections that were there before the rules: nat looks at the first packet alone;',
  '- UDP and everything else that is not TCP.',
  'Captured after all, and perhaps to be excluded: calls to the control plane and to cluster DNS over TCP.',
  'Not captured into pods, and their policies are not asked: what kube-proxy or the CNI of this node sends there from a',
  'node port, a load balancer or a hostPort.',
)

function comments(...lines: readonly string[]): readonly string[] {
  return lines.map((line) => `# ${line}`)
}

function textOf(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`
}
