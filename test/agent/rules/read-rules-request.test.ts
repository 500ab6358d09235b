/** The flags of `twinstack rules`: what they come to, and what is wrong with them. */
import t from 'tap'

import { readRulesRequest } from '../../../src/agent/rules/read-rules-request.ts'
import { rulesRequest } from '../../fixtures/rules-request.ts'

type Values = Readonly<Record<string, string | boolean>>

const PODS = { mode: 'node', 'pod-cidrs': '10.244.0.0/24,fd00:10:244::/64' } as const
const NEEDS = '(see spec.podCIDRs of the Node; a cluster of one family has --families)'
const MARK = '(write a number from 1 to 4095, but not 273, which answers are marked with)'

const REFUSED: readonly (readonly [flags: Values, problems: readonly string[], env?: Values])[] = [
  [{ mode: 'pod', dns: true, 'pod-cidrs': '10.0.0.0/8' }, ['invalid flag --mode=pod (write inpod or node)']],
  [{ backend: 'ebpf' }, ['invalid flag --backend=ebpf (write nft or iptables)']],
  [{ families: 'ipv4,ip6' }, ['invalid flag --families=ipv4,ip6 (write ipv4, ipv6 or ipv4,ipv6)']],
  [{ families: '' }, ['invalid flag --families= (write ipv4, ipv6 or ipv4,ipv6)']],
  ...['0', '4096', '273', '0x111', '-1', 'x', ''].map(
    (mark) => [{ 'packet-mark': mark }, [`invalid flag --packet-mark=${mark} ${MARK}`]] as const,
  ),
  [{}, [`invalid env var PACKET_MARK=0 ${MARK}`], { PACKET_MARK: '0' }],
  [
    {},
    [
      'invalid env var TWINSTACK_OUTBOUND_PORT=0 (rules need the number of the port; write 1 to 65535)',
      'invalid env var TWINSTACK_INBOUND_PORT=http (write a whole number from 0 to 65535)',
    ],
    { TWINSTACK_OUTBOUND_PORT: '0', TWINSTACK_INBOUND_PORT: 'http' },
  ],
  [
    { 'probe-ipv4': 'fd00::1', 'probe-ipv6': 'fe80::1%eth0' },
    [
      'invalid flag --probe-ipv4=fd00::1 (write one address of IPv4, as in 169.254.7.127)',
      'invalid flag --probe-ipv6=fe80::1%eth0 (write one address of IPv6, as in fd16:9254:7127:1337:ffff:ffff:ffff:ffff)',
    ],
  ],
  [
    {},
    ['invalid env var HOST_PROBE_SNAT_IP=kubelet (write one address of IPv4, as in 169.254.7.127)'],
    { HOST_PROBE_SNAT_IP: 'kubelet' },
  ],
  [
    // What nft would read as more than a name.
    { 'virtual-interfaces': 'net1,x counter drop' },
    ['invalid flag --virtual-interfaces=net1,x counter drop (write names of interfaces, as in net1,net2)'],
  ],
  [
    { 'pod-cidrs': '10.0.0.0/8', 'exclude-ports': '22' },
    [
      'flag --pod-cidrs is of --mode node (leave it out, or write --mode node)',
      'flag --exclude-ports is of --mode node (leave it out, or write --mode node)',
    ],
  ],
  [{ ...PODS, dns: true }, ['flag --dns is of --mode inpod (leave it out, or write --mode inpod)']],
  [{ mode: 'node' }, [`--mode node needs --pod-cidrs with a range of ipv4 and of ipv6 ${NEEDS}`]],
  ...['', ',', ' , '].map(
    (cidrs) =>
      [
        { mode: 'node', 'pod-cidrs': cidrs },
        [`--mode node needs --pod-cidrs with a range of ipv4 and of ipv6 ${NEEDS}`],
      ] as const,
  ),
  [
    { mode: 'node', families: 'ipv4', 'pod-cidrs': 'pods' },
    [
      "invalid flag --pod-cidrs=pods ('pods' is not an IP address; write ranges as in 10.244.0.0/24,fd00:10:244::/64)",
    ],
  ],
  [
    { mode: 'node', pause: true, remove: true },
    ['flags --pause and --remove exclude each other (leave one out)'],
  ],
  [
    { mode: 'node', pause: true, routes: true },
    ['flag --pause leaves the routes as they are (leave --routes out)'],
  ],
  [{ pause: true }, ['flag --pause is of --mode node (leave it out, or write --mode node)']],
  [
    { mode: 'node', 'pod-cidrs': '10.0.0.0/8' },
    [`--mode node needs --pod-cidrs with a range of ipv6 ${NEEDS}`],
  ],
  [
    { ...PODS, families: 'ipv4' },
    [
      `invalid flag --pod-cidrs=${PODS['pod-cidrs']} (fd00:10:244::/64 is of ipv6, add it to --families or leave it out)`,
    ],
  ],
  [
    { ...PODS, 'exclude-cidrs': '0.0.0.0/0,10.0.0.0/33,pods' },
    [
      'invalid flag --exclude-cidrs=0.0.0.0/0,10.0.0.0/33,pods (0.0.0.0/0 is every address, write a range)',
      'invalid flag --exclude-cidrs=0.0.0.0/0,10.0.0.0/33,pods (a prefix of 10.0.0.0 has 0 to 32 bits, not 33; write ranges as in 10.244.0.0/24,fd00:10:244::/64)',
      "invalid flag --exclude-cidrs=0.0.0.0/0,10.0.0.0/33,pods ('pods' is not an IP address; write ranges as in 10.244.0.0/24,fd00:10:244::/64)",
    ],
  ],
  [
    { ...PODS, 'exclude-ports': '0,http,65536' },
    ['invalid flag --exclude-ports=0,http,65536 (write ports from 1 to 65535, as in 22,10250)'],
  ],
  ...['10.0.0.5', '10.0.0.5,10.0.0.6,fd00::5', '10.0.0.5,node'].map(
    (ips) =>
      [
        { ...PODS, 'node-ips': ips },
        [`invalid flag --node-ips=${ips} (write one address of ipv4 and one of ipv6)`],
      ] as const,
  ),
]

