import t from 'tap'

import { parseIp, parseSocketAddress } from '../../src/core/address.ts'
import { OwnAddresses, reachesPodListener } from '../../src/proxy/own-addresses.ts'

import type { CapturedPod } from '../../src/mesh/pod.ts'

const PORTS = new Set([15_001, 15_006])
const POD: CapturedPod = {
  uid: 'uid-1',
  name: 'echo',
  namespace: 'shop',
  serviceAccount: 'echo',
  addresses: ['10.244.0.2', 'fd00::2', 'fe80::2'].map(parseIp),
}

t.test(
  'rule 4: within a pod its addresses, loopback and any address reach the listeners there',
  async (t) => {
    for (const host of [
      '10.244.0.2',
      '[fd00::2]',
      '[fe80::2]',
      '127.0.0.1',
      '127.9.9.9',
      '[::1]',
      '0.0.0.0',
      '[::]',
    ])
      t.ok(reachesPodListener(parseSocketAddress(`${host}:15006`), POD, PORTS), host)
  },
)

t.test('another port, and the same port of another host, are not the proxy', async (t) => {
  t.notOk(reachesPodListener(parseSocketAddress('10.244.0.2:80'), POD, PORTS))
  t.notOk(reachesPodListener(parseSocketAddress('127.0.0.1:15020'), POD, PORTS))
  t.notOk(reachesPodListener(parseSocketAddress('10.244.0.3:15006'), POD, PORTS), 'another pod')
  t.notOk(reachesPodListener(parseSocketAddress('[fd00::3]:15001'), POD, PORTS))
  t.notOk(reachesPodListener(parseSocketAddress('10.244.0.2:15001'), { ...POD, addresses: [] }, PORTS))
})

t.test('rule 4: a bound address is reached by itself, and one of any address over loopback', async (t) => {
  const own = new OwnAddresses()
  t.notOk(own.has(parseSocketAddress('127.0.0.1:80')))
  own.replace(['0.0.0.0:80', '[fd00::1]:81'].map(parseSocketAddress))
  for (const [address, isOwn] of [
    ['127.0.0.1:80', true],
    ['0.0.0.0:80', true],
    ['[::1]:80', false],
    ['10.0.0.1:80', false],
    ['[fd00::1]:81', true],
    ['[::1]:81', false],
    ['127.0.0.1:81', false],
  ] as const)
    t.equal(own.has(parseSocketAddress(address)), isOwn, address)
  own.replace([])
  t.notOk(own.has(parseSocketAddress('127.0.0.1:80')))
})
