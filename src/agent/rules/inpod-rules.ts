/**
 * The rules in the network namespace of a pod: those that istio-cni programs there, with its names, marks, priorities
 * and order (istio/istio cni/pkg/iptables/iptables.go AppendInpodRules, cni/pkg/nftables/nftables.go), for both families.
 */
import { HBONE_PORT } from '../../mesh/workload.ts'
import { CONNECTION_MARK } from './rule.ts'

import type { Match, PerFamily, Rule, RuleNames, RuleSet, RuleTable } from './rule.ts'
import type { InpodRulesOptions } from './rules-options.ts'

/** Names of istio-cni: whoever comes second finds and replaces the rules of the first. */
const INPOD_NAMES: RuleNames = {
  tables: ['nat', 'mangle', 'raw'],
  nftTablePrefix: 'istio-ambient-',
  nftChainPrefix: 'istio-',
  iptablesChains: { prerouting: 'ISTIO_PRERT', output: 'ISTIO_OUTPUT' },
}

const DNS_PORT = 53
const DNS_CAPTURE_PORT = 15_053
/** Conntrack zone of the proxy's own DNS queries, which would meet the ports of the captured ones (istio/istio#33469). */
const DNS_ZONE = 1
const ROUTE_TABLE = 100
const DSTNAT_PRIORITY = -100

const LOOPBACK: PerFamily<readonly string[]> = { ipv4: ['127.0.0.1/32'], ipv6: ['::1/128'] }
const TCP: Match = { kind: 'protocol', protocol: 'tcp' }
const NOT_TO_LOOPBACK: Match = { kind: 'address', side: 'destination', prefixes: LOOPBACK, isNot: true }

/** All rules of the mode. */
export function inpodRules(options: InpodRulesOptions): RuleSet {
  return {
    names: INPOD_NAMES,
    families: options.families,
    tables: [natTable(options), mangleTable(options), ...(options.capturesDns ? [rawTable(options)] : [])],
    natPriority: DSTNAT_PRIORITY,
    comesFirst: false,
    routing: { routeTable: ROUTE_TABLE },
  }
}

function natTable(options: InpodRulesOptions): RuleTable {
  const { probes, outboundPort, inboundPort, packetMark } = options
  const notOurs: Match = { kind: 'packet-mark', mark: packetMark, isNot: true }
  const probePrefixes = { ipv4: [probes.ipv4], ipv6: [probes.ipv6] }
  const inbound: readonly Rule[] = [
    {
      hook: 'prerouting',
      matches: [TCP, { kind: 'address', side: 'source', prefixes: probePrefixes }],
      action: { kind: 'accept' },
      comment: 'probes of the kubelet, which the node sends from this address',
    },
  ]
  const capture: readonly Rule[] = [
    {
      hook: 'prerouting',
      matches: [
        NOT_TO_LOOPBACK,
        { kind: 'port', protocol: 'tcp', side: 'destination', ports: [HBONE_PORT], isNot: true },
        notOurs,
      ],
      action: { kind: 'redirect', port: inboundPort },
      comment: 'connections into the pod',
    },
  ]
  return {
    type: 'nat',
    hooks: ['output', 'prerouting'],
    rules: [
      ...options.virtualInterfaces.flatMap((name) => virtualInterfaceRules(name, outboundPort)),
      ...(options.bypassesInbound ? [] : inbound),
      {
        hook: 'output',
        matches: [TCP, { kind: 'address', side: 'destination', prefixes: probePrefixes }],
        action: { kind: 'accept' },
        comment: 'answers to such probes',
      },
      ...(options.bypassesInbound ? [] : capture),
      ...(options.capturesDns ? dnsCapture(notOurs) : []),
      {
        hook: 'output',
        matches: [TCP, { kind: 'packet-mark', mark: CONNECTION_MARK }],
        action: { kind: 'accept' },
        comment: 'answers on connections that the proxy made from the address of its client',
      },
      {
        hook: 'output',
        matches: [{ kind: 'interface', direction: 'out', name: 'lo' }, NOT_TO_LOOPBACK],
        action: { kind: 'accept' },
        comment: 'an application that calls itself by the address of its pod',
      },
      {
        hook: 'output',
        matches: [TCP, NOT_TO_LOOPBACK, notOurs],
        action: { kind: 'redirect', port: outboundPort },
        comment: 'connections out of the pod; to localhost, and with the mark of the proxy, they pass',
      },
    ],
  }
}

function virtualInterfaceRules(name: string, outboundPort: number): readonly Rule[] {
  const matches: readonly Match[] = [{ kind: 'interface', direction: 'in', name }, TCP]
  const comment = `what comes from ${name} goes out of the pod`
  return [
    { hook: 'prerouting', matches, action: { kind: 'redirect', port: outboundPort }, comment },
    { hook: 'prerouting', matches, action: { kind: 'return' }, comment: 'and is done with' },
  ]
}

function dnsCapture(notOurs: Match): readonly Rule[] {
  const action = { kind: 'redirect', port: DNS_CAPTURE_PORT } as const
  return [
    {
      hook: 'output',
      matches: [
        { kind: 'interface', direction: 'out', name: 'lo', isNot: true },
        notOurs,
        { kind: 'port', protocol: 'udp', side: 'destination', ports: [DNS_PORT] },
      ],
      action,
      comment: 'DNS over UDP',
    },
    {
      hook: 'output',
      matches: [
        NOT_TO_LOOPBACK,
        { kind: 'port', protocol: 'tcp', side: 'destination', ports: [DNS_PORT] },
        notOurs,
      ],
      action,
      comment: 'DNS over TCP',
    },
  ]
}

function mangleTable({ packetMark }: InpodRulesOptions): RuleTable {
  return {
    type: 'mangle',
    hooks: ['prerouting', 'output'],
    rules: [
      {
        hook: 'prerouting',
        matches: [{ kind: 'packet-mark', mark: packetMark }],
        action: { kind: 'set-connection-mark', mark: CONNECTION_MARK },
        comment: 'connections of the proxy to the application are remembered',
      },
      {
        hook: 'output',
        matches: [{ kind: 'connection-mark', mark: CONNECTION_MARK }],
        action: { kind: 'restore-packet-mark' },
        comment: 'and answers on them are marked, which the policy routing brings back to the proxy',
      },
    ],
  }
}

function rawTable({ packetMark }: InpodRulesOptions): RuleTable {
  const action = { kind: 'set-zone', zone: DNS_ZONE } as const
  return {
    type: 'raw',
    hooks: ['prerouting', 'output'],
    rules: [
      {
        hook: 'output',
        matches: [
          { kind: 'port', protocol: 'udp', side: 'destination', ports: [DNS_PORT] },
          { kind: 'packet-mark', mark: packetMark },
        ],
        action,
        comment:
          'DNS of the proxy itself has a conntrack zone of its own: its ports may be those of a captured query',
      },
      {
        hook: 'prerouting',
        matches: [
          { kind: 'port', protocol: 'udp', side: 'source', ports: [DNS_PORT] },
          { kind: 'packet-mark', mark: packetMark, isNot: true },
        ],
        action,
        comment: 'and so have the answers',
      },
    ],
  }
}
