/** The texts of `twinstack rules` as they are printed. TWINSTACK_UPDATE_GOLDEN=1 writes the files anew. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

import t from 'tap'

import { routesText, rulesText } from '../../../src/agent/rules/rules-text.ts'
import { rulesRequest } from '../../fixtures/rules-request.ts'

import type { Test } from 'tap'

const BACKENDS = ['nft', 'iptables'] as const
const NODE = { mode: 'node', 'pod-cidrs': '10.244.0.0/24,fd00:10:244::/64' } as const

const CASES = [
  ['inpod', {}],
  ['inpod-dns', { dns: true }],
  ['inpod-ipv6', { families: 'ipv6' }],
  ['inpod-remove', { remove: true }],
  ['node', NODE],
  [
    'node-exclude',
    {
      ...NODE,
      'exclude-cidrs': '10.96.0.10,192.0.2.0/24,fd00:96::a',
      'exclude-ports': '22,15012',
      'node-ips': '10.0.0.5,fd00::5',
      'packet-mark': '0x53a',
    },
  ],
  ['node-services', { ...NODE, 'service-cidrs': '10.96.0.0/12,fd00:96::/108' }],
  ['node-pause', { mode: 'node', pause: true }],
  ['node-remove', { mode: 'node', remove: true }],
] as const

function compare(t: Test, name: string, text: string): void {
  const file = path.join('test/agent/rules/golden', name)
  if (process.env['TWINSTACK_UPDATE_GOLDEN'] === '1') writeFileSync(file, text)
  t.equal(text, readFileSync(file, 'utf8'))
}

for (const [name, flags] of CASES) {
  for (const backend of BACKENDS) {
    t.test(`prints ${name} for ${backend}`, (t) => {
      const text = rulesText(rulesRequest(flags), { backend, reason: 'asked for' })
      compare(t, `${name}.${backend === 'nft' ? 'nft' : 'sh'}`, text)
      t.end()
    })
  }
}

t.test('prints the policy routing and its removal', (t) => {
  compare(t, 'routes-inpod.sh', routesText(rulesRequest({ routes: true })))
  compare(t, 'routes-inpod-remove.sh', routesText(rulesRequest({ routes: true, remove: true })))
  compare(t, 'routes-node.sh', routesText(rulesRequest({ mode: 'node', routes: true })))
  t.end()
})

t.test('names the backend and its reason in the first line', (t) => {
  for (const remove of [true, false]) {
    const text = rulesText(rulesRequest({ remove }), { backend: 'nft', reason: 'as it is' })
    t.equal(text.split('\n')[0], '# backend nft: as it is')
  }
  t.end()
})

t.test('takes the ports and the mark of the agent where its settings move them', (t) => {
  const env = { TWINSTACK_OUTBOUND_PORT: '16001', TWINSTACK_INBOUND_PORT: '16006', PACKET_MARK: '7' }
  for (const [flags, backend] of [
    [{}, 'nft'],
    [NODE, 'iptables'],
  ] as const) {
    const text = rulesText(rulesRequest(flags, env), { backend, reason: 'asked for' })
    for (const part of ['16001', '16006', '0x7']) t.match(text, part)
    for (const part of ['15001', '15006', '0x539']) t.notMatch(text, part)
  }
  t.end()
})
