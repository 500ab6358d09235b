/** The small form of addresses, and the keys of both forms. */
import fc from 'fast-check'
import t from 'tap'

import { ipFromBytes, ipText } from '../../src/core/address.ts'
import { PackedIp, ipKey, packIp, unpackIp } from '../../src/core/packed-ip.ts'

import type { IpAddress } from '../../src/core/address.ts'

const byte = fc.oneof(fc.constantFrom(0, 255), fc.nat({ max: 255 }))
const ipv4 = fc.array(byte, { minLength: 4, maxLength: 4 }).map((bytes) => ipFromBytes(bytes))
const ipv6 = fc.tuple(
  fc.array(byte, { minLength: 16, maxLength: 16 }),
  fc.option(fc.constantFrom('eth0', '3')),
)
const address: fc.Arbitrary<IpAddress> = fc.oneof(
  ipv4,
  ipv6.map(([bytes, zone]) => ipFromBytes(bytes, zone ?? undefined)),
)

t.test('a packed address says what the address says, and becomes it again', async (t) => {
  fc.assert(
    fc.property(address, (ip) => {
      const packed = packIp(ip)
      const { family, text, bytes, zone } = packed
      t.strictSame({ family, text, bytes, ...(zone !== undefined && { zone }) }, { ...ip })
      t.strictSame(unpackIp(packed), ip)
      t.equal(packIp(packed), packed)
      t.equal(unpackIp(ip), ip)
    }),
  )
})

t.test('keys are equal exactly where texts are', async (t) => {
  fc.assert(
    fc.property(address, address, (a, b) => {
      t.equal(ipKey(a) === ipKey(b), a.text === b.text)
      t.equal(ipKey(packIp(a)), ipKey(a))
    }),
  )
})

t.test('an address that is packed is equal to another only if both say the same', async (t) => {
  const ip = ipFromBytes([10, 0, 0, 1])
  t.strictSame(packIp(ip), new PackedIp(ipKey(ip)))
  t.notSame(packIp(ip), packIp(ipFromBytes([10, 0, 0, 2])))
})

t.test('IPv6 text leaves out the first of the longest runs of zeros', async (t) => {
  const cases = [
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['20010db8000000000000000000000000', '2001:db8::'],
    ['20010db8000000010000000000000001', '2001:db8:0:1::1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['fe800000000000000000000000000abc', 'fe80::abc'],
  ] as const
  for (const [hex, text] of cases) t.equal(ipText(new Uint8Array(Buffer.from(hex, 'hex'))), text)
  t.equal(ipText(new Uint8Array(Buffer.from(cases[6][0], 'hex')), 'eth0'), 'fe80::abc%eth0')
})
