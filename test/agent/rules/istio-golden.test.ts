/** What is printed for a pod against what istio-cni programs there: Istio's own golden files, see golden/istio/README.md. */
import { readFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { rulesText } from '../../../src/agent/rules/rules-text.ts'
import { iptablesRules, nftRules, rulesRequest } from '../../fixtures/rules-request.ts'

/** The address that Istio's tests have instead of the real one. */
const PROBE = { 'probe-ipv6': 'e9ac:1e77:90ca:399f:4d6d:ece2:2f9b:3164' } as const
const INTERFACES = { 'virtual-interfaces': 'fake1s0f0,fake1s0f1' } as const

const CASES = [
  ['default', { dns: true }],
  ['dns_pod_disabled_and_on_globally', {}],
  ['ingress', { 'bypass-inbound': true }],
  ['virtual_interfaces', INTERFACES],
  ['ingress_and_virtual_interfaces', { 'bypass-inbound': true, ...INTERFACES }],
] as const

const FAMILIES = [
  ['', { families: 'ipv4' }],
  ['_ipv6', {}],
] as const

function golden(backend: 'iptables' | 'nftables', name: string): string {
  return readFileSync(path.join('test/agent/rules/golden/istio', backend, `${name}.golden`), 'utf8')
}

for (const [name, flags] of CASES) {
  for (const [suffix, families] of FAMILIES) {
    const file = `${name}${suffix}`
    const request = rulesRequest({ ...PROBE, ...flags, ...families })

    t.test(`nft: the chains and rules are those of istio-cni (${file})`, (t) => {
      const rules = nftRules(rulesText(request, { backend: 'nft', reason: '' }))
      t.ok(rules.length > 10)
      t.strictSame(rules, nftRules(golden('nftables', file)))
      t.end()
    })

    t.test(`iptables: the rules of each chain are those of istio-cni (${file})`, (t) => {
      const rules = iptablesRules(rulesText(request, { backend: 'iptables', reason: '' }))
      t.ok(rules.size >= (suffix === '' ? 7 : 14))
      t.strictSame([...rules], [...iptablesRules(golden('iptables', file))])
      t.end()
    })
  }
}
