/** Prefixes: parse, canonical form and containment. */
import fc from 'fast-check'
import t from 'tap'

import { ipFromBytes, parseIp } from '../../src/core/address.ts'
import { cidrContains, formatCidr, makeCidr, parseCidr } from '../../src/core/cidr.ts'

import type { IpAddress } from '../../src/core/address.ts'

const ip4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ipFromBytes(bytes))
const ip6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => ipFromBytes(bytes))
const ip = fc.oneof(ip4, ip6)

/** The bits of an address as text, for an independent reading of what a prefix holds. */
function bits(address: IpAddress): string {
  return Array.from(address.bytes, (byte) => byte.toString(2).padStart(8, '0')).join('')
}

const parsed: readonly (readonly [string, string])[] = [
  ['10.1.2.3/8', '10.0.0.0/8'],
  ['10.1.2.3', '10.1.2.3/32'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  ['fd00:1::1/16', 'fd00::/16'],
  ['fd00::1', 'fd00::1/128'],
  ['fd00::ff/121', 'fd00::80/121'],
  ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ['::ffff:10.0.0.1/128', '10.0.0.1/32'],
  ['::ffff:10.0.0.1/96', '0.0.0.0/0'],
]
t.test('rule 3: reads a prefix in its canonical form, an IPv4-mapped one as IPv4', (t) => {
  for (const [text, canonical] of parsed) t.equal(formatCidr(parseCidr(text)), canonical, text)
  t.end()
})

const refused = ['10.0.0.0/33', 'fd00::/129', '10.0.0.0/', '10.0.0.0/x', '10.0.0.0/-1', 'x/8', '/8', '']
t.test('refuses a bad address or length', (t) => {
  for (const text of refused) t.throws(() => parseCidr(text), { name: 'AddressError' }, text)
  t.throws(() => makeCidr(parseIp('10.0.0.0'), 1.5), { name: 'AddressError' })
  t.end()
})

t.test('rule 3: refuses an IPv4-mapped prefix that would hold addresses of both families', (t) => {
  for (const text of ['::ffff:10.0.0.0/95', '::ffff:0.0.0.0/0'])
    t.throws(() => parseCidr(text), { message: /covers addresses of both families/ }, text)
  t.end()
})

t.test('holds an address exactly when the leading bits are equal', (t) => {
  fc.assert(
    fc.property(ip, ip, fc.nat(128), (base, other, length) => {
      const prefixLength = Math.min(length, base.bytes.length * 8)
      const expected =
        base.family === other.family &&
        bits(base).slice(0, prefixLength) === bits(other).slice(0, prefixLength)
      t.equal(cidrContains(makeCidr(base, prefixLength), other), expected)
      t.ok(cidrContains(makeCidr(base, prefixLength), base))
    }),
    { numRuns: 300 },
  )
  t.end()
})

t.test('does not hold an address that differs in the last bit of the prefix', (t) => {
  fc.assert(
    fc.property(ip, fc.integer({ min: 1, max: 128 }), (base, length) => {
      const prefixLength = Math.min(length, base.bytes.length * 8)
      const flipped = Uint8Array.from(base.bytes)
      const index = (prefixLength - 1) >> 3
      flipped[index] = (flipped[index] ?? 0) ^ (0x80 >> ((prefixLength - 1) & 7))
      const other = ipFromBytes(flipped)
      // Flipping a bit can make an address IPv4-mapped, which is then of the other family and outside too.
      t.notOk(cidrContains(makeCidr(base, prefixLength), other))
    }),
    { numRuns: 300 },
  )
  t.end()
})

t.test('never holds an address of the other family, even at length 0', (t) => {
  t.notOk(cidrContains(parseCidr('::/0'), parseIp('10.0.0.1')))
  t.notOk(cidrContains(parseCidr('0.0.0.0/0'), parseIp('::1')))
  t.notOk(cidrContains(parseCidr('::/0'), parseIp('::ffff:10.0.0.1')))
  t.end()
})

t.test('reads back the text of every prefix as the same prefix', (t) => {
  fc.assert(
    fc.property(ip4, fc.nat(32), (base, length) => {
      const cidr = makeCidr(base, length)
      t.strictSame(parseCidr(formatCidr(cidr)), cidr)
    }),
    { numRuns: 100 },
  )
  t.end()
})
