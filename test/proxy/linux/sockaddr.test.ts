import fc from 'fast-check'
import t from 'tap'

import { ipFromBytes, parseIp } from '../../../src/core/address.ts'
import { Sockaddr } from '../../../src/proxy/linux/sockaddr.ts'
import { loadSyscalls } from '../../../src/proxy/linux/syscalls.ts'
import { whyNoLinuxEngine } from '../../fixtures/linux-engine.ts'

const skip = (await whyNoLinuxEngine()) ?? false

async function makeSockaddr(): Promise<Sockaddr> {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(loaded.reason)
  return new Sockaddr(loaded)
}

t.test('property: reads back every address that it writes', { skip }, async () => {
  const sockaddr = await makeSockaddr()
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  fc.assert(
    fc.property(fc.oneof(bytes(4), bytes(16)), fc.nat(65_535), (address, port) => {
      const ip = ipFromBytes(address)
      sockaddr.write({ ip, port })
      const back = sockaddr.read()
      return back.ip.text === ip.text && back.ip.family === ip.family && back.port === port
    }),
  )
})

t.test('keeps the zone of a link-local address, by name and by index', { skip }, async (t) => {
  const sockaddr = await makeSockaddr()
  sockaddr.write({ ip: parseIp('fe80::1%lo'), port: 1 })
  t.equal(sockaddr.read().ip.text, 'fe80::1%lo')
  sockaddr.write({ ip: parseIp('fe80::1%1'), port: 1 })
  t.equal(sockaddr.read().ip.text, 'fe80::1%lo', 'the loopback interface is the first of any namespace')
  sockaddr.write({ ip: parseIp('fe80::1%4294967'), port: 1 })
  t.equal(sockaddr.read().ip.text, 'fe80::1%4294967', 'an interface without a name keeps its number')
})

t.test('an IPv4 address after an IPv6 one has none of its bytes', { skip }, async (t) => {
  const sockaddr = await makeSockaddr()
  t.equal(sockaddr.write({ ip: parseIp('ff:ff:ff:ff:ff:ff:ff:ff'), port: 65_535 }), 28)
  t.equal(sockaddr.write({ ip: parseIp('10.0.0.1'), port: 80 }), 16)
  t.match(sockaddr.read(), { ip: { text: '10.0.0.1' }, port: 80 })
})
