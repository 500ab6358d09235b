/** What `twinstack rules` prints, in a kernel: taken, the same when applied again, gone when removed, and Istio's own. */
import { readFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { createNamespace, requireNamespaces } from '../fixtures/namespaces.ts'
import {
  applyRules,
  forEachBackend,
  kernelState,
  listRules,
  pipeRules,
  removeRules,
} from '../fixtures/rules-lab.ts'
import { iptablesRules } from '../fixtures/rules-request.ts'

import type { Namespace } from '../fixtures/namespaces.ts'

const NODE = '--mode node --pod-cidrs 10.244.0.0/24,fd00:10:244::/64'
/** Of each kind of rule one at least. */
const OPTIONS = [
  '',
  '--dns --virtual-interfaces net1,net2',
  '--bypass-inbound',
  '--families ipv4',
  '--families ipv6',
  NODE,
  `${NODE} --service-cidrs 10.96.0.0/12,fd00:96::/108`,
  `${NODE} --exclude-cidrs 10.0.0.0/8,11.0.0.0/8,fd01::/64 --exclude-ports 22,80 --node-ips 10.0.0.5,fd00::5`,
] as const

const GOLDEN = 'test/agent/rules/golden/istio'
const ISTIO_FLAGS = '--dns --probe-ipv6 e9ac:1e77:90ca:399f:4d6d:ece2:2f9b:3164'

if (requireNamespaces(t)) {
  t.test('what is printed without a backend passes `nft -c -f -`', (t) => {
    const namespace = createNamespace(t, 'host')
    const empty = kernelState(namespace)
    for (const flags of ['', '--remove', NODE, '--mode node --remove']) {
      t.doesNotThrow(() => pipeRules(namespace, flags, 'nft -c -f -'))
      t.match(
        pipeRules(namespace, flags, 'head -n 1'),
        '# backend nft: preferred, and it takes these rules here',
      )
    }
    t.equal(kernelState(namespace), empty, 'and was not applied')
    t.end()
  })

  forEachBackend(t, 'rules applied again are the same rules', (t, backend) => {
    for (const flags of OPTIONS) {
      const namespace = createNamespace(t, 'pod')
      applyRules(namespace, backend, flags)
      const once = kernelState(namespace)
      t.match(once, /redirect to :15001|REDIRECT --to-ports 15001|dnat|DNAT/)
      applyRules(namespace, backend, flags)
      t.equal(kernelState(namespace), once, flags)
    }
    return Promise.resolve()
  })

  forEachBackend(t, 'rules with other options replace those that are there', (t, backend) => {
    const [fresh, used] = [createNamespace(t, 'fresh'), createNamespace(t, 'used')]
    applyRules(fresh, backend)
    applyRules(used, backend, '--dns --virtual-interfaces net1')
    t.match(kernelState(used), '15053')
    applyRules(used, backend)
    t.notMatch(kernelState(used), '15053')
    t.equal(listRules(used, 'nft').includes('istio-ambient-raw'), false)
    t.equal(listRules(used, 'iptables').includes('-j CT'), false)
    t.strictSame([...chainsOf(used)], [...chainsOf(fresh)])
    return Promise.resolve()
  })

  forEachBackend(t, 'a removal leaves nothing, and is no error where nothing is', (t, backend) => {
    for (const flags of OPTIONS) {
      const namespace = createNamespace(t, 'pod')
      // iptables makes the tables that it looks into, so it looks once before.
      const mode = flags.includes('node') ? '--mode node' : ''
      removeRules(namespace, backend, mode)
      const empty = kernelState(namespace)
      applyRules(namespace, backend, flags)
      t.not(kernelState(namespace), empty)
      removeRules(namespace, backend, mode)
      t.equal(listRules(namespace, 'iptables').replace(/^(\*\w+|COMMIT)\n/gm, ''), '')
      t.notMatch(kernelState(namespace), /istio|ISTIO|twinstack|TWINSTACK|0x111|table (100|1337)/)
      t.doesNotThrow(() => {
        removeRules(namespace, backend, mode)
      })
    }
    return Promise.resolve()
  })

  forEachBackend(t, 'the kernel has the same rules as after istio-cni', (t, backend) => {
    const [ours, istios] = [createNamespace(t, 'ours'), createNamespace(t, 'istios')]
    applyRules(ours, backend, ISTIO_FLAGS)
    if (backend === 'nft') {
      istios.nft(readFileSync(path.join(GOLDEN, 'nftables', 'default_ipv6.golden'), 'utf8'))
      t.equal(listRules(ours, 'nft'), listRules(istios, 'nft'))
    } else {
      restoreGolden(istios)
      t.strictSame([...chainsOf(ours)], [...chainsOf(istios)])
    }
    t.ok(chainsOf(ours).size === (backend === 'nft' ? 0 : 24))
    return Promise.resolve()
  })

  forEachBackend(t, 'a host whose kernel has no IPv6 on its loopback gets the rest', (t, backend) => {
    const namespace = createNamespace(t, 'ipv4-only')
    namespace.sysctl('net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.lo.disable_ipv6=1')
    t.doesNotThrow(() => {
      applyRules(namespace, backend)
    })
    t.match(namespace.run('ip', '-4', 'route', 'show', 'table', '100'), 'local default dev lo')
    return Promise.resolve()
  })
}

function chainsOf(namespace: Namespace): ReadonlyMap<string, readonly string[]> {
  return iptablesRules(listRules(namespace, 'iptables'))
}

/** Istio's file has what it gives to iptables-restore, then what it gives to ip6tables-restore. */
function restoreGolden(namespace: Namespace): void {
  const text = readFileSync(path.join(GOLDEN, 'iptables', 'default_ipv6.golden'), 'utf8')
  const [, ipv4 = '', ipv6 = ''] = text.split(/^(?=\* mangle$)/m)
  for (const [program, rules] of [
    ['iptables-restore', ipv4],
    ['ip6tables-restore', ipv6],
  ] as const) {
    namespace.run('sh', '-c', `${program} --noflush <<'RULES'\n${rules.trimEnd()}\nRULES\n`)
  }
}
