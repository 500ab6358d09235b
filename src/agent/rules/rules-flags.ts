/** The flags of `twinstack rules`, with what their help says. */
import { AMBIENT_MARK, PROBE_SOURCES } from '../settings/settings-schema.ts'
import { MARK_MASK } from './rule.ts'

/** A flag as parseArgs takes it, and its help. */
interface RulesFlag {
  readonly type: 'string' | 'boolean'
  readonly value?: string
  readonly help: string
}

/** Every flag, in the order in which the help lists them. */
export const RULES_FLAGS = {
  mode: {
    type: 'string',
    value: 'inpod|node',
    help: "inpod (default): for a pod's network namespace, as istio-cni has it; node: for the host's, without istio-cni",
  },
  backend: {
    type: 'string',
    value: 'nft|iptables',
    help: 'for `| nft -f -` or for `| sh`; default: nft where it takes the rules, else iptables',
  },
  families: { type: 'string', value: 'LIST', help: 'default: ipv4,ipv6' },
  routes: { type: 'boolean', help: 'the policy routing instead of the rules, for `| sh`' },
  remove: { type: 'boolean', help: 'what removes them, also where there are none' },
  pause: {
    type: 'boolean',
    help: 'node: what redirects no new connections any more, while those that are open go on',
  },
  'packet-mark': {
    type: 'string',
    value: 'NUMBER',
    help: `mark of the agent's own connections, 1 to ${MARK_MASK}; default: PACKET_MARK, ${AMBIENT_MARK}`,
  },
  dns: { type: 'boolean', help: 'inpod: capture DNS on port 15053 as well' },
  'bypass-inbound': {
    type: 'boolean',
    help: 'inpod: leave connections into the pod alone (ambient.istio.io/bypass-inbound-capture)',
  },
  'virtual-interfaces': {
    type: 'string',
    value: 'LIST',
    help: 'inpod: what comes from these interfaces goes out of the pod (istio.io/reroute-virtual-interfaces)',
  },
  'probe-ipv4': {
    type: 'string',
    value: 'ADDRESS',
    help: `inpod: source of probes that pass; default: HOST_PROBE_SNAT_IP, ${PROBE_SOURCES.ipv4}`,
  },
  'probe-ipv6': {
    type: 'string',
    value: 'ADDRESS',
    help: `inpod: default: HOST_PROBE_SNAT_IPV6, ${PROBE_SOURCES.ipv6}`,
  },
  'pod-cidrs': {
    type: 'string',
    value: 'LIST',
    help: 'node: the ranges of the pods of this node, of both families; required for rules',
  },
  'service-cidrs': {
    type: 'string',
    value: 'LIST',
    help: "node: the ranges of services, where their addresses are the node's own (kube-proxy in IPVS mode)",
  },
  'exclude-cidrs': {
    type: 'string',
    value: 'LIST',
    help: 'node: addresses to and from which nothing is captured',
  },
  'exclude-ports': { type: 'string', value: 'LIST', help: 'node: destination ports that are not captured' },
  'node-ips': {
    type: 'string',
    value: 'LIST',
    help: "node: this node's address in each family, where the interfaces of pods have none (Calico, VPC CNIs)",
  },
} as const satisfies Readonly<Record<string, RulesFlag>>

export type RulesFlagName = keyof typeof RULES_FLAGS