for (const [flags, problems, env = {}] of REFUSED) {
  t.test(`refuses ${JSON.stringify({ ...flags, ...env })}`, (t) => {
    const request = readRulesRequest(flags, env)
    t.strictSame(request.ok ? [] : request.problems.map(({ message }) => message), problems)
    t.end()
  })
}

t.test('has the defaults of the agent and of Istio', (t) => {
  t.strictSame(rulesRequest({}), {
    options: {
      mode: 'inpod',
      families: ['ipv4', 'ipv6'],
      outboundPort: 15_001,
      inboundPort: 15_006,
      packetMark: 1_337,
      probes: { ipv4: '169.254.7.127', ipv6: 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff' },
      capturesDns: false,
      bypassesInbound: false,
      virtualInterfaces: [],
    },
    output: 'rules',
    action: 'install',
  })
  t.end()
})

t.test('reads the addresses of probes from the variables of istio-cni, flags first', (t) => {
  const env = { HOST_PROBE_SNAT_IP: '169.254.7.1', HOST_PROBE_SNAT_IPV6: 'FD00::0001' }
  t.match(rulesRequest({}, env).options, { probes: { ipv4: '169.254.7.1', ipv6: 'fd00::1' } })
  const flags = { 'probe-ipv4': '169.254.7.2' }
  t.match(rulesRequest(flags, env).options, { probes: { ipv4: '169.254.7.2', ipv6: 'fd00::1' } })
  t.end()
})

t.test('keeps the widest of ranges that hold each other, each once', (t) => {
  const { options } = rulesRequest({
    mode: 'node',
    'pod-cidrs': '10.1.2.3/16, 10.0.0.0/8,fd00::/64,10.0.0.0/8,fd00::1/64,192.0.2.1',
  })
  t.match(options, { podCidrs: { ipv4: ['10.0.0.0/8', '192.0.2.1/32'], ipv6: ['fd00::/64'] } })
  t.end()
})

t.test(
  'asks for no ranges where none are written down, and for those of one family where there is one',
  (t) => {
    t.match(rulesRequest({ mode: 'node', remove: true }), { action: 'remove' })
    t.match(rulesRequest({ mode: 'node', pause: true }), { action: 'pause' })
    t.match(rulesRequest({ mode: 'node', routes: true }), { output: 'routes', action: 'install' })
    const { options } = rulesRequest({ mode: 'node', families: 'ipv6', 'pod-cidrs': 'fd00::/64' })
    t.match(options, { families: ['ipv6'], podCidrs: { ipv4: [], ipv6: ['fd00::/64'] } })
    t.end()
  },
)
