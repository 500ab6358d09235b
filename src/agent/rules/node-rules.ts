/**
 * The rules in the host's network namespace for a cluster without istio-cni: TCP out of and into the pods of this node
 * goes through the agent, in both families. Only the PREROUTING hook redirects, so that nothing the host itself sends is
 * touched: probes of the kubelet and the agent's own connections go out by OUTPUT.
 */
import { HBONE_PORT } from '../../mesh/workload.ts'
import { CONNECTION_MARK } from './rule.ts'

import type { Match, PerFamily, Rule, RuleNames, RuleSet, RuleTable } from './rule.ts'
import type { NodeRulesOptions } from './rules-options.ts'

/** Names of our own: istio-cni has rules for probes in the host's namespace, and a removal must not take them. */
const NODE_NAMES: RuleNames = {
  tables: ['nat', 'mangle'],
  nftTablePrefix: 'twinstack-node-',
  nftChainPrefix: 'twinstack-',
  iptablesChains: { prerouting: 'TWINSTACK_PRERT', output: 'TWINSTACK_OUTPUT' },
}

/** Before kube-proxy (-100), which replaces the address of a service: the agent has to see that address. */
const BEFORE_DSTNAT_PRIORITY = -110
/** Table 100 of the host may be somebody's already. */
const ROUTE_TABLE = 1_337

/** Addresses that belong to the link or to nobody: metadata servers, node-local DNS, neighbour discovery, multicast. */
const NEVER_CAPTURED: PerFamily<readonly string[]> = {
  ipv4: ['127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32'],
  ipv6: ['::1/128', 'fe80::/10', 'ff00::/8'],
}

const TCP: Match = { kind: 'protocol', protocol: 'tcp' }

/** All rules of the mode. */
export function nodeRules(options: NodeRulesOptions): RuleSet {
  return {
    names: NODE_NAMES,
    families: options.families,
    tables: [natTable(options), mangleTable(options)],
    natPriority: BEFORE_DSTNAT_PRIORITY,
    comesFirst: true,
    routing: { routeTable: ROUTE_TABLE },
  }
}

function natTable(options: NodeRulesOptions): RuleTable {
  const { podCidrs, outboundPort, inboundPort, nodeIps } = options
  const redirect = (port: number): Rule['action'] => ({
    kind: 'redirect',
    port,
    ...(nodeIps !== undefined && { to: nodeIps }),
  })
  const ports = [...new Set([outboundPort, inboundPort, HBONE_PORT, ...options.excludedPorts])]
  const passes = (comment: string, ...matches: readonly Match[]): Rule => ({
    hook: 'prerouting',
    matches,
    action: { kind: 'return' },
    comment,
  })
  return {
    type: 'nat',
    hooks: ['prerouting'],
    rules: [
      passes('the agent itself', { kind: 'packet-mark', mark: options.packetMark }),
      passes('addresses of the link and of groups', {
        kind: 'address',
        side: 'destination',
        prefixes: NEVER_CAPTURED,
      }),
      ...excludedRules(options.excludedCidrs, passes),
      passes("the agent's own ports, and those that were excluded", {
        kind: 'port',
        protocol: 'tcp',
        side: 'destination',
        ports,
      }),
      // Before the next: kube-proxy in IPVS mode makes them addresses of the node.
      ...serviceRules(options, redirect(outboundPort)),
      passes('to this node: the kubelet, pods in the network of the host, node ports', {
        kind: 'own-address',
        side: 'destination',
      }),
      {
        hook: 'prerouting',
        matches: [TCP, { kind: 'address', side: 'source', prefixes: podCidrs }],
        action: redirect(outboundPort),
        comment: 'connections of pods of this node',
      },
      {
        hook: 'prerouting',
        matches: [TCP, { kind: 'address', side: 'destination', prefixes: podCidrs }],
        action: redirect(inboundPort),
        comment: 'connections to pods of this node that come from elsewhere',
      },
    ],
  }
}

function serviceRules({ podCidrs, serviceCidrs }: NodeRulesOptions, action: Rule['action']): readonly Rule[] {
  if (serviceCidrs.ipv4.length === 0 && serviceCidrs.ipv6.length === 0) return []
  return [
    {
      hook: 'prerouting',
      matches: [
        TCP,
        { kind: 'address', side: 'source', prefixes: podCidrs },
        { kind: 'address', side: 'destination', prefixes: serviceCidrs },
      ],
      action,
      comment: 'connections of pods of this node to services',
    },
  ]
}

function excludedRules(
  prefixes: PerFamily<readonly string[]>,
  passes: (comment: string, ...matches: readonly Match[]) => Rule,
): readonly Rule[] {
  if (prefixes.ipv4.length === 0 && prefixes.ipv6.length === 0) return []
  return [
    passes('to what was excluded', { kind: 'address', side: 'destination', prefixes }),
    passes('from what was excluded', { kind: 'address', side: 'source', prefixes }),
  ]
}

function mangleTable({ packetMark }: NodeRulesOptions): RuleTable {
  return {
    type: 'mangle',
    hooks: ['prerouting', 'output'],
    rules: [
      {
        hook: 'output',
        matches: [
          { kind: 'packet-mark', mark: packetMark },
          { kind: 'own-address', side: 'source', isNot: true },
        ],
        action: { kind: 'set-connection-mark', mark: CONNECTION_MARK },
        comment:
          'connections that the agent makes from the address of its client (ENABLE_ORIG_SRC) are remembered',
      },
      {
        hook: 'prerouting',
        matches: [{ kind: 'connection-mark', mark: CONNECTION_MARK }],
        action: { kind: 'set-packet-mark', mark: CONNECTION_MARK },
        comment: 'and answers on them are marked, which the policy routing brings back to the agent',
      },
    ],
  }
}
